package database

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cmd  = netip.MustParseAddr("2001:db8:c::1")
)

// maar is the address of MAAR i, from 1; gateway 9 is a plain one.
func maar(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", i)) }

// pref is a prefix of MAAR i's pool.
func pref(i int) netip.Prefix { return nth(i, 0) }

func nth(i, n int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("2001:db8:a%d:%x::/64", i, n))
}

func association(i int) auth.Association {
	return auth.Association{SPI: uint32(300 + i), Algorithm: auth.HMACSHA256, Key: auth.Key(fmt.Sprintf("the key of router number %d", i))}
}

const gateway = 9

func config(mode Mode) Config {
	c := Config{
		Address: cmd, Mode: mode, Associations: map[uint32]auth.Association{}, AllowAnyNode: true,
		MaxLifetime: 10 * time.Minute, PacingInterval: time.Microsecond, ServePlain: true,
		HomePrefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:f0::/48")},
	}
	for i := 1; i <= gateway; i++ {
		c.Associations[uint32(300+i)] = association(i)
		r := Router{Address: maar(i), SPI: uint32(300 + i)}
		if r.Plain = i == gateway; !r.Plain {
			r.Prefixes = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("2001:db8:a%d::/48", i))}
		}
		c.Routers = append(c.Routers, r)
	}
	return c
}

// world is a database and what goes to and fro, as a drawing.
type world struct {
	t     testing.TB
	cfg   Config
	m     *Machine
	now   time.Time
	begin time.Time
	clock auth.Clock
	drawn []string
	// other are the effects that are neither messages nor reports.
	other []signaling.Effect
	// asked is the latest PBU to each router, told the latest PBA.
	asked   map[int]*mh.BindingUpdate
	told    map[int]*mh.BindingAcknowledgement
	reports []signaling.Report
}

func start(t testing.TB, mode Mode, changes ...func(*Config)) *world {
	t.Helper()
	c := config(mode)
	for _, change := range changes {
		change(&c)
	}
	m, err := New(c, noon)
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, cfg: c, m: m, now: noon, begin: noon,
		asked: map[int]*mh.BindingUpdate{}, told: map[int]*mh.BindingAcknowledgement{},
	}
}

func name(a netip.Addr) string {
	switch {
	case a == cmd:
		return "cmd"
	case a == maar(gateway):
		return "mag"
	}
	for i := 1; i < gateway; i++ {
		if a == maar(i) {
			return fmt.Sprintf("maar%d", i)
		}
	}
	return a.String()
}

func short(p netip.Prefix) string {
	for i := 1; i < gateway; i++ {
		for n := range 20 {
			if p == nth(i, n) {
				return strings.TrimSuffix(fmt.Sprintf("p%d.%d", i, n), ".0")
			}
		}
	}
	return p.String()
}

// draw is a message in one line.
func draw(m mh.Message) string {
	var b strings.Builder
	switch m := m.(type) {
	case *mh.BindingUpdate:
		fmt.Fprintf(&b, "PBU %d %v", m.Sequence, m.Lifetime)
		if !m.Distributed {
			b.WriteString(" plain")
		}
	case *mh.BindingAcknowledgement:
		fmt.Fprintf(&b, "PBA %d %v", m.Sequence, m.Lifetime)
		if m.Status != 0 {
			fmt.Fprintf(&b, " status %d", uint8(m.Status))
		}
		if !m.Distributed {
			b.WriteString(" plain")
		}
	}
	for _, o := range *m.OptionList() {
		switch o := o.(type) {
		case *mh.AnchoredPrefix:
			b.WriteString(" anchored " + short(o.Prefix))
		case *mh.HomeNetworkPrefix:
			b.WriteString(" home " + short(o.Prefix))
		case *mh.PreviousMAAR:
			fmt.Fprintf(&b, " previous %s %s", name(o.Address), short(o.Prefix))
		case *mh.ServingMAAR:
			b.WriteString(" serving " + name(o.Address))
		case *mh.DLIFLinkLocalAddress:
			b.WriteString(" " + o.Address.String())
		case *mh.DLIFLinkLayerAddress:
			fmt.Fprintf(&b, " %x", o.Address)
		case *mh.LocalPrefix:
			b.WriteString(" local " + o.Prefix.String())
		}
	}
	return b.String()
}

