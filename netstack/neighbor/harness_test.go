package neighbor

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

var (
	addr = netip.MustParseAddr
	me   = packet.LinkAddress{2, 0, 0, 0, 0, 0xee}
	m1   = packet.LinkAddress{2, 0, 0, 0, 0, 1}
	m2   = packet.LinkAddress{2, 0, 0, 0, 0, 2}
	// ll and own are this node's addresses; peer, host and router are others'.
	ll     = addr("fe80::ee")
	own    = addr("2001:db8::ee")
	peer   = addr("2001:db8::1")
	host   = addr("2001:db8::2")
	router = addr("fe80::1")
	any6   = netip.IPv6Unspecified()

	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// half makes every jitter half of what it may be, and the reachable time 30 s.
type half struct{}

func (half) Read(b []byte) (int, error) {
	clear(b)
	b[0] = 0x80
	return len(b), nil
}

// bench is a table with a clock of its own, whose outputs it writes as lines of text.
type bench struct {
	*testing.T
	*Table
	now   time.Time
	lines []string
	// listener shows MLD reports and changes of groups too.
	listener bool
}

// newBench has the addresses ll and own.
func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	cfg.LinkAddress, cfg.Random = me, half{}
	b := &bench{T: t, Table: New(cfg), now: epoch}
	b.AddAddress(b.now, ll, Own)
	b.AddAddress(b.now, own, Own)
	b.until(time.Second)
	b.lines = nil
	b.now = epoch
	t.Cleanup(func() { b.check() })
	return b
}

// at sets the clock to d after the start, without a tick.
func (b *bench) at(d time.Duration) *bench {
	b.now = epoch.Add(d)
	return b
}

// until runs the table's timers up to d after the start.
func (b *bench) until(d time.Duration) *bench {
	b.Helper()
	end := epoch.Add(d)
	for next := b.Next(); !next.IsZero() && !next.After(end); next = b.Next() {
		if next.After(b.now) {
			b.now = next
		}
		b.do(b.Tick(b.now))
	}
	b.now = end
	return b
}

// do writes an output down.
func (b *bench) do(out Output) {
	b.Helper()
	when := b.now.Sub(epoch).String() + " "
	for _, f := range out.Frames {
		if line := b.describe(f); line != "" {
			b.lines = append(b.lines, when+line)
		}
	}
	for _, p := range out.Undeliverable {
		b.lines = append(b.lines, when+"undeliverable "+string(p.Bytes()[40:]))
	}
	for _, e := range out.Events {
		switch e := e.(type) {
		case Joined, Left:
			if !b.listener {
				continue
			}
			b.lines = append(b.lines, fmt.Sprintf("%s%T %v", when, e, e))
		case RouterAdvertised:
			b.lines = append(b.lines, fmt.Sprintf("%sRouterAdvertised %v", when, e.Router))
		default:
			b.lines = append(b.lines, when+strings.TrimPrefix(fmt.Sprintf("%T %v", e, e), "neighbor."))
		}
	}
}

func name(a packet.LinkAddress) string {
	switch a {
	case me:
		return "me"
	case m1:
		return "m1"
	case m2:
		return "m2"
	}
	return fmt.Sprintf("%x", a)
}

func (b *bench) describe(f Frame) string {
	b.Helper()
	if f.Packet.Len() < 40 || cap(f.Packet.Available())-f.Packet.Len() < packet.Headroom {
		b.Errorf("packet of %d octets in a buffer of %d", f.Packet.Len(), cap(f.Packet.Available()))
	}
	src, dst, m, err := nd.Parse(f.Packet.Bytes())
	if errors.Is(err, nd.ErrNotND) {
		return fmt.Sprintf("packet %s to %s", f.Packet.Bytes()[40:], name(f.To))
	}
	if err != nil {
		b.Errorf("sent an invalid message: %v", err)
		return ""
	}
	to := ""
	if !dst.IsMulticast() {
		to = " (" + name(f.To) + ")"
	} else if f.To != nd.MulticastMAC(dst) {
		b.Errorf("sent to %v at %v", dst, f.To)
	}
	head := fmt.Sprintf("%v > %v%s ", src, dst, to)
	switch m := m.(type) {
	case *nd.NeighborSolicitation:
		return head + "NS " + m.Target.String() + options(m.Options)
	case *nd.NeighborAdvertisement:
		flags := ""
		for _, f := range []struct {
			set  bool
			name string
		}{{m.Router, "R"}, {m.Solicited, "S"}, {m.Override, "O"}} {
			if f.set {
				flags += f.name
			}
		}
		return head + "NA " + m.Target.String() + " [" + flags + "]" + options(m.Options)
	case *nd.ListenerReport:
		if !b.listener {
			return ""
		}
		s := head + "MLD"
		for _, r := range m.Records {
			s += " " + map[nd.RecordType]string{nd.ChangeToExcludeMode: "+", nd.ChangeToIncludeMode: "-", nd.ModeIsExclude: "="}[r.Type] +
				r.Group.String()
		}
		return s
	case *nd.ListenerReportV1:
		return head + "MLDv1 =" + m.Group.String()
	case *nd.ListenerDoneV1:
		return head + "MLDv1 -" + m.Group.String()
	}
	return head + fmt.Sprintf("%T", m)
}

