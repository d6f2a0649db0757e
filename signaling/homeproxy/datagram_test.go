package homeproxy

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

var (
	// outer is where datagrams come from that left from private, and outside is the DHP's address that they go to.
	outer   = netip.MustParseAddrPort("203.0.113.5:61234")
	private = netip.MustParseAddr("10.0.0.7")
	outside = netip.MustParseAddr("192.0.2.1")
	// aliceHome is the home address that alice's requests in datagrams come from.
	aliceHome = netip.MustParseAddr("2001:db8:1::7")
)

// datagram is a DHoA Request in a UDP datagram from where, which tells careOf if that is valid.
func (n node) datagram(t testing.TB, sequence uint16, wish netip.Prefix, lifetime time.Duration, at time.Time, where netip.AddrPort, careOf netip.Addr) signaling.Received {
	t.Helper()
	m := &mh.DMIPv6{Subtype: mh.DHoARequest, Sequence: sequence, Lifetime: lifetime, Options: append(n.options(), &mh.DHoA{Prefix: wish})}
	switch {
	case careOf.Is4():
		m.Options = append(m.Options, &mh.IPv4CareOfAddress{Address: careOf})
	case careOf.Is6():
		m.Options = append(m.Options, &mh.AlternateCareOf{Address: careOf})
	}
	return inDatagram(arrival(t, m, n.association(), aliceHome, at), where)
}

func inDatagram(r signaling.Received, where netip.AddrPort) signaling.Received {
	r.Outer, r.OuterLocal, r.Link = where, outside, ""
	return r
}

func TestRequestInADatagramLendsAndBindsToWhereItCameFrom(t *testing.T) {
	direct := netip.MustParseAddrPort("[2001:db8:66::7]:4191")
	for name, c := range map[string]struct {
		where netip.AddrPort
		told  netip.Addr
		want  mh.NATDetection
	}{
		"behind a NAT": {outer, private, mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second}},
		"without one":  {outer, outer.Addr(), mh.NATDetection{ForceUDP: true, NoKeepalive: true}},
		"over IPv6":    {direct, direct.Addr(), mh.NATDetection{ForceUDP: true, NoKeepalive: true}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			alice := holder(alice).from(aliceHome)
			e := effects(w.handle(alice.datagram(t, 40, anything, 90*time.Second, noon, c.where, c.told)))
			r, s := w.response(e, alice)
			if r == nil || r.Status != 0 || r.Lifetime != 88*time.Second {
				t.Fatalf("response %+v", r)
			}
			if s.Outer != c.where || s.OuterLocal != outside || s.RoutingHome.IsValid() || s.Link != "" {
				t.Errorf("sent as %+v", s)
			}
			lent, _ := mh.Find[*mh.DHoA](r.Options)
			want := []signaling.Bind{{Home: lent.Prefix, Local: outside, Remote: c.where.Addr(), RemotePort: c.where.Port()}}
			if got := of[signaling.Bind](e); !slices.Equal(got, want) {
				t.Errorf("bound %v, want %v", got, want)
			}
			if o, ok := mh.Find[*mh.NATDetection](r.Options); !ok || *o != c.want {
				t.Errorf("NAT Detection %+v, want %+v", o, c.want)
			}
			w.bound(lent.Prefix.Addr(), c.where.Addr(), 88*time.Second)
		})
	}
}

