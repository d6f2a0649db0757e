package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
)

func mobileNodesCommand() *cobra.Command {
	return looking("mobile-nodes", "List the mobile nodes of a MAAR with their prefixes and tunnels", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		list, err := client.MobileNodes(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MOBILE NODE\tLINK-LAYER ADDRESS\tLINK\tSTATE\tPREFIX\tANCHOR\tPATH\tNATIVE IN/OUT\tTUNNELLED IN/OUT")
		for _, m := range list {
			for _, p := range m.Prefixes {
				path := "here"
				switch {
				case m.ServingMAAR.IsValid():
					path = "tunnel to " + m.ServingMAAR.String()
				case p.Tunnel:
					path = "tunnel from " + p.Anchor.String()
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%v\t%v\t%s\t%d/%d\t%d/%d\n", m.Identifier, m.LinkLayer, m.Link, m.State, p.Prefix, p.Anchor, path,
					p.NativeIn, p.NativeOut, p.TunneledIn, p.TunneledOut)
			}
		}
		return w.Flush()
	})
}

func sessionsCommand() *cobra.Command {
	var limit int
	c := looking("sessions", "List the sessions of a central mobility database", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		list, err := client.Sessions(c.Context(), limit)
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "MOBILE NODE\tSERVED BY\tLEFT\tPREFIX\tANCHORED AT\tANCHOR KNOWS")
		for _, s := range list {
			for _, p := range s.Prefixes {
				knows := "yes"
				if !p.Acknowledged {
					knows = "not yet"
				}
				fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%v\t%s\n", s.MobileNode, s.Serving, seconds(s.LifetimeSeconds), p.Prefix, p.Anchor, knows)
			}
		}
		return w.Flush()
	})
	c.Flags().IntVar(&limit, "limit", 1000, "list at most so many")
	c.AddCommand(removeSessionCommand())
	return c
}

func removeSessionCommand() *cobra.Command {
	c := &cobra.Command{Use: "remove MOBILE-NODE", Short: "End a mobile node's session, and its prefixes with it", Args: cobra.ExactArgs(1)}
	socket := socketFlag(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		return control.NewClient(*socket).RemoveSession(c.Context(), arguments[0])
	}
	return c
}
