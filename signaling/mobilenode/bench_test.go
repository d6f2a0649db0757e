package mobilenode

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
	home       = netip.MustParseAddr("2001:db8:1::99")
	homePrefix = netip.MustParsePrefix("2001:db8:1::/64")
	agent      = netip.MustParseAddr("2001:db8:1::1")
	homeRouter = netip.MustParseAddr("fe80::1")
	careOfA    = netip.MustParseAddr("2001:db8:a::99")
	careOfB    = netip.MustParseAddr("2001:db8:b::99")
	router     = netip.MustParseAddr("fe80::a")
	boundHome  = netip.PrefixFrom(home, 128)
)

var association = auth.Association{SPI: 256, Algorithm: auth.HMACSHA256, Key: auth.Key("0123456789abcdef")}

// bench drives one mobile node in virtual time and plays its home agent.
type bench struct {
	t     *testing.T
	m     *Machine
	start time.Time
	now   time.Time
}

func newBench(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	cfg := Config{HomeAddress: home, HomePrefix: homePrefix, HomeAgent: agent, Lifetime: 60 * time.Second, Association: &association}
	for _, f := range change {
		f(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &bench{t: t, m: m, start: start, now: start}
}

type effects []signaling.Effect

func (b *bench) do(e signaling.Event) effects { return b.m.Handle(b.now, e) }

// wait advances time by d, ticking whenever the machine asks, and returns all that it did.
func (b *bench) wait(d time.Duration) effects {
	b.t.Helper()
	var all effects
	end := b.now.Add(d)
	for steps := 0; ; steps++ {
		if steps > 10000 {
			b.t.Fatal("the machine asks for ticks without end")
		}
		next := b.m.Next()
		if next.IsZero() || next.After(end) {
			b.now = end
			return all
		}
		if next.After(b.now) {
			b.now = next
		}
		all = append(all, b.do(signaling.Tick{})...)
	}
}

// sendTimes ticks the machine until it has sent n updates, and returns when that was, counted from now.
func (b *bench) sendTimes(n int) []time.Duration {
	b.t.Helper()
	var list []time.Duration
	from := b.now
	for steps := 0; len(list) < n; steps++ {
		if b.m.Next().IsZero() || steps > 1000 {
			b.t.Fatalf("sent only at %v", list)
		}
		b.now = b.m.Next()
		for range b.do(signaling.Tick{}).sends() {
			list = append(list, b.now.Sub(from))
		}
	}
	return list
}

func of[E signaling.Effect](all effects) []E {
	var list []E
	for _, e := range all {
		if x, ok := e.(E); ok {
			list = append(list, x)
		}
	}
	return list
}

func (all effects) sends() []signaling.Send { return of[signaling.Send](all) }

func (all effects) kinds() []signaling.ReportKind {
	var list []signaling.ReportKind
	for _, r := range of[signaling.Report](all) {
		list = append(list, r.Kind)
	}
	return list
}

// index is where the first effect of type E is; -1 if there is none.
func index[E signaling.Effect](all effects) int {
	return slices.IndexFunc(all, func(e signaling.Effect) bool { _, ok := e.(E); return ok })
}

func (all effects) String() string {
	var s []string
	for _, e := range all {
		s = append(s, fmt.Sprintf("%T%+v", e, e))
	}
	return strings.Join(s, "\n")
}

// update is the one Binding Update in all, decoded.
func (b *bench) update(all effects) (signaling.Send, *mh.BindingUpdate) {
	b.t.Helper()
	sends := all.sends()
	if len(sends) != 1 {
		b.t.Fatalf("%d messages sent, want one:\n%s", len(sends), all)
	}
	m, err := mh.Parse(sends[0].Payload)
	if err != nil {
		b.t.Fatal(err)
	}
	bu, ok := m.(*mh.BindingUpdate)
	if !ok {
		b.t.Fatalf("sent %T", m)
	}
	return sends[0], bu
}

func attachment(careOf netip.Addr) signaling.Attachment {
	a := signaling.Attachment{Uplink: "eth0", CareOf: careOf, MTU: 1500}
	if careOf.IsValid() {
		a.Router = router
		p, _ := careOf.Prefix(64)
		a.OnLink = []netip.Prefix{p}
	}
	return a
}

// atHome is an attachment to the home link.
func atHome() signaling.Attachment {
	return signaling.Attachment{Uplink: "eth0", CareOf: netip.MustParseAddr("2001:db8:1::abcd"), Router: homeRouter, OnLink: []netip.Prefix{homePrefix}, MTU: 1500}
}

// answer is the home agent's acknowledgement of bu; change may spoil it before it is signed.
func (b *bench) answer(send signaling.Send, bu *mh.BindingUpdate, change ...func(*mh.BindingAcknowledgement)) signaling.Received {
	b.t.Helper()
	ba := &mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime}
	for _, f := range change {
		f(ba)
	}
	careOf := auth.CareOf(bu.Options, send.Source)
	r := signaling.Received{Source: send.Destination, Destination: send.Source, Link: send.Link, Outer: send.Outer, OuterLocal: send.OuterLocal}
	if o, ok := mh.Find[*mh.IPv4CareOfAddress](bu.Options); ok {
		careOf = o.Address
	}
	if send.HomeAddress.IsValid() {
		r.RoutingHome = home
	}
	var err error
	if stamp, none := auth.Timestamp(bu.Options); none == nil {
		if o, ok := mh.Find[*mh.ReplayProtection](ba.Options); ok {
			stamp = o.Timestamp
		}
		r.Payload, err = auth.Sign(ba, association, careOf, home, stamp)
	} else {
		r.Payload, err = mh.Append(nil, ba)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	mh.SetChecksum(r.Payload, r.Source, home)
	return r
}

func status(s mh.Status) func(*mh.BindingAcknowledgement) {
	return func(ba *mh.BindingAcknowledgement) { ba.Status = s }
}

// register attaches at careOf and has that accepted after 20 ms.
func (b *bench) register(careOf netip.Addr, change ...func(*mh.BindingAcknowledgement)) effects {
	b.t.Helper()
	send, bu := b.update(b.do(attachment(careOf)))
	b.now = b.now.Add(20 * time.Millisecond)
	return b.do(b.answer(send, bu, change...))
}

func (b *bench) state() State { return b.m.Status(b.now).State }

func (b *bench) wantState(want State) {
	b.t.Helper()
	if s := b.state(); s != want {
		b.t.Errorf("state %q, want %q", s, want)
	}
}

// message is a Mobility Header message from the home agent to where the node is.
func (b *bench) message(m mh.Message) signaling.Received {
	payload, err := mh.Append(nil, m)
	if err != nil {
		b.t.Fatal(err)
	}
	to := b.m.place.CareOf
	mh.SetChecksum(payload, agent, to)
	return signaling.Received{Source: agent, Destination: to, Payload: payload, Link: "eth0"}
}
