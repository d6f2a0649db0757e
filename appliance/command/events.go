package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
)

func eventsCommand() *cobra.Command {
	var follow bool
	c := looking("events", "Show the event trace of a running node", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		return client.Events(c.Context(), follow, func(e control.Event) error {
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(e)
			}
			return printEvent(c.OutOrStdout(), e)
		})
	})
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with events as they happen")
	return c
}

func printEvent(out io.Writer, e control.Event) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", e.Time.Format("15:04:05.000000"), e.Kind)
	if e.Home.IsValid() {
		fmt.Fprintf(&b, " home=%v", e.Home)
	}
	if e.CareOf.IsValid() {
		fmt.Fprintf(&b, " care-of=%v", e.CareOf)
	}
	if e.Peer.IsValid() {
		fmt.Fprintf(&b, " peer=%v", e.Peer)
	}
	if e.Link != "" {
		fmt.Fprintf(&b, " link=%s", e.Link)
	}
	if e.Sequence != 0 {
		fmt.Fprintf(&b, " sequence=%d", e.Sequence)
	}
	if e.LifetimeSeconds != 0 {
		fmt.Fprintf(&b, " lifetime=%v", seconds(e.LifetimeSeconds))
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " status=%d", e.Status)
	}
	if e.Detail != "" {
		fmt.Fprintf(&b, " (%s)", e.Detail)
	}
	_, err := fmt.Fprintln(out, b.String())
	return err
}
