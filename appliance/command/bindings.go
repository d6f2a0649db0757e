package command

import (
	"fmt"
	"net/netip"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
)

func bindingsCommand() *cobra.Command {
	c := looking("bindings", "List the bindings of a running node", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		list, err := client.Bindings(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return printJSON(c.OutOrStdout(), list)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "HOME\tCARE-OF ADDRESS\tTRANSPORT\tSTATE\tLEFT\tSEQUENCE\tIDENTIFIER")
		for _, b := range list {
			home := b.Home.String()
			if b.Home.IsSingleIP() {
				home = b.Home.Addr().String()
			}
			fmt.Fprintf(w, "%s\t%v\t%s\t%s\t%v\t%d\t%s\n", home, b.CareOf, transport(b.Path), b.State, seconds(b.LifetimeSeconds), b.Sequence, b.Identifier)
		}
		return w.Flush()
	})
	c.AddCommand(removeBindingCommand())
	return c
}

// transport names a transport, with the port of the other end where there is one.
func transport(p control.Path) string {
	switch {
	case p.Endpoint.IsValid():
		return fmt.Sprintf("%s port %d", p.Transport, p.Endpoint.Port())
	case p.Transport == "":
		return "-"
	}
	return p.Transport
}

func removeBindingCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "remove HOME-ADDRESS",
		Short: "Remove a binding from a home agent's binding cache",
		Args:  cobra.ExactArgs(1),
	}
	socket := socketFlag(c)
	c.RunE = func(c *cobra.Command, arguments []string) error {
		home, err := netip.ParseAddr(arguments[0])
		if err != nil {
			return fmt.Errorf("expected a home address, found %q", arguments[0])
		}
		return control.NewClient(*socket).RemoveBinding(c.Context(), home)
	}
	return c
}
