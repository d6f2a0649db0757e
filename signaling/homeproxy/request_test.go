package homeproxy

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func TestRequestLendsAndBindsInOneStep(t *testing.T) {
	w := start(t)
	e := effects(w.handle(holder(alice).request(t, 40, anything, 90*time.Second, noon)))
	r, _ := w.response(e, holder(alice))
	if r == nil || r.Status != 0 || r.Sequence != 40 || r.Lifetime != 88*time.Second {
		t.Fatalf("response %+v", r)
	}
	o, _ := mh.Find[*mh.DHoA](r.Options)
	if o == nil || o.Prefix.Bits() != 128 || !addresses.Contains(o.Prefix.Addr()) {
		t.Fatalf("lent %v", r.Options)
	}
	if stamp, err := auth.Timestamp(r.Options); err != nil || stamp != mh.NTPTimeOf(noon) {
		t.Errorf("timestamp %v, %v is not the request's", stamp, err)
	}
	want := []signaling.Bind{{Home: o.Prefix, Local: proxy, Remote: careOf1}}
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	w.bound(o.Prefix.Addr(), careOf1, 88*time.Second)
	if b := w.m.Bindings(noon)[0]; b.Identifier != "alice@example.net" || b.SPI != 1001 || b.Sequence != 40 {
		t.Errorf("binding %+v", b)
	}
	// Binding Updates go on from the request's number, without being bound to it (RFC 4285 section 7).
	w.acknowledged(holder(alice).update(t, 41, o.Prefix.Addr(), time.Minute, noon.Add(time.Millisecond)), 0)
}

func TestRequestsGetStatuses(t *testing.T) {
	forged := holder(alice)
	forged.kd.Key = auth.Key("a key that nobody gave to anybody")
	type refusal struct {
		name   string
		n      node
		wish   netip.Prefix
		at     time.Duration
		status mh.Status
	}
	for _, c := range []refusal{
		{"key of somebody else", forged, anything, 0, 146},
		{"clock behind", holder(alice), anything, -7*time.Second - time.Millisecond, 144},
		{"clock ahead", holder(alice), anything, 7*time.Second + time.Millisecond, 144},
		{"expired ticket", holder(alice).until(noon.Add(-8 * time.Second)), anything, 0, 241},
		{"care-of address of another mobile node", holder(alice).from(plain), anything, 0, 174},
		{"not the length that is lent", holder(alice), anyNet, 0, 242},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := start(t, func(c *Config) { c.Pools = c.Pools[:1] })
			e := effects(w.handle(c.n.request(t, 3, c.wish, time.Minute, noon.Add(c.at))))
			var r *mh.DMIPv6
			for _, s := range of[signaling.Send](e) {
				m, _ := mh.Parse(s.Payload)
				if d, ok := m.(*mh.DMIPv6); ok && d.Subtype == mh.DHoAResponse {
					r = d
				}
			}
			if r == nil || r.Status != c.status || r.Sequence != 3 || w.m.Counters().Refused[c.status] != 1 {
				t.Fatalf("response %+v, want status %d", r, c.status)
			}
			if _, signed := auth.SPI(r.Options); !signed {
				t.Error("refusal is not signed")
			}
			if len(w.m.Bindings(noon)) != 0 || len(of[signaling.Bind](e)) != 0 {
				t.Errorf("effects %v", e)
			}
		})
	}
}

func TestExpiryAllowsForClocks(t *testing.T) {
	w := start(t)
	w.borrow(holder(alice).until(noon.Add(-7*time.Second)), 1, anything, 0)
}

func TestMismatchCarriesTheClock(t *testing.T) {
	w := start(t)
	r, _ := w.response(w.handle(holder(alice).request(t, 1, anything, time.Minute, noon.Add(-time.Hour))), holder(alice))
	var c auth.Clock
	stamp, err := auth.Timestamp(r.Options)
	if err != nil || r.Status != 144 {
		t.Fatalf("response %+v", r)
	}
	c.Resynchronise(stamp, noon.Add(-time.Hour))
	if off := c.Stamp(noon.Add(-time.Hour)).Time().Sub(noon).Abs(); off > time.Second {
		t.Errorf("%v off after that", off)
	}
}

