package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Program is what a flow's program does.
type Program string

// The programs. A stream is one TCP connection with pseudo-random octets both ways. Exchanges are a UDP request and its
// response each, from a new socket every time, as name look-ups are. Datagrams go both ways at a steady pace between two UDP
// sockets, from the address that the kernel chooses for the first.
const (
	StreamProgram   Program = "stream"
	ExchangeProgram Program = "exchanges"
	DatagramProgram Program = "datagrams"
)

// Fate is what becomes of a flow.
type Fate string

// The fates: a flow is maintained to the orderly end that its program makes of it, or it is reset by the mobile node.
const (
	SurvivesFate Fate = "survives"
	ResetFate    Fate = "reset"
)

// Flow is a service flow of one program on an ordinary kernel socket.
type Flow struct {
	Name    string  `toml:"name"`
	Program Program `toml:"program"`
	// From is the node whose program opens the flow, to To where a server listens at ToAddress and Port.
	From      string     `toml:"from"`
	To        string     `toml:"to"`
	ToAddress netip.Addr `toml:"to_address"`
	Port      uint16     `toml:"port"`
	// FromAddress is what the program binds to; without it the kernel chooses, as for most programs.
	FromAddress netip.Addr `toml:"from_address"`
	// Rate of a stream, each way.
	Rate BitRate `toml:"rate"`
	// Spacing of exchanges.
	Spacing Duration `toml:"spacing"`
	// AfterMove is how many moves have been made when the program starts.
	AfterMove int `toml:"after_move"`
	// After is how long after that, or after the flow before it, the program starts.
	After Duration `toml:"after"`
	// Ends is how long after the last move the program ends in order; 0 is with the lab.
	Ends Duration `toml:"ends"`

	// What is expected: the fate, the class that kedge gives it, and prefixes, one of which has the address that the
	// correspondent knows the mobile node by. What is left out is not checked.
	Expect Fate           `toml:"expect"`
	Class  string         `toml:"class"`
	SeenAs []netip.Prefix `toml:"seen_as"`
}

// Echo measures a path's round trip by UDP requests to a responder, from before the first flow until the end.
type Echo struct {
	Name string `toml:"name"`
	// Path is what the figure is shown as: home, through the home agent, or direct, from the host's own address.
	Path      Path       `toml:"path"`
	From      string     `toml:"from"`
	To        string     `toml:"to"`
	ToAddress netip.Addr `toml:"to_address"`
	Port      uint16     `toml:"port"`
	// FromAddress is what the socket binds to, or Interface what it is bound to.
	FromAddress netip.Addr `toml:"from_address"`
	Interface   string     `toml:"interface"`
	Spacing     Duration   `toml:"spacing"`
}

// Path is which path an echo takes.
type Path string

// The paths that flows are compared with.
const (
	HomePath   Path = "home"
	DirectPath Path = "direct"
)

// Await is what must be so before traffic starts.
type Await struct {
	Node string `toml:"node"`
	// Directory is how many entries of known round trip the home agent's directory of Distributed Home-Proxies has.
	Directory int `toml:"directory"`
	// Silence is how long there shall be no traffic at all, after which the first datagram from FromAddress of node From to Address
	// of this node arrives.
	Silence     Duration   `toml:"silence"`
	Address     netip.Addr `toml:"address"`
	From        string     `toml:"from"`
	FromAddress netip.Addr `toml:"from_address"`
}

// FlowExpectations hold for flows with fate reset. Zero values are not expected.
type FlowExpectations struct {
	// JudgedMax bounds the time from the binding of the new care-of address to the judgement, ResetMax that from the
	// judgement until the program knows.
	JudgedMax Duration `toml:"judged_max"`
	ResetMax  Duration `toml:"reset_max"`
	// GivenBackMax bounds the time from the end of the last flow with its address until no anchor has a binding for it.
	GivenBackMax Duration `toml:"given_back_max"`
}

// Mobile is the flow's end that moves, and Correspondent the other.
func (l *Lab) Mobile(f Flow) (mobile, correspondent string) {
	if slices.ContainsFunc(l.Moves, func(m Move) bool { return m.Node == f.To }) {
		return f.To, f.From
	}
	return f.From, f.To
}

func (l *Lab) completeFlows() {
	for i := range l.Flows {
		f := &l.Flows[i]
		if f.Spacing.Std() == 0 {
			f.Spacing = Of(100 * time.Millisecond)
			if f.Program == DatagramProgram {
				f.Spacing = Of(2 * time.Millisecond)
			}
		}
		if f.Port == 0 {
			f.Port = uint16(7000 + i)
		}
	}
	for i := range l.Echoes {
		e := &l.Echoes[i]
		if e.Spacing.Std() == 0 {
			e.Spacing = Of(20 * time.Millisecond)
		}
		if e.Port == 0 {
			e.Port = uint16(9500 + i)
		}
	}
}

func (c *checker) flows() {
	names := map[string]bool{}
	node := func(what, key, node string) {
		if c.lab.Node(node) == nil {
			c.failf("%s: %s: there is no node %q", what, key, node)
		}
	}
	for _, f := range c.lab.Flows {
		what := "flow " + f.Name
		c.name("flow", f.Name, 20, names)
		node(what, "from", f.From)
		node(what, "to", f.To)
		if !f.ToAddress.Is6() {
			c.failf("%s: to_address must be an IPv6 address", what)
		}
		switch f.Program {
		case StreamProgram:
			if f.Rate.PerSecond() == 0 {
				c.failf("%s: rate is missing", what)
			}
		case ExchangeProgram, DatagramProgram:
			if f.Expect == ResetFate {
				c.failf("%s: expect: %s cannot be reset", what, f.Program)
			}
			if f.Spacing.Std() < time.Millisecond {
				c.failf("%s: spacing: found %v, expected at least 1ms", what, f.Spacing.Std())
			}
		default:
			c.failf("%s: program: found %q, expected stream, exchanges or datagrams", what, f.Program)
		}
		if f.AfterMove < 0 || f.AfterMove > len(c.lab.Moves) {
			c.failf("%s: after_move: found %d, expected 0 to %d, the number of moves", what, f.AfterMove, len(c.lab.Moves))
		}
		if !slices.Contains([]Fate{"", SurvivesFate, ResetFate}, f.Expect) {
			c.failf("%s: expect: found %q, expected survives or reset", what, f.Expect)
		}
	}
	c.echoes(node)
	for i, a := range c.lab.Awaits {
		what := fmt.Sprintf("await %d", i+1)
		node(what, "node", a.Node)
		switch {
		case a.Silence.Std() > 0:
			node(what, "from", a.From)
			if !a.Address.Is6() || !a.FromAddress.Is6() {
				c.failf("%s: address and from_address must be IPv6 addresses", what)
			}
		case a.Directory < 1:
			c.failf("%s: directory: found %d, expected at least 1", what, a.Directory)
		}
	}
}

func (c *checker) echoes(node func(what, key, node string)) {
	names := map[string]bool{}
	for _, e := range c.lab.Echoes {
		what := "echo " + e.Name
		c.name("echo", e.Name, 20, names)
		node(what, "from", e.From)
		node(what, "to", e.To)
		if !e.ToAddress.Is6() {
			c.failf("%s: to_address must be an IPv6 address", what)
		}
		if e.Path != HomePath && e.Path != DirectPath {
			c.failf("%s: path: found %q, expected home or direct", what, e.Path)
		}
		if e.FromAddress.IsValid() == (e.Interface != "") {
			c.failf("%s: one of from_address and interface is needed", what)
		}
	}
}
