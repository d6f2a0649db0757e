package homeproxy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	proxy = netip.MustParseAddr("2001:db8:d::1")
	// agent1 and agent2 are home agents.
	agent1 = netip.MustParseAddr("2001:db8:1::1")
	agent2 = netip.MustParseAddr("2001:db8:2::1")

	addresses = netip.MustParsePrefix("2001:db8:d::/64")
	prefixes  = netip.MustParsePrefix("2001:db8:dd00::/56")
	small     = netip.MustParsePrefix("2001:db8:d:1::/120")

	covered = netip.MustParsePrefix("2001:db8:c::/48")
	target  = netip.MustParseAddr("2001:db8:c::99")
	cn      = netip.MustParseAddr("2001:db8:c:7::5")

	careOf1 = netip.MustParseAddr("2001:db8:a::11")
	careOf2 = netip.MustParseAddr("2001:db8:b::11")
	plain   = netip.MustParseAddr("2001:db8:d::7")

	kd1      = auth.Association{SPI: 1001, Algorithm: auth.HMACSHA256, Key: bytes.Repeat([]byte{1}, ticket.KeySize)}
	kd2      = auth.Association{SPI: 1002, Algorithm: auth.HMACSHA256, Key: bytes.Repeat([]byte{2}, ticket.KeySize)}
	plainKey = auth.Association{SPI: 2000, Algorithm: auth.HMACSHA1, Key: auth.Key("0123456789abcdef")}

	alice = nai("alice@example.net")
	bob   = nai("bob@example.net")

	anything = netip.PrefixFrom(netip.IPv6Unspecified(), 128)
	anyNet   = netip.PrefixFrom(netip.IPv6Unspecified(), 64)
)

func nai(s string) *mh.MobileNodeIdentifier {
	return &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: s}
}

// config is a DHP with two home agents, a pool of each kind, and a plain mobile node.
func config() Config {
	return Config{
		Address:               proxy,
		Pools:                 []Pool{{Prefix: addresses, Lend: 128}, {Prefix: prefixes, Lend: 64}},
		Coverage:              []Coverage{{Prefix: covered, Probe: target}, {Prefix: netip.MustParsePrefix("2001:db8:ee::/48")}},
		HomeAgents:            []HomeAgent{{Address: agent1, SPI: 1001}, {Address: agent2, SPI: 1002}},
		Associations:          map[uint32]auth.Association{1001: kd1, 1002: kd2, 2000: plainKey},
		MobileNodes:           []homeagent.MobileNode{{Identifier: "plain@example.net", HomeAddress: plain, SPI: 2000}},
		Preference:            7,
		MaxLifetime:           10 * time.Minute,
		Quarantine:            5 * time.Minute,
		AdvertisementInterval: time.Minute, AdvertisementLifetime: 3 * time.Minute,
		MaxBindings: 100, MaxBindingsPerNode: 4,
		Random: rand.New(rand.NewPCG(1, 2)),
	}
}

// world is a DHP and the time it is there.
type world struct {
	t   testing.TB
	m   *Machine
	now time.Time
}

func startAt(t testing.TB, now time.Time, changes ...func(*Config)) *world {
	t.Helper()
	c := config()
	for _, change := range changes {
		change(&c)
	}
	m, err := New(c, now)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, m, now}
}

func start(t testing.TB, changes ...func(*Config)) *world { return startAt(t, noon, changes...) }

func (w *world) after(d time.Duration) *world {
	w.now = w.now.Add(d)
	return w
}

func (w *world) handle(e signaling.Event) effects { return w.m.Handle(w.now, e) }

func (w *world) tick() effects { return w.handle(signaling.Tick{}) }

// node is a mobile node with a ticket.
type node struct {
	id     *mh.MobileNodeIdentifier
	kd     auth.Association
	expiry time.Time
	careOf netip.Addr
}

func holder(id *mh.MobileNodeIdentifier) node { return node{id, kd1, noon.Add(time.Hour), careOf1} }

func (n node) from(careOf netip.Addr) node { n.careOf = careOf; return n }
func (n node) until(expiry time.Time) node { n.expiry = expiry; return n }
func (n node) of(kd auth.Association) node { n.kd = kd; return n }
func (n node) association() auth.Association {
	return auth.Association{
		SPI: n.kd.SPI, Algorithm: auth.HMACSHA256, Key: ticket.SessionKey(n.kd.Key, proxy, n.expiry, n.id),
	}
}

func (n node) options() mh.Options {
	return mh.Options{n.id, &mh.KeyTicket{SPI: n.kd.SPI, Expiry: n.expiry}}
}

// request is a DHoA Request for wish as it arrives, signed at a time.
func (n node) request(t testing.TB, sequence uint16, wish netip.Prefix, lifetime time.Duration, at time.Time) signaling.Received {
	t.Helper()
	m := &mh.DMIPv6{Subtype: mh.DHoARequest, Sequence: sequence, Lifetime: lifetime, Options: append(n.options(), &mh.DHoA{Prefix: wish})}
	return arrival(t, m, n.association(), n.careOf, at)
}

// arrival is m from source, signed for messages without a home address.
func arrival(t testing.TB, m mh.Message, a auth.Association, source netip.Addr, at time.Time) signaling.Received {
	t.Helper()
	stamp := mh.NTPTime(0)
	if !at.IsZero() {
		stamp = mh.NTPTimeOf(at)
	}
	payload, err := auth.Sign(m, a, source, netip.IPv6Unspecified(), stamp)
	if err != nil {
		t.Fatal(err)
	}
	return wire(payload, source, proxy)
}