// Whatever does not prove to come from a mobile node leaves nothing behind, however much of it comes.
func TestNothingIsKeptOfTheUnauthenticated(t *testing.T) {
	silent := map[string]func() signaling.Received{
		"no option": func() signaling.Received {
			m := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: append(holder(alice).options(), &mh.DHoA{Prefix: anything})}
			b, err := mh.Append(nil, m)
			if err != nil {
				t.Fatal(err)
			}
			return wire(b, careOf1, proxy)
		},
		"no ticket": func() signaling.Received {
			m := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: mh.Options{alice}}
			return arrival(t, m, holder(alice).association(), careOf1, noon)
		},
		"no MN-ID": func() signaling.Received {
			m := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: holder(alice).options()[1:]}
			return arrival(t, m, holder(alice).association(), careOf1, noon)
		},
		"unknown home agent": func() signaling.Received {
			return holder(alice).of(auth.Association{SPI: 1003, Key: kd1.Key}).request(t, 1, anything, time.Minute, noon)
		},
		"ticket of another home agent": func() signaling.Received {
			n := holder(alice)
			m := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: n.of(kd2).options()}
			return arrival(t, m, n.association(), careOf1, noon)
		},
		"key of a plain mobile node": func() signaling.Received {
			m := &mh.DMIPv6{Subtype: mh.DHoARequest, Lifetime: time.Minute, Options: mh.Options{alice, &mh.KeyTicket{SPI: 2000, Expiry: noon}}}
			return arrival(t, m, plainKey, careOf1, noon)
		},
		"home address": func() signaling.Received {
			r := holder(alice).request(t, 1, anything, time.Minute, noon)
			r.HomeAddress = plain
			mh.SetChecksum(r.Payload, plain, proxy)
			return r
		},
		"not this proxy's address": func() signaling.Received {
			r := holder(alice).request(t, 1, anything, time.Minute, noon)
			return wire(r.Payload, careOf1, agent1)
		},
		"link-local source": func() signaling.Received {
			return holder(alice).from(netip.MustParseAddr("fe80::1")).request(t, 1, anything, time.Minute, noon)
		},
		"wrong checksum": func() signaling.Received {
			r := holder(alice).request(t, 1, anything, time.Minute, noon)
			r.Payload[4] ^= 1
			return r
		},
		"changed on the way": func() signaling.Received {
			r := holder(alice).request(t, 1, anything, time.Minute, noon)
			r.Payload[9] ^= 1
			return wire(r.Payload, careOf1, proxy)
		},
		"from elsewhere": func() signaling.Received {
			return wire(holder(alice).request(t, 1, anything, time.Minute, noon).Payload, careOf2, proxy)
		},
	}
	for name, make := range silent {
		t.Run(name, func(t *testing.T) {
			w := start(t)
			w.tick()
			r := make()
			for range 1000 {
				for _, s := range of[signaling.Send](w.handle(r)) {
					if len(s.Payload) > len(r.Payload) {
						t.Fatalf("%d octets answer %d", len(s.Payload), len(r.Payload))
					}
				}
			}
			w.empty()
			if c := w.m.Counters(); c.Lent != 0 || c.Discarded == (Discarded{}) && c.Refused[146] == 0 && c.HomeAgent.Discarded.BadChecksum == 0 {
				t.Errorf("counters %+v", c)
			}
		})
	}
}

func TestForgedRequestsAreAnsweredAtABoundedRate(t *testing.T) {
	w := start(t)
	n := holder(alice)
	n.kd.Key = auth.Key("guessed")
	r := n.request(t, 1, anything, time.Minute, noon)
	answers := 0
	for range 1000 {
		answers += len(of[signaling.Send](w.handle(r)))
	}
	// The first Handle also advertises to two home agents.
	if answers != refusalRate+2 || w.m.Counters().Refused[146] != 1000 {
		t.Errorf("%d answers, counters %+v", answers, w.m.Counters())
	}
}

