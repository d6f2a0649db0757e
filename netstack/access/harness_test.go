package access

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/netstack/nd"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
	any6   = netip.IPv6Unspecified()

	me = packet.LinkAddress{2, 0, 0, 0, 0, 0xee}
	m1 = packet.LinkAddress{2, 0, 0, 0, 0, 1}
	m2 = packet.LinkAddress{2, 0, 0, 0, 0, 2}
	d1 = packet.LinkAddress{2, 0xd, 0, 0, 0, 1}
	d2 = packet.LinkAddress{2, 0xd, 0, 0, 0, 2}
	d3 = packet.LinkAddress{2, 0xd, 0, 0, 0, 3}

	// ll1 and ll2 are the hosts' addresses, p1 to p3 prefixes of routers r1 to r3, of which r2 is an earlier one.
	ll1, ll2   = addr("fe80::a1"), addr("fe80::a2")
	p1, p2, p3 = prefix("2001:db8:1::/64"), prefix("2001:db8:2::/64"), prefix("2001:db8:3::/64")
	r1         = Router{LinkLocal: addr("fe80::d1"), LinkLayer: d1, Prefix: p1, Preferred: time.Hour, Valid: 2 * time.Hour, Lifetime: 1800 * time.Second}
	r2         = Router{LinkLocal: addr("fe80::d2"), LinkLayer: d2, Prefix: p2, Valid: time.Hour, Lifetime: 1800 * time.Second}
	r3         = Router{LinkLocal: addr("fe80::d3"), LinkLayer: d3, Prefix: p3, Preferred: time.Hour, Valid: 2 * time.Hour, Lifetime: 1800 * time.Second}

	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// half makes every jitter half of what it may be.
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
}

func newBench(t *testing.T, cfg Config) *bench {
	t.Helper()
	cfg.LinkAddress, cfg.Random = me, half{}
	b := &bench{T: t, Table: New(cfg), now: epoch}
	t.Cleanup(func() {
		for _, p := range b.problems() {
			b.Error(p)
		}
	})
	return b
}