func options(opts nd.Options) (s string) {
	for _, o := range opts {
		switch o := o.(type) {
		case nd.SourceLinkLayerAddress:
			s += " source=" + name(packet.LinkAddress(o))
		case nd.TargetLinkLayerAddress:
			s += " target=" + name(packet.LinkAddress(o))
		case nd.Nonce:
			s += " nonce"
		}
	}
	return s
}

// expect compares what was written down since the last time.
func (b *bench) expect(want ...string) {
	b.Helper()
	if diff := cmp.Diff(want, b.lines); diff != "" {
		b.Errorf("-want +got:\n%s", diff)
	}
	b.lines = nil
}

// receive hands the table a message.
func (b *bench) receive(from packet.LinkAddress, src, dst netip.Addr, m nd.Message) {
	b.Helper()
	p, err := nd.Append(nil, src, dst, m)
	if err != nil {
		b.Fatal(err)
	}
	b.do(b.Handle(b.now, p, from))
}

// advertise hands the table a solicited advertisement of target from the node at link.
func (b *bench) advertise(target netip.Addr, link packet.LinkAddress) {
	b.Helper()
	b.receive(link, target, own, &nd.NeighborAdvertisement{
		Target: target, Solicited: true, Override: true, Options: nd.Options{nd.TargetLinkLayerAddress(link)},
	})
}

// data is an IPv6 packet of no interest but its text.
func data(src, dst netip.Addr, text string) *packet.Packet {
	s, d := src.As16(), dst.As16()
	b := append([]byte{0x60, 0, 0, 0, 0, byte(len(text)), 59, 64}, s[:]...)
	p := packet.New(100)
	p.Set(append(append(b, d[:]...), text...))
	return p
}

func (b *bench) resolve(to netip.Addr, text string) {
	b.Helper()
	b.do(b.Resolve(b.now, to, data(own, to, text)))
}

// state is a neighbour's state; removed if it is unknown.
func (b *bench) state(a netip.Addr) state {
	if n := b.index.find(a); n != nil {
		return n.state
	}
	return removed
}

// link is what Lookup says, "" if nothing.
func (b *bench) link(a netip.Addr) string {
	if l, ok := b.Lookup(a); ok {
		return name(l)
	}
	return ""
}

// put makes peer a neighbour at m1 in a state, at the present time.
func (b *bench) put(s state) *neighbor {
	b.Helper()
	b.enter(b.now)()
	n := b.index.find(peer)
	if n == nil {
		n = b.create(peer)
	}
	n.link = m1
	b.setState(n, s)
	if s == incomplete || s == probe {
		b.solicit(n)
	}
	b.finish()
	return n
}

// check is what always holds of a table.
func (t *Table) problems() (found []string) {
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	count, octets, lists := 0, 0, map[state]int{}
	for i := range t.index.buckets {
		for n := t.index.buckets[i].Load(); n != nil; n = n.next.Load() {
			count++
			lists[n.state]++
			for _, p := range n.pending {
				octets += p.Len()
			}
			w := n.word.Load()
			if known := n.state != incomplete; known != (w&wordKnown != 0) || known && unpackWord(w) != n.link {
				complain("%v in state %d at %v: word %#x", n.addr, n.state, n.link, w)
			}
			if (n.state == stale) != (w&wordWatched != 0) || (n.state == stale) == (n.timer.place > 0) {
				complain("%v in state %d: word %#x, timer %d", n.addr, n.state, w, n.timer.place)
			}
			if n.state == removed || len(n.pending) > MaxPendingPerNeighbor || n.state != incomplete && len(n.pending) > 0 {
				complain("%v in state %d with %d packets", n.addr, n.state, len(n.pending))
			}
		}
	}
	if count != t.neighbors || count > t.cfg.MaxNeighbors || lists[incomplete] > t.cfg.MaxIncomplete {
		complain("%d neighbours, counted as %d, %d incomplete", count, t.neighbors, lists[incomplete])
	}
	if lists[stale] != t.stale.Len() || lists[incomplete] != t.incomplete.Len() {
		complain("%v neighbours, lists of %d stale and %d incomplete", lists, t.stale.Len(), t.incomplete.Len())
	}
	if octets != t.pendingOctets || octets > maxPendingOctets {
		complain("%d octets pending, counted as %d", octets, t.pendingOctets)
	}
	groups := map[netip.Addr]int{}
	for a := range t.addresses {
		groups[nd.SolicitedNode(a)]++
	}
	if t.cfg.Router {
		groups[nd.AllRouters]++
	}
	if diff := cmp.Diff(groups, t.listener.members, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		complain("groups -want +got: %s", diff)
	}
	for i, tm := range t.timers.heap {
		if tm.place != i+1 || i > 0 && t.timers.heap.Less(i, (i-1)/2) {
			complain("timer %d is out of place", i)
		}
	}
	return found
}

func (b *bench) check() {
	b.Helper()
	for _, p := range slices.Compact(b.problems()) {
		b.Error(p)
	}
}