func TestReplayedRequestsGetNothing(t *testing.T) {
	w := start(t)
	old := holder(alice).request(t, 1, anything, time.Minute, noon)
	first, _ := w.response(w.handle(old), holder(alice))
	lent, _ := mh.Find[*mh.DHoA](first.Options)
	w.after(time.Second).giveBack(holder(alice), 2, lent.Prefix, 0)
	for range 5 {
		if r, _ := w.response(w.handle(old), holder(alice)); r == nil || r.Status != 144 {
			t.Fatalf("response %+v", r)
		}
		w.after(time.Second)
	}
	w.bound(lent.Prefix.Addr(), nowhere, 0)
	w.after(time.Minute)
	if r, _ := w.response(w.handle(old), holder(alice)); r == nil || r.Status != 144 {
		t.Fatalf("response %+v", r)
	}
	if n := len(w.m.Bindings(w.now)); n != 0 {
		t.Errorf("%d bindings", n)
	}
	if w.tick(); len(w.m.stamps.entries) != 0 {
		t.Error("timestamps are kept for ever")
	}
}

func TestUnauthenticatedIsForThoseWhoAskForIt(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowUnauthenticated = true })
	request := func(id *mh.MobileNodeIdentifier, options ...mh.Option) signaling.Received {
		m := &mh.DMIPv6{Subtype: mh.DHoARequest, Sequence: 1, Lifetime: time.Minute, Options: append(mh.Options{id}, options...)}
		b, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return wire(b, careOf1, proxy)
	}
	r := request(alice, &mh.DHoA{Prefix: anything})
	w.tick()
	sends := of[signaling.Send](w.handle(r))
	if len(sends) != 1 || len(sends[0].Payload) > len(r.Payload) || len(w.m.Bindings(noon)) != 1 {
		t.Fatalf("sent %v", sends)
	}
	if e := w.handle(request(bob)); len(e) != 0 {
		t.Errorf("a request too short to answer has effects %v", e)
	}
	home := w.m.Bindings(noon)[0].Home
	bu := func(sequence uint16, id *mh.MobileNodeIdentifier) signaling.Received {
		m := &mh.BindingUpdate{Sequence: sequence, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute, Options: mh.Options{id}}
		b, _ := mh.Append(nil, m)
		mh.SetChecksum(b, home, proxy)
		return signaling.Received{Source: careOf2, Destination: proxy, HomeAddress: home, Payload: b}
	}
	w.acknowledged(bu(2, alice), 0)
	w.acknowledged(bu(3, bob), 129)
	w.after(2 * time.Minute).tick()
	if got := w.m.Status(w.now); got.Leases != 0 || got.Quarantined != 1 {
		t.Errorf("status %+v", got)
	}
}

func TestOtherMobilityHeadersAreTheHomeAgents(t *testing.T) {
	w := start(t)
	w.tick()
	other, _ := mh.Append(nil, &mh.Experimental{Data: make([]byte, 18)})
	for _, payload := range [][]byte{other, {59, 0, 77, 0, 0, 0, 0, 0}} {
		sends := of[signaling.Send](w.handle(wire(payload, careOf1, proxy)))
		if len(sends) != 1 {
			t.Fatalf("sent %v", sends)
		}
		if m, err := mh.Parse(sends[0].Payload); err != nil || m.(*mh.BindingError).Status != mh.UnrecognizedType {
			t.Errorf("answer %+v, %v", m, err)
		}
	}
	unknown, _ := mh.Append(nil, &mh.DMIPv6{Subtype: 99})
	truncated, _ := mh.Append(nil, &mh.DMIPv6{Subtype: mh.DHoARequest, Options: mh.Options{&mh.DHoA{Prefix: anything}}})
	truncated[22] = 33 // the length of what is lent
	for _, payload := range [][]byte{unknown, truncated} {
		if e := w.handle(wire(payload, careOf1, proxy)); len(e) != 0 {
			t.Errorf("effects %v", e)
		}
	}
	if c := w.m.Counters(); c.Discarded.NotForHomeProxy != 1 || c.HomeAgent.Discarded.Malformed != 1 {
		t.Errorf("counters %+v", c)
	}
}