// attached is a bench with host m1 at ll1 that is served routers, 10 s before the start.
func attached(t *testing.T, cfg Config, routers ...Router) *bench {
	t.Helper()
	b := newBench(t, cfg)
	b.at(-10 * time.Second)
	b.receive(m1, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{})
	for _, r := range routers {
		b.serve(m1, r)
	}
	b.until(0)
	b.lines = nil
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

func (b *bench) serve(mn packet.LinkAddress, r Router) {
	b.Helper()
	out, err := b.Serve(b.now, mn, r)
	if err != nil {
		b.Error(err)
	}
	b.do(out)
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

// data is a packet from a host, as the link notes it.
func (b *bench) data(from packet.LinkAddress) {
	b.Helper()
	if !b.Heard(from) {
		b.do(b.Stranger(b.now, from))
	}
}

// do writes an output down.
func (b *bench) do(out neighbor.Output) {
	b.Helper()
	when := b.now.Sub(epoch).String() + " "
	for _, f := range out.Frames {
		b.lines = append(b.lines, when+b.describe(f))
	}
	for _, e := range out.Events {
		switch e := e.(type) {
		case Attached:
			b.lines = append(b.lines, fmt.Sprintf("%sattached %s %v: %v", when, name(e.LinkLayer), e.LinkLocal, e.Cause))
		case Departed:
			b.lines = append(b.lines, fmt.Sprintf("%sdeparted %s: %v", when, name(e.LinkLayer), e.Cause))
		case Contested:
			b.lines = append(b.lines, fmt.Sprintf("%scontested %v by %s of %s", when, e.Address, name(e.LinkLayer), name(e.Victim)))
		}
	}
	if out.Readdressed {
		var all []string
		for _, a := range b.Addresses(100) {
			all = append(all, name(a))
		}
		b.lines = append(b.lines, when+"receive "+strings.Join(all, " "))
	}
}

func name(a packet.LinkAddress) string {
	switch a {
	case packet.LinkAddress{}:
		return "me"
	case m1:
		return "m1"
	case m2:
		return "m2"
	case d1:
		return "d1"
	case d2:
		return "d2"
	case d3:
		return "d3"
	}
	return fmt.Sprintf("%x", a[:])
}

func (b *bench) describe(f neighbor.Frame) string {
	b.Helper()
	src, dst, m, err := nd.Parse(f.Packet.Bytes())
	if err != nil {
		b.Errorf("sent an invalid message: %v", err)
		return ""
	}
	head := fmt.Sprintf("%s>%s %v > %v ", name(f.From), name(f.To), src, dst)
	switch m := m.(type) {
	case *nd.RouterAdvertisement:
		head += fmt.Sprintf("RA %v", m.RouterLifetime)
		if o, has := nd.Find[nd.PrefixInformation](m.Options); has {
			head += fmt.Sprintf(" %v %v", o.Prefix, o.PreferredLifetime)
		}
		if o, has := nd.Find[nd.SourceLinkLayerAddress](m.Options); !has || packet.LinkAddress(o) != f.From && f.From != (packet.LinkAddress{}) {
			b.Errorf("%s: source link-layer address %x, %v", head, o, has)
		}
	case *nd.NeighborSolicitation:
		head += "NS " + m.Target.String()
	case *nd.NeighborAdvertisement:
		flags := ""
		for i, set := range []bool{m.Router, m.Solicited, m.Override} {
			if set {
				flags += "RSO"[i : i+1]
			}
		}
		o, _ := nd.Find[nd.TargetLinkLayerAddress](m.Options)
		head += fmt.Sprintf("NA %v [%s] %s", m.Target, flags, name(packet.LinkAddress(o)))
	case *nd.ListenerQuery:
		head += "query " + m.MaximumResponseDelay.String()
	}
	return head
}

// expect compares what was written down since the last time.
func (b *bench) expect(want ...string) {
	b.Helper()
	if diff := cmp.Diff(want, b.lines); diff != "" {
		b.Errorf("-want +got:\n%s", diff)
	}
	b.lines = nil
}

// quiet is expect of nothing.
func (b *bench) quiet() {
	b.Helper()
	b.expect()
}

// problems is what should always hold of a table and does not.
func (t *Table) problems() (found []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	strangers, routers, uses := 0, 0, map[packet.LinkAddress]int{}
	queued := map[*host]bool{}
	for i, h := range t.queue {
		queued[h] = true
		if h.place != i+1 || t.hosts[h.link] != h || i > 0 && t.queue.Less(i, (i-1)/2) {
			complain("%s is out of place in the queue", name(h.link))
		}
	}
	for link, h := range t.hosts {
		if got, _ := t.links.find(linkKey(link)); got != h || h.link != link {
			complain("%s is not in the index", name(link))
		}
		if (h.stranger != nil) != (len(h.routers) == 0) {
			complain("%s with %d routers is a stranger: %v", name(link), len(h.routers), h.stranger != nil)
		}
		if h.stranger != nil {
			strangers++
		}
		if watched := h.flags.Load()&watchedFlag != 0; watched == (h.present && !h.unheard && len(h.routers) > 0) {
			complain("%s is watched: %v", name(link), watched)
		}
		if (h.present || h.stranger != nil) && !queued[h] {
			complain("nothing is due for %s", name(link))
		}
		if len(h.addresses) > MaxAddresses || len(h.leaving) > 16 {
			complain("%s has %d addresses, %d routers leaving", name(link), len(h.addresses), len(h.leaving))
		}
		for _, r := range h.routers {
			routers++
			if r.LinkLayer != (packet.LinkAddress{}) {
				uses[r.LinkLayer]++
			}
			if t.prefixes[r.Prefix] != r || r.host != h || !slices.Contains(t.claims[r.LinkLocal], r) {
				complain("router of %v is missing", r.Prefix)
			}
			if to, from, known := t.LinkAddresses(r.Prefix.Addr().Next()); to != link || from != r.LinkLayer || !known {
				complain("packets for %v go to %s from %s", r.Prefix, name(to), name(from))
			}
		}
	}
	if routers != len(t.prefixes) || strangers != t.strangers.Len() || len(t.hosts) > t.cfg.MaxHosts {
		complain("%d routers, %d strangers; %d and %d counted; %d hosts", routers, strangers, len(t.prefixes), t.strangers.Len(), len(t.hosts))
	}
	claims := 0
	for _, c := range t.claims {
		claims += len(c)
	}
	if claims != routers {
		complain("%d routers have %d addresses", routers, claims)
	}
	if !maps.Equal(uses, t.uses) {
		complain("uses of link-layer addresses: %v, want %v", t.uses, uses)
	}
	for a := range t.uses {
		if !t.Receives(a) {
			complain("frames to %s are not received", name(a))
		}
	}
	own, destinations := 0, 0
	for i := range t.own.buckets {
		if b := t.own.buckets[i].Load(); b != nil {
			own += len(*b)
		}
	}
	for i := range t.destinations.buckets {
		if b := t.destinations.buckets[i].Load(); b != nil {
			destinations += len(*b)
		}
	}
	owned := 0
	for a, h := range t.owners {
		if t.hosts[h.link] != h || !slices.Contains(h.addresses, a) {
			complain("%v is owned by %s, who does not have it", a, name(h.link))
		}
		if len(h.routers) > 0 {
			owned++
		}
	}
	if own != len(t.uses) || destinations != routers+owned {
		complain("%d link-layer addresses, %d wanted; %d destinations, %d wanted", own, len(t.uses), destinations, routers+owned)
	}
	return found
}
