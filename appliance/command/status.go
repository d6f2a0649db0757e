package command

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
)

func statusCommand() *cobra.Command {
	var check bool
	c := looking("status", "Show what a running node is doing", func(c *cobra.Command, client *control.Client, asJSON bool) error {
		s, err := client.Status(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			err = printJSON(c.OutOrStdout(), s)
		} else {
			err = printStatus(c.OutOrStdout(), s, time.Now())
		}
		if err == nil && check && !s.Healthy {
			return errSaid
		}
		return err
	})
	c.Flags().BoolVar(&check, "check", false, "exit with status 1 if the node is not healthy, for health checks")
	return c
}

func printStatus(out io.Writer, s control.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	health := "healthy"
	if !s.Healthy {
		health = "NOT HEALTHY: " + s.Reason
	}
	fmt.Fprintf(w, "node\t%s, kedge %s, up %v\n", strings.Join(s.Roles, " and "), s.Version, now.Sub(s.Started).Round(time.Second))
	fmt.Fprintf(w, "health\t%s\n", health)
	if m := s.MobileNode; m != nil {
		fmt.Fprintf(w, "state\t%s\n", m.State)
		fmt.Fprintf(w, "home address\t%v\n", m.HomeAddress)
		if m.HomeAgent.IsValid() {
			fmt.Fprintf(w, "home agent\t%v\n", m.HomeAgent)
		}
		if m.CareOf.IsValid() {
			fmt.Fprintf(w, "care-of address\t%v on %s\n", m.CareOf, m.Uplink)
		}
		if m.Endpoint.IsValid() {
			fmt.Fprintf(w, "transport\t%s\n", datagrams(m.Path))
		}
		if m.LifetimeSeconds > 0 {
			fmt.Fprintf(w, "binding\t%v left, sequence number %d\n", seconds(m.LifetimeSeconds), m.Sequence)
		}
		if m.RTTMilliseconds > 0 {
			fmt.Fprintf(w, "round trip\t%.1f ms to the home agent\n", m.RTTMilliseconds)
		}
		if m.LastError != "" {
			fmt.Fprintf(w, "last error\t%s\n", m.LastError)
		}
	}
	if h := s.HomeAgent; h != nil {
		fmt.Fprintf(w, "home agent\t%v for %v\n", h.Address, h.HomePrefixes)
		link := "virtual: the prefixes are routed here"
		if h.HomeLink != "" {
			link = h.HomeLink
		}
		fmt.Fprintf(w, "home link\t%s\n", link)
		fmt.Fprintf(w, "bindings\t%d\n", h.Bindings)
	}
	if d := s.DMIPv6; d != nil {
		fmt.Fprintf(w, "anchors per flow\t%s\n", d.State)
		fmt.Fprintf(w, "flows\t%d, of which %d wait for their anchor; %d addresses lent\n", d.Flows, d.Held, d.Anchors)
	}
	if p := s.HomeProxy; p != nil {
		fmt.Fprintf(w, "home proxy\t%v, lending of %v\n", p.Address, p.Pools)
		fmt.Fprintf(w, "leases\t%d, load %d %%\n", p.Leases, p.LoadPercent)
		for _, c := range p.Coverage {
			fmt.Fprintf(w, "coverage\t%v, round trip %s\n", c.Prefix, roundTrip(c.RoundTripMilliseconds))
		}
		for _, a := range p.HomeAgents {
			state := "knows this proxy"
			if !a.Acknowledged {
				state = "does not know this proxy: " + a.Detail
			}
			fmt.Fprintf(w, "home agent\t%v %s\n", a.HomeAgent, state)
		}
	}
	if a := s.AccessRouter; a != nil {
		fmt.Fprintf(w, "access router\t%v, %d mobile nodes\n", a.Address, a.MobileNodes)
		if a.LocalMobilityAnchor.IsValid() {
			fmt.Fprintf(w, "local mobility anchor\t%v\n", a.LocalMobilityAnchor)
		} else {
			fmt.Fprintf(w, "database\t%v\n", a.Database)
			fmt.Fprintf(w, "pools\t%v\n", a.Pools)
		}
	}
	if d := s.Database; d != nil {
		fmt.Fprintf(w, "mobility database\t%v, %s, %d routers\n", d.Address, d.Mode, d.Routers)
		fmt.Fprintf(w, "sessions\t%d\n", d.Sessions)
	}
	if s.CorrespondentNode.IsValid() {
		fmt.Fprintf(w, "correspondent\t%v\n", s.CorrespondentNode)
	}
	for _, l := range s.Links {
		switch {
		case l.Absent:
			fmt.Fprintf(w, "link %s\t%s, ABSENT: there is no interface of this name\n", l.Name, l.Kind)
			continue
		case l.Up:
			fmt.Fprintf(w, "link %s\t%s, up, MTU %d", l.Name, l.Kind, l.MTU)
		default:
			fmt.Fprintf(w, "link %s\t%s, DOWN, MTU %d", l.Name, l.Kind, l.MTU)
		}
		for _, a := range l.Addresses {
			fmt.Fprintf(w, ", %v", a)
		}
		if l.Router.IsValid() {
			fmt.Fprintf(w, ", router %v", l.Router)
		}
		fmt.Fprintln(w)
	}
	var names []string
	for name, n := range s.Counters {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%d\n", name, s.Counters[name])
	}
	return w.Flush()
}

// datagrams describes the UDP transport's path.
func datagrams(p control.Path) string {
	s := fmt.Sprintf("UDP from %v to %v", p.Local, p.Endpoint)
	switch {
	case p.NAT && p.KeepaliveSeconds > 0:
		s += fmt.Sprintf(", through a NAT that is refreshed every %v", seconds(p.KeepaliveSeconds))
	case p.NAT:
		s += ", through a NAT"
	}
	return s
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(time.Second)
}
