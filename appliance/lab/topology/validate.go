package topology

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Names become names of interfaces in the lab's own namespace ("NODE.INTERFACE"), which the kernel limits to 15 octets.
var nameRE = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

type checker struct {
	lab  *Lab
	errs []error
}

func (c *checker) failf(format string, a ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, a...))
}

func (l *Lab) validate() []error {
	c := &checker{lab: l}
	if !slices.Contains([]string{"none", "receive", "full"}, l.Offload) {
		c.failf("offload: found %q, expected none, receive or full", l.Offload)
	}
	if l.Rounds < 1 || l.Rounds > 1000 {
		c.failf("rounds: found %d, expected 1 to 1000", l.Rounds)
	}
	if l.Capture.SnapLength < 64 || l.Capture.SnapLength > 65535 {
		c.failf("capture.snap_length: found %d, expected 64 to 65535", l.Capture.SnapLength)
	}
	if len(l.Nodes) == 0 {
		c.failf("a lab needs at least one [[node]]")
	}
	wired := c.wires()
	c.nodes(wired)
	c.traffic()
	c.flows()
	c.moves()
	c.observe()
	c.comparison()
	return c.errs
}

func (c *checker) wires() map[string]bool {
	wired := map[string]bool{}
	for i, w := range c.lab.Wires {
		if len(w.Ends) != 2 {
			c.failf("wire %d: ends: found %d, expected two, each as \"node.interface\"", i+1, len(w.Ends))
			continue
		}
		for _, end := range w.Ends {
			node, iface, _ := strings.Cut(end, ".")
			n := c.lab.Node(node)
			if n == nil || n.Interface(iface) == nil {
				c.failf("wire %d: ends: there is no interface %q", i+1, end)
			} else if n.Interface(iface).Network != "" {
				c.failf("wire %d: interface %s is plugged into network %q already", i+1, end, n.Interface(iface).Network)
			}
			if wired[end] {
				c.failf("wire %d: another wire ends at %s already", i+1, end)
			}
			wired[end] = true
		}
		for _, m := range []Impairment{w.Impairment, w.Backward()} {
			if !(m.Loss >= 0 && m.Loss <= 1) {
				c.failf("wire %d: loss: found %v, expected a probability from 0 to 1", i+1, m.Loss)
			}
			if m.Delay.Std() > 10*time.Second {
				c.failf("wire %d: delay: found %v, expected at most 10s", i+1, m.Delay.Std())
			}
		}
	}
	return wired
}

func (c *checker) nodes(wired map[string]bool) {
	seen := map[string]bool{}
	for _, n := range c.lab.Networks {
		c.name("network", n.Name, 15, seen)
	}
	seen = map[string]bool{}
	for i := range c.lab.Nodes {
		n := &c.lab.Nodes[i]
		c.name("node", n.Name, 10, seen)
		switch n.Kind {
		case KedgeKind:
			if n.Config == "" && n.Command == nil {
				c.failf("node %s: a kedge node needs config, the text of its configuration", n.Name)
			}
		case RouterKind, HostKind:
			if n.Config != "" {
				c.failf("node %s: config is for kedge nodes, this is a %s", n.Name, n.Kind)
			}
		default:
			c.failf("node %s: kind: found %q, expected kedge, router or host", n.Name, n.Kind)
		}
		names := map[string]bool{}
		for _, f := range n.Interfaces {
			c.name("node "+n.Name+": interface", f.Name, 14-len(n.Name), names)
			if f.Network != "" && c.lab.Network(f.Network) == nil {
				c.failf("node %s: interface %s: there is no network %q", n.Name, f.Name, f.Network)
			}
			if mac, err := net.ParseMAC(f.LinkLayer); f.LinkLayer != "" && (err != nil || len(mac) != 6 || mac[0]&1 != 0) {
				c.failf("node %s: interface %s: link_layer_address: %q is not a unicast address such as \"02:00:00:00:00:01\"", n.Name, f.Name, f.LinkLayer)
			} else if f.LinkLayer != "" && wired[n.Name+"."+f.Name] {
				c.failf("node %s: interface %s: link_layer_address is for interfaces that no wire ends at", n.Name, f.Name)
			}
			c.leases("node "+n.Name+": interface "+f.Name, f)
			if a := f.Advertise; a != nil {
				if n.Kind != RouterKind {
					c.failf("node %s: interface %s: only a router advertises, this is a %s", n.Name, f.Name, n.Kind)
				}
				if a.Policy != FastPolicy && a.Policy != RFC4861Policy {
					c.failf("node %s: interface %s: advertise.policy: found %q, expected fast or rfc4861", n.Name, f.Name, a.Policy)
				}
			}
		}
		c.nat(n)
		c.files("node "+n.Name, n.Files)
	}
}