func wire(payload []byte, source, destination netip.Addr) signaling.Received {
	mh.SetChecksum(payload, source, destination)
	return signaling.Received{Source: source, Destination: destination, Payload: payload, Link: "eth0"}
}

// update is a Binding Update for home as it arrives.
func (n node) update(t testing.TB, sequence uint16, home netip.Addr, lifetime time.Duration, at time.Time) signaling.Received {
	t.Helper()
	return update(t, n.association(), n.options(), n.careOf, sequence, home, lifetime, at)
}

func update(t testing.TB, a auth.Association, o mh.Options, careOf netip.Addr, sequence uint16, home netip.Addr, lifetime time.Duration, at time.Time) signaling.Received {
	t.Helper()
	m := &mh.BindingUpdate{Sequence: sequence, Acknowledge: true, HomeRegistration: true, Lifetime: lifetime, Options: o}
	payload, err := auth.Sign(m, a, careOf, home, mh.NTPTimeOf(at))
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(payload, home, proxy)
	return signaling.Received{Source: careOf, Destination: proxy, HomeAddress: home, Payload: payload, Link: "eth0"}
}

// borrow sends a request now and returns what is lent; it fails unless the status is want.
func (w *world) borrow(n node, sequence uint16, wish netip.Prefix, want mh.Status) netip.Prefix {
	w.t.Helper()
	r, _ := w.response(w.handle(n.request(w.t, sequence, wish, time.Minute, w.now)), n)
	if r == nil || r.Status != want || r.Sequence != sequence {
		w.t.Fatalf("response %+v, want status %d", r, want)
	}
	o, ok := mh.Find[*mh.DHoA](r.Options)
	if ok != want.Accepted() {
		w.t.Fatalf("options %v with status %d", r.Options, r.Status)
	}
	if !ok {
		return netip.Prefix{}
	}
	return o.Prefix
}

// giveBack sends a request with lifetime 0 for home now.
func (w *world) giveBack(n node, sequence uint16, home netip.Prefix, want mh.Status) effects {
	w.t.Helper()
	e := effects(w.handle(n.request(w.t, sequence, home, 0, w.now)))
	if r, _ := w.response(e, n); r == nil || r.Status != want || r.Lifetime != 0 {
		w.t.Fatalf("response %+v, want status %d", r, want)
	}
	return e
}

// response is the one DHoA Response to n among the effects, whose authentication it has checked; nil if there is none.
func (w *world) response(e effects, n node) (*mh.DMIPv6, signaling.Send) {
	w.t.Helper()
	for _, s := range of[signaling.Send](e) {
		m, err := mh.Parse(s.Payload)
		r, ok := m.(*mh.DMIPv6)
		if err != nil || !ok || r.Subtype != mh.DHoAResponse {
			continue
		}
		if !mh.ChecksumValid(s.Payload, proxy, n.careOf) || s.Destination != n.careOf || s.Source != proxy {
			w.t.Errorf("response %+v goes astray", s)
		}
		lookup := func(uint32) (auth.Association, bool) { return n.association(), true }
		if _, err := auth.Verify(s.Payload, r, lookup, n.careOf, netip.IPv6Unspecified()); err != nil {
			w.t.Errorf("response: %v", err)
		}
		return r, s
	}
	return nil, signaling.Send{}
}

// acknowledgement is the one Binding Acknowledgement among the effects; nil if there is none.
func (e effects) acknowledgement() *mh.BindingAcknowledgement {
	for _, s := range of[signaling.Send](e) {
		if m, err := mh.Parse(s.Payload); err == nil {
			if a, ok := m.(*mh.BindingAcknowledgement); ok {
				return a
			}
		}
	}
	return nil
}

// acknowledged handles a Binding Update and fails unless it gets the status.
func (w *world) acknowledged(r signaling.Received, want mh.Status) effects {
	w.t.Helper()
	e := w.handle(r)
	if a := e.acknowledgement(); a == nil || a.Status != want {
		w.t.Fatalf("acknowledgement %+v, want status %d; %v", a, want, of[signaling.Report](e))
	}
	return e
}

type effects []signaling.Effect

func of[E signaling.Effect](e effects) (all []E) {
	for _, v := range e {
		if x, ok := v.(E); ok {
			all = append(all, x)
		}
	}
	return all
}

// bound fails unless home is bound to careOf with that much time left; an invalid careOf means not bound.
func (w *world) bound(home, careOf netip.Addr, left time.Duration) {
	w.t.Helper()
	for _, b := range w.m.Bindings(w.now) {
		if b.Home == home {
			if b.CareOf != careOf || b.Left != left {
				w.t.Errorf("%v is bound to %v for %v, want %v for %v", home, b.CareOf, b.Left, careOf, left)
			}
			return
		}
	}
	if careOf.IsValid() {
		w.t.Errorf("%v is not bound", home)
	}
}

// empty fails if anything is kept of anybody.
func (w *world) empty() {
	w.t.Helper()
	if n := w.m.inner.Cache().Len() + len(w.m.stamps.entries) + len(w.m.answers.entries) + len(w.m.stamps.order); n != 0 {
		w.t.Errorf("%d things are kept", n)
	}
}

var nowhere netip.Addr

// memory is a binding.Store.
type memory map[string][]byte

func (s memory) Save(key, record []byte) error { s[string(key)] = record; return nil }
func (s memory) Delete(key []byte) error       { delete(s, string(key)); return nil }
func (s memory) Load(each func(key, record []byte) error) error {
	for k, r := range s {
		if err := each([]byte(k), r); err != nil {
			return fmt.Errorf("%x: %w", k, err)
		}
	}
	return nil
}

var _ binding.Store = memory{}
