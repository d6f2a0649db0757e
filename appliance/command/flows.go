package command

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
)

func flowsCommand() *cobra.Command {
	var why uint64
	var limit int
	c := looking("flows", "List a mobile node's service flows and where each is anchored", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		if c.Flags().Changed("why") {
			f, err := client.Flow(c.Context(), why)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), f)
			}
			return printWhy(c.OutOrStdout(), f)
		}
		list, err := client.Flows(c.Context(), limit)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		return printFlows(c.OutOrStdout(), list)
	})
	c.Flags().Uint64Var(&why, "why", 0, "explain how the flow of this number came by its class, anchor and address")
	c.Flags().IntVar(&limit, "limit", 1000, "list at most so many, the youngest first")
	c.AddCommand(flowsModeCommand(), flowsUplinkCommand())
	return c
}

func flowsModeCommand() *cobra.Command {
	return switchCommand("mode FLOW MODE", "Switch a live flow to bidirectional-tunnel or route-optimization", func(client *control.Client, c *cobra.Command, flow uint64, to string) error {
		return client.SwitchFlow(c.Context(), flow, to, "")
	})
}

func flowsUplinkCommand() *cobra.Command {
	return switchCommand("uplink FLOW INTERFACE", "Move a live flow, and all others of its address, to another uplink", func(client *control.Client, c *cobra.Command, flow uint64, to string) error {
		return client.SwitchFlow(c.Context(), flow, "", to)
	})
}

func switchCommand(use, short string, do func(client *control.Client, c *cobra.Command, flow uint64, to string) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(2)}
	socket := socketFlag(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		flow, err := strconv.ParseUint(arguments[0], 10, 64)
		if err != nil {
			return fmt.Errorf("expected the number of a flow, found %q", arguments[0])
		}
		return do(control.NewClient(*socket), c, flow, arguments[1])
	}
	return c
}

func anchorsCommand() *cobra.Command {
	return looking("anchors", "List the addresses that a mobile node holds of Distributed Home-Proxies", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		list, err := client.Anchors(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "ADDRESS\tPROXY\tUSE\tSTATE\tCARE-OF ADDRESS\tUPLINK\tFLOWS\tROUND TRIP\tLOSS\tLEFT")
		for _, a := range list {
			fmt.Fprintf(w, "%v\t%v\t%s\t%s\t%s\t%s\t%d\t%s\t%.0f%%\t%v\n", a.Prefix.Addr(), a.Proxy, a.Use, a.State, orDash(a.CareOf), a.Uplink,
				a.Flows, roundTrip(a.RoundTrip), 100*a.Loss, seconds(a.Lifetime))
		}
		return w.Flush()
	})
}

func directoryCommand() *cobra.Command {
	return looking("directory", "List a home agent's directory of Distributed Home-Proxies", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		list, err := client.Directory(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "PROXY\tCOVERAGE\tROUND TRIP\tPREFERENCE\tLOAD\tLEFT")
		for _, p := range list {
			fmt.Fprintf(w, "%v\t%v\t%s\t%d\t%d%%\t%v\n", p.Address, p.Coverage, roundTrip(p.RoundTripMilliseconds), p.Preference, p.LoadPercent, seconds(p.LifetimeSeconds))
		}
		return w.Flush()
	})
}

func printFlows(out io.Writer, list []control.Flow) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FLOW\tPROTOCOL\tCORRESPONDENT\tPORT\tCLASS\tINITIATOR\tADDRESS\tANCHOR\tMODE\tSTATE\tAGE\tOUT\tIN")
	for _, f := range list {
		address := f.Address.String()
		if f.Translated {
			address += " (translated)"
		}
		state := f.State
		if f.TCP != "" && f.State == "active" {
			state = f.TCP
		}
		fmt.Fprintf(w, "%d\t%s %d\t%v\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%v\t%s\t%s\n", f.Number, f.Protocol, f.LocalPort, f.Remote, f.RemotePort, f.Class, f.Initiator,
			address, orDash(f.Anchor), f.Mode, state, seconds(f.AgeSeconds), octets(f.OctetsOut), octets(f.OctetsIn))
	}
	return w.Flush()
}

// printWhy tells a flow's story.
func printWhy(out io.Writer, f control.Flow) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "flow %d\t%s, %v port %d to %v port %d\n", f.Number, f.Protocol, f.Local, f.LocalPort, f.Remote, f.RemotePort)
	fmt.Fprintf(w, "class\t%s, by rule %q\n", f.Class, f.Rule)
	fmt.Fprintf(w, "initiator\t%s\n", f.Initiator)
	fmt.Fprintf(w, "address\t%v", f.Address)
	switch {
	case f.Translated:
		fmt.Fprintf(w, ", translated from %v", f.Local)
	case f.Address == f.Local:
		fmt.Fprint(w, ", the program's own")
	}
	if f.Anchor.IsValid() {
		fmt.Fprintf(w, ", anchored at %v", f.Anchor)
	}
	fmt.Fprintf(w, "\nmode\t%s", f.Mode)
	if f.Uplink != "" {
		fmt.Fprintf(w, " by %s", f.Uplink)
	}
	fmt.Fprintf(w, "\nstate\t%s\n", f.State)
	d := f.Decision
	if d == nil {
		fmt.Fprintln(w, "decision\tnone was needed")
		return w.Flush()
	}
	fmt.Fprintf(w, "decision %d\t%s\n", d.Number, d.Outcome)
	if d.Correspondent.IsValid() && d.Correspondent != f.Remote {
		fmt.Fprintf(w, "\tmade for %v, and shared\n", d.Correspondent)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(d.Candidates) > 0 {
		fmt.Fprintf(out, "\ncandidates, from %s:\n", d.Source)
		fmt.Fprintln(w, "  PROXY\tCOVERAGE\tTO PROXY\tTO CORRESPONDENT\tSUM\tPREFERENCE\tLOAD\t")
		for _, c := range d.Candidates {
			mark, measured := " ", "assumed"
			if c.Chosen {
				mark = "*"
			}
			if c.Measured {
				measured = "measured"
			}
			fmt.Fprintf(w, "%s %v\t%v\t%s %s\t%s\t%s\t%d\t%d%%\t%s\n", mark, c.Address, c.Coverage, roundTrip(c.ToProxyMilliseconds), measured,
				roundTrip(c.ToCorrespondentMilliseconds), roundTrip(c.SumMilliseconds), c.Preference, c.LoadPercent, c.Reason)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(d.Steps) > 0 {
		fmt.Fprintln(out, "\nsteps:")
		for _, s := range d.Steps {
			fmt.Fprintf(w, "  +%.3f ms\t%s\t%s\n", s.AfterMilliseconds, s.Step, s.Detail)
		}
	}
	return w.Flush()
}

func orDash(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

// roundTrip writes a round trip in milliseconds, which is below 0 if it is not known.
func roundTrip(ms float64) string {
	if ms < 0 {
		return "unknown"
	}
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}

func octets(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	}
	return fmt.Sprintf("%d MB", n/1_000_000)
}