func TestLeaseInDatagramsMovesRefreshesAndEnds(t *testing.T) {
	store := memory{}
	kept := func(c *Config) { c.Store, c.NATRefresh = store, 25*time.Second }
	w := start(t, kept)
	alice := holder(alice).from(aliceHome)
	r, _ := w.response(w.handle(alice.datagram(t, 1, anything, time.Minute, noon, outer, private)), alice)
	o, _ := mh.Find[*mh.DHoA](r.Options)
	if n, _ := mh.Find[*mh.NATDetection](r.Options); n.Refresh != 25*time.Second {
		t.Errorf("refresh time %v", n.Refresh)
	}
	home := o.Prefix.Addr()

	// A Binding Update in a datagram has the DHoA for its source. The NAT has another port for it by now.
	port := netip.AddrPortFrom(outer.Addr(), 61235)
	w.after(time.Second)
	e := effects(w.handle(w.datagramUpdate(alice, 2, home, time.Minute, port)))
	if a := e.acknowledgement(); a == nil || a.Status != 0 {
		t.Fatalf("acknowledgement %+v", a)
	}
	want := []signaling.Bind{{Home: host(home), Local: outside, Remote: outer.Addr(), RemotePort: 61235}}
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	s := of[signaling.Send](e)[0]
	if s.Outer != port || s.OuterLocal != outside || s.Destination != home || s.RoutingHome.IsValid() {
		t.Errorf("sent as %+v", s)
	}

	// The lease goes on after a restart, natively, and is given back in a datagram.
	w = startAt(t, w.now.Add(time.Second), kept)
	restored, err := w.m.Restore(w.now)
	if err != nil {
		t.Fatal(err)
	}
	if got := of[signaling.Bind](restored); !slices.Equal(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
	w.after(time.Second)
	native := holder(alice.id)
	w.acknowledged(native.update(t, 3, home, time.Minute, w.now), 0)
	w.bound(home, careOf1, time.Minute)
	w.after(time.Second)
	e = w.handle(alice.datagram(t, 4, o.Prefix, 0, w.now, port, private))
	if r, s := w.response(e, alice); r == nil || r.Status != 0 || s.Outer != port {
		t.Errorf("response %+v", r)
	}
	w.bound(home, nowhere, 0)
}

// datagramUpdate is a Binding Update for home in a datagram from where.
func (w *world) datagramUpdate(n node, sequence uint16, home netip.Addr, lifetime time.Duration, where netip.AddrPort) signaling.Received {
	w.t.Helper()
	o := append(mh.Options{&mh.IPv4CareOfAddress{Address: private}}, n.options()...)
	r := update(w.t, n.association(), o, private, sequence, home, lifetime, w.now)
	r.Source, r.HomeAddress = home, netip.Addr{}
	return inDatagram(r, where)
}

func TestRequestsInDatagramsThatAreRefused(t *testing.T) {
	w := start(t)
	alice := holder(alice).from(aliceHome)
	// A request without datagram has no option with its care-of address, and is not to be made into one with it.
	native := inDatagram(holder(alice.id).request(t, 1, anything, time.Minute, noon), outer)
	r, s := w.response(w.handle(native), holder(alice.id))
	if r == nil || r.Status != mh.StatusUnspecified || s.Outer != outer {
		t.Errorf("response %+v as %+v", r, s)
	}
	// A replay from elsewhere.
	w.after(time.Second)
	first := alice.datagram(t, 2, anything, time.Minute, w.now, outer, private)
	payload := bytes.Clone(first.Payload)
	r, _ = w.response(w.handle(first), alice)
	o, _ := mh.Find[*mh.DHoA](r.Options)
	first.Payload, first.Outer = payload, netip.MustParseAddrPort("198.51.100.66:666")
	e := effects(w.handle(first))
	r, s = w.response(e, alice)
	if r == nil || r.Status != mh.StatusIDMismatch || s.Outer != first.Outer || len(s.Payload) > len(payload) {
		t.Errorf("response %+v as %+v", r, s)
	}
	if len(of[signaling.Bind](e)) != 0 {
		t.Errorf("effects %v", e)
	}
	w.bound(o.Prefix.Addr(), outer.Addr(), time.Minute)
	// Datagrams that cannot be answered, and anycast queries, are not.
	for _, where := range []string{"203.0.113.5:0", "224.0.0.1:4191", "[fe80::1]:4191"} {
		w.after(time.Second)
		e := effects(w.handle(alice.datagram(t, 9, anything, time.Minute, w.now, netip.MustParseAddrPort(where), private)))
		if r, _ := w.response(e, alice); r != nil || len(of[signaling.Bind](e)) != 0 {
			t.Errorf("%s: %v", where, e)
		}
	}
	if n := w.m.Counters().Discarded.BadAddresses; n != 3 {
		t.Errorf("%d counted", n)
	}
}

// Whatever comes in a datagram without authentication gets no more octets back.
func TestNoAmplificationInDatagrams(t *testing.T) {
	w := start(t, func(c *Config) { c.HomeAgents = nil; c.AllowUnauthenticated = true })
	check := func(name string, r signaling.Received, answers bool) {
		t.Helper()
		e := effects(w.after(time.Millisecond).handle(r))
		sends := of[signaling.Send](e)
		if (len(sends) == 1) != answers || len(of[signaling.SendParameterProblem](e)) != 0 {
			t.Errorf("%s: %v", name, e)
		}
		for _, s := range sends {
			if len(s.Payload) > len(r.Payload) || s.Outer != outer || s.OuterLocal != outside {
				t.Errorf("%s: %d octets answer %d: %+v", name, len(s.Payload), len(r.Payload), s)
			}
		}
	}
	request := func(o ...mh.Option) signaling.Received {
		b, err := mh.Append(nil, &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: o})
		if err != nil {
			t.Fatal(err)
		}
		return inDatagram(wire(b, aliceHome, proxy), outer)
	}
	told := &mh.IPv4CareOfAddress{Address: private}
	for n := range 17 {
		id := nai(string(bytes.Repeat([]byte{'a'}, n+1)))
		for _, o := range []mh.Options{
			{id, &mh.DHoA{Prefix: anything}, told}, {told, id, &mh.DHoA{Prefix: anything}}, {&mh.DHoA{Prefix: anything}, told, id},
		} {
			check("lent", request(o...), true)
		}
		check("without option", request(id, &mh.DHoA{Prefix: anything}), true)
	}
	check("nothing wished for", request(alice, told), false)
	check("another subtype", inDatagram(wire([]byte{59, 1, 11, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0x44, 0x4d, 0x76, 0x31}, aliceHome, proxy), outer), false)
	check("another magic", inDatagram(wire([]byte{59, 1, 11, 0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 2, 3, 4}, aliceHome, proxy), outer), false)
	check("unknown type", inDatagram(wire([]byte{59, 0, 99, 0, 0, 0, 0, 0}, aliceHome, proxy), outer), false)
}