func (w *world) line(from, to netip.Addr, m mh.Message) {
	w.drawn = append(w.drawn, fmt.Sprintf("%v %s > %s %s", w.now.Sub(w.begin), name(from), name(to), draw(m)))
}

// take looks through effects: every message has to be well formed, signed and fresh.
func (w *world) take(effects []signaling.Effect) {
	w.t.Helper()
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Report:
			w.reports = append(w.reports, e)
		case signaling.Send:
			w.sent(e)
		default:
			w.other = append(w.other, e)
		}
	}
}

func (w *world) sent(e signaling.Send) {
	w.t.Helper()
	m, err := mh.Parse(e.Payload)
	if err != nil || e.Source != cmd || !mh.ChecksumValid(e.Payload, cmd, e.Destination) || e.HomeAddress.IsValid() {
		w.t.Fatalf("sent %+v: %v", e, err)
	}
	i := slices.IndexFunc(w.cfg.Routers, func(r Router) bool { return r.Address == e.Destination }) + 1
	careOf := cmd
	if a, is := m.(*mh.BindingAcknowledgement); is {
		careOf = e.Destination
		w.told[i] = a
	} else {
		u := m.(*mh.BindingUpdate)
		if !u.Acknowledge || !u.ProxyRegistration || u.HomeRegistration {
			w.t.Errorf("flags of %+v", u)
		}
		if s, ok := mh.Find[*mh.ServingMAAR](u.Options); ok && (s.Address == e.Destination || s.Address == cmd) {
			w.t.Errorf("%v is named to itself, or the CMD, as S-MAAR", s.Address)
		}
		w.asked[i] = u
	}
	lookup := func(spi uint32) (auth.Association, bool) { return association(i), spi == uint32(300+i) }
	if _, err := auth.Verify(e.Payload, m, lookup, careOf, netip.IPv6Unspecified()); err != nil {
		w.t.Errorf("%s: %v", draw(m), err)
	}
	w.line(cmd, e.Destination, m)
}

// at lets time go on to so long after noon, with a Tick whenever the machine wants one.
func (w *world) at(d time.Duration) *world {
	w.t.Helper()
	to := w.begin.Add(d)
	for next := w.m.Next(); !next.IsZero() && !next.After(to); next = w.m.Next() {
		if next.After(w.now) {
			w.now = next
		}
		w.take(w.m.Handle(w.now, signaling.Tick{}))
	}
	w.now = to
	return w
}

// pbu is a PBU in the making.
type pbu struct {
	mh.BindingUpdate
	from  int
	stamp mh.NTPTime
	key   auth.Association
	src   netip.Addr
}

func without[O mh.Option](p *pbu) {
	p.Options = slices.DeleteFunc(p.Options, func(o mh.Option) bool { _, is := o.(O); return is })
}

func with(o ...mh.Option) func(*pbu) {
	return func(p *pbu) {
		for _, n := range o {
			p.Options = slices.DeleteFunc(p.Options, func(o mh.Option) bool { return o.OptionType() == n.OptionType() })
		}
		p.Options = append(p.Options, o...)
	}
}

func about(id string) func(*pbu) {
	return with(&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: id})
}

// hint sets the Handoff Indicator.
func hint(h mh.Handoff) func(*pbu) { return with(&mh.HandoffIndicator{Indicator: h}) }

// anchoring replaces the Anchored Prefix options.
func anchoring(p ...netip.Prefix) func(*pbu) {
	return func(b *pbu) {
		without[*mh.AnchoredPrefix](b)
		for _, p := range p {
			b.Options = append(b.Options, &mh.AnchoredPrefix{Prefix: p})
		}
	}
}

func sequence(b *pbu) { without[*mh.Timestamp](b) }