func (c *checker) files(what string, files map[string]string) {
	for name := range files {
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
			c.failf("%s: files: %q is not a plain file name", what, name)
		}
	}
}

func (c *checker) name(what, name string, longest int, seen map[string]bool) {
	switch {
	case !nameRE.MatchString(name):
		c.failf("%s: found name %q, expected lower-case letters, digits and hyphens", what, name)
	case len(name) > longest:
		c.failf("%s: name %q is longer than %d characters", what, name, longest)
	case seen[name]:
		c.failf("%s: there are two of name %q", what, name)
	}
	seen[name] = true
}

func (c *checker) traffic() {
	names := map[string]bool{}
	node := func(what, key, node string) {
		if c.lab.Node(node) == nil {
			c.failf("%s: %s: there is no node %q", what, key, node)
		}
	}
	for _, d := range c.lab.Downloads {
		what := "download " + d.Name
		c.name("download", d.Name, 30, names)
		node(what, "from", d.From)
		node(what, "to", d.To)
		if !d.FromAddress.Is6() || !d.ToAddress.Is6() {
			c.failf("%s: from_address and to_address must be IPv6 addresses", what)
		}
		if d.Rate.PerSecond() == 0 {
			c.failf("%s: rate is missing", what)
		}
	}
	for _, p := range c.lab.Probes {
		what := "probe " + p.Name
		c.name("probe", p.Name, 30, names)
		node(what, "correspondent", p.Correspondent)
		node(what, "mobile", p.Mobile)
		if !p.CorrespondentAddress.Is6() || !p.MobileAddress.Is6() {
			c.failf("%s: correspondent_address and mobile_address must be IPv6 addresses", what)
		}
		if p.Size < 24 || p.Size > 1200 {
			c.failf("%s: size: found %d, expected 24 to 1200 octets", what, p.Size)
		}
		if p.Spacing.Std() < 100*time.Microsecond {
			c.failf("%s: spacing: found %v, expected at least 100us", what, p.Spacing.Std())
		}
	}
}

func (c *checker) moves() {
	check := func(what, node, iface string, networks ...string) {
		n := c.lab.Node(node)
		if n == nil || n.Interface(iface) == nil {
			c.failf("%s: there is no interface %s.%s", what, node, iface)
		}
		for _, w := range networks {
			if c.lab.Network(w) == nil {
				c.failf("%s: there is no network %q", what, w)
			}
		}
	}
	for i, m := range c.lab.Moves {
		what := fmt.Sprintf("move %d", i+1)
		if m.To == "" {
			check(what, m.Node, m.Interface)
		} else {
			check(what, m.Node, m.Interface, m.To)
		}
		c.forgetting(what, m)
		if m.PreviousMAAR != "" && c.lab.Node(m.PreviousMAAR) == nil {
			c.failf("%s: previous_maar: there is no node %q", what, m.PreviousMAAR)
		}
		if m.Way != CarrierWay && m.Way != RestartWay && m.Way != ForgetWay {
			c.failf("%s: way: found %q, expected %s, %s or %s", what, m.Way, CarrierWay, RestartWay, ForgetWay)
		}
	}
	if a := c.lab.Alternate; a != nil {
		if len(a.Networks) < 2 {
			c.failf("alternate: networks: found %d, expected at least two", len(a.Networks))
		}
		check("alternate", a.Node, a.Interface, a.Networks...)
	}
}

func (c *checker) observe() {
	o := c.lab.Observe
	if o == nil {
		return
	}
	if n := c.lab.Node(o.Host); n == nil || n.Interface(o.Interface) == nil {
		c.failf("observe: there is no interface %s.%s", o.Host, o.Interface)
	}
	if c.lab.Node(o.Transit) == nil {
		c.failf("observe: transit: there is no node %q", o.Transit)
	}
}