func TestAnycastQueryInADatagramIsNotAnswered(t *testing.T) {
	w := start(t, func(c *Config) { c.Anycast = true })
	q := &mh.DMIPv6{Subtype: mh.DHPQuery, Sequence: 1, Options: mh.Options{
		&mh.CNAddress{Address: cn}, &mh.UnknownOption{Type: 200, Data: make([]byte, 60)},
	}}
	b, err := mh.Append(nil, q)
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddr("2001:db8:c:7:fdff:ffff:ffff:fffd")
	sent := func(r signaling.Received) int {
		n := 0
		for _, s := range of[signaling.Send](w.handle(r)) {
			if s.Destination == careOf1 {
				n++
			}
		}
		return n
	}
	r := wire(b, careOf1, to)
	if sent(r) != 1 || sent(inDatagram(r, outer)) != 0 {
		t.Errorf("answers: %+v", w.m.Counters())
	}
}

func TestAdvertisementTellsEndpoints(t *testing.T) {
	endpoints := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4191"), netip.MustParseAddrPort("[2001:db8:77::1]:4191")}
	w := start(t, one, func(c *Config) { c.Endpoints = endpoints })
	a := w.advertisement(w.tick())
	var got []netip.AddrPort
	at := -1
	for i, o := range a.Options {
		if e, ok := o.(*mh.UDPEndpoint); ok {
			got, at = append(got, e.Endpoint), i
		}
	}
	if _, first := a.Options[0].(*mh.DHPInformation); !slices.Equal(got, endpoints) || !first || at != 2 {
		t.Errorf("options %v", a.Options)
	}
	w = start(t, one, func(c *Config) { c.Endpoints, c.Coverage = endpoints, nil })
	if a := w.advertisement(w.tick()); len(mh.FindAll[*mh.UDPEndpoint](a.Options)) != 2 {
		t.Errorf("options without coverage %v", a.Options)
	}
}