// update makes the PBU of router i about mn@example.net, with flag D.
func (w *world) update(i int, seq uint16, lifetime time.Duration, changes ...func(*pbu)) *pbu {
	p := &pbu{from: i, key: association(i), stamp: w.clock.Stamp(w.now), src: maar(i)}
	p.BindingUpdate = mh.BindingUpdate{
		Sequence: seq, Acknowledge: true, ProxyRegistration: true, Distributed: true, Lifetime: lifetime,
		Options: mh.Options{
			&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.net"},
			&mh.AnchoredPrefix{Prefix: pref(i)},
			&mh.HandoffIndicator{Indicator: mh.HandoffUnknown},
			&mh.AccessTechnologyType{Technology: mh.AccessEthernet},
			&mh.Timestamp{Time: w.now},
		},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func (p *pbu) received(t testing.TB) signaling.Received {
	t.Helper()
	u := p.BindingUpdate
	u.Options = slices.Clone(u.Options)
	b, err := auth.Sign(&u, p.key, p.src, netip.IPv6Unspecified(), p.stamp)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, p.src, cmd)
	return signaling.Received{Source: p.src, Destination: cmd, Payload: b}
}

// hears hands a PBU over.
func (w *world) hears(p *pbu) *world {
	w.t.Helper()
	w.line(p.src, cmd, &p.BindingUpdate)
	w.take(w.m.Handle(w.now, p.received(w.t)))
	return w
}

// registers is hears of update.
func (w *world) registers(i int, seq uint16, lifetime time.Duration, changes ...func(*pbu)) *world {
	w.t.Helper()
	return w.hears(w.update(i, seq, lifetime, changes...))
}

// acknowledgement is MAAR i's PBA to u.
func (w *world) acknowledgement(i int, u *mh.BindingUpdate, status mh.Status, more ...mh.Option) (*mh.BindingAcknowledgement, signaling.Received) {
	w.t.Helper()
	a := &mh.BindingAcknowledgement{
		Status: status, ProxyRegistration: true, Distributed: true, Sequence: u.Sequence, Lifetime: u.Lifetime,
	}
	var stamp mh.NTPTime
	for _, o := range u.Options {
		switch o := o.(type) {
		case *mh.AnchoredPrefix:
			a.Options = append(append(a.Options, &mh.HomeNetworkPrefix{Prefix: o.Prefix}), more...)
		case *mh.ReplayProtection:
			stamp = o.Timestamp
		case *mh.MessageAuthentication, *mh.DLIFLinkLayerAddress, *mh.DLIFLinkLocalAddress, *mh.LocalPrefix:
		default:
			a.Options = append(a.Options, o)
		}
	}
	if status == mh.StatusIDMismatch {
		stamp = auth.MismatchReply(stamp, w.now)
	}
	b, err := auth.Sign(a, association(i), cmd, netip.IPv6Unspecified(), stamp)
	if err != nil {
		w.t.Fatal(err)
	}
	mh.SetChecksum(b, maar(i), cmd)
	return a, signaling.Received{Source: maar(i), Destination: cmd, Payload: b}
}

// acknowledges has MAAR i answer the latest PBU to it.
func (w *world) acknowledges(i int, more ...mh.Option) *world {
	w.t.Helper()
	return w.answers(i, mh.StatusAccepted, more...)
}

func (w *world) answers(i int, status mh.Status, more ...mh.Option) *world {
	w.t.Helper()
	if w.asked[i] == nil {
		w.t.Fatalf("MAAR %d has not been asked", i)
	}
	a, r := w.acknowledgement(i, w.asked[i], status, more...)
	w.line(maar(i), cmd, a)
	w.take(w.m.Handle(w.now, r))
	return w
}

// drawing compares what was drawn since the last time.
func (w *world) drawing(want string) {
	w.t.Helper()
	var lines []string
	for _, l := range strings.Split(strings.TrimSpace(want), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	if !slices.Equal(w.drawn, lines) {
		w.t.Errorf("drawn:\n\t%s\nwant:\n\t%s", strings.Join(w.drawn, "\n\t"), strings.Join(lines, "\n\t"))
	}
	w.drawn = nil
}

// skip forgets what was drawn.
func (w *world) skip() *world { w.drawn = nil; return w }

// session is the one with flag D of mn@example.net, drawn.
func (w *world) session() string {
	for _, s := range w.m.Session(w.now, "mn@example.net") {
		if !s.Distributed {
			continue
		}
		var b strings.Builder
		b.WriteString(name(s.Serving))
		for _, p := range s.Prefixes {
			fmt.Fprintf(&b, " %s", short(p.Prefix))
			if !p.Acknowledged {
				b.WriteString("?")
			}
		}
		return b.String()
	}
	return "none"
}

func (w *world) isSession(want string) {
	w.t.Helper()
	if got := w.session(); got != want {
		w.t.Errorf("session %q, want %q", got, want)
	}
	w.m.check(w.t)
}
