package dmipv6

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

func TestDHPThatIsDeadIsPassedOver(t *testing.T) {
	w := newWorld(t, 1).online()
	w.silent[proxyAddr(0)] = true
	if a, took := w.settle(1, 0, cnOf(0, 1)); a != home || took != 500*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
	w.run(2 * time.Second)
	if w.lookup(0, cnOf(0, 1)) != home {
		t.Error("flows are held although the DHP was given up")
	}
	w.silent[proxyAddr(0)] = false
	w.run(firstSkip)
	if a, _ := w.settle(2, 0, cnOf(0, 1)); !poolOf(0).Contains(a) {
		t.Errorf("it is back, and %s was decided", a)
	}
}

func TestNextCandidateIsTriedWhileThereIsTime(t *testing.T) {
	w := newWorld(t, 2)
	// DHP 1 covers what DHP 0 does, with less preference.
	w.addProxy(0, func(c *homeproxy.Config) { c.Preference = 9 })
	w.addProxy(1, func(c *homeproxy.Config) { c.Coverage = []homeproxy.Coverage{{Prefix: coverageOf(0)}} })
	w.run(time.Second)
	w.online()
	w.silent[proxyAddr(0)] = true
	a, took := w.settle(1, 0, cnOf(0, 1))
	// 80 ms to the home agent, a first wait of twice that for a DHP whose round trip is unknown, 10 ms to the other.
	if !poolOf(1).Contains(a) || took != 250*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
	if d, _ := w.m.Decision(w.decided[1].Decision); len(d.Candidates) != 2 || d.Candidates[1].Why != "preference 0, the best has 9" {
		t.Errorf("explained as %+v", d.Candidates)
	}
}

func TestExhaustedPool(t *testing.T) {
	w := newWorld(t, 1)
	w.addProxy(0, func(c *homeproxy.Config) { c.MaxBindings = 1; c.MaxBindingsPerNode = 1 })
	w.run(time.Second)
	w.online()
	w.settle(1, 0, cnOf(0, 1))
	w.m.epoch++ // a graceful flow wants another address
	if a, took := w.settle(2, 3, cnOf(0, 1)); a != home || took != 10*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
	if a, took := w.settle(3, 0, cnOf(0, 1)); a == home || took != 0 {
		t.Errorf("a flow that can use the first address has %s after %v", a, took)
	}
}

// lying rewrites what the DHP says before it is signed.
func lying(w *world, change func(*mh.DMIPv6)) {
	w.alter = func(r signaling.Received) []signaling.Received {
		parsed, err := mh.Parse(r.Payload)
		d, ok := parsed.(*mh.DMIPv6)
		if err != nil || !ok || d.Subtype != mh.DHoAResponse {
			return []signaling.Received{r}
		}
		id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identity}
		t := w.m.proxies[r.Source].ticket
		stamp, _ := auth.Timestamp(d.Options)
		a := auth.Association{SPI: t.SPI, Algorithm: auth.HMACSHA256, Key: ticket.SessionKey(kd(0).Key, r.Source, t.Expiry, id)}
		change(d)
		payload, err := auth.Sign(d, a, r.Destination, netip.IPv6Unspecified(), stamp)
		if err != nil {
			w.t.Fatal(err)
		}
		mh.SetChecksum(payload, r.Source, r.Destination)
		forged := r
		forged.Payload = payload
		return []signaling.Received{forged}
	}
}

func TestAddressesThatMakeNoSenseAreNotTaken(t *testing.T) {
	for name, a := range map[string]string{"home": home.String(), "loopback": "::1", "multicast": "ff02::1", "link-local": "fe80::7", "none": "::",
		"care-of": careOfA.String(), "the DHP": proxyAddr(0).String(), "correspondent": cnOf(0, 1).String(), "home agent": agent.String(), "IPv4": "::ffff:192.0.2.1"} {
		w := newWorld(t, 1).online()
		lying(w, func(d *mh.DMIPv6) {
			o, _ := mh.Find[*mh.DHoA](d.Options)
			o.Prefix = netip.PrefixFrom(netip.MustParseAddr(a), 128)
		})
		if got, _ := w.settle(1, 0, cnOf(0, 1)); got != home {
			t.Errorf("%s: decided %s", name, got)
		}
		if n := w.m.Counters().Lent; n != 0 {
			t.Errorf("%s: %d addresses taken up", name, n)
		}
	}
}

func TestAnswerTwiceAndAnswerOfAnother(t *testing.T) {
	w := newWorld(t, 1).online()
	w.alter = func(r signaling.Received) []signaling.Received {
		other := r
		other.Source = proxyAddr(7)
		return []signaling.Received{other, r, r}
	}
	a, took := w.settle(1, 0, cnOf(0, 1))
	w.run(time.Second)
	if c := w.m.Counters(); !poolOf(0).Contains(a) || took != 90*time.Millisecond || c.Lent != 1 || c.Unmatched < 2 {
		t.Errorf("decided %s after %v, counters %+v", a, took, c)
	}
}

func TestForgedRepliesAreNotBelieved(t *testing.T) {
	w := newWorld(t, 1).online()
	w.alter = func(r signaling.Received) []signaling.Received {
		forged := r
		forged.Payload = append([]byte(nil), r.Payload...)
		forged.Payload[len(forged.Payload)-9] ^= 1
		mh.SetChecksum(forged.Payload, r.Source, r.Destination)
		return []signaling.Received{forged}
	}
	if a, _ := w.settle(1, 0, cnOf(0, 1)); a != home || w.m.Counters().Unauthentic == 0 || len(w.m.Cache(w.time())) != 0 {
		t.Errorf("decided %s, counters %+v", a, w.m.Counters())
	}
}

func TestHomeAgentWithoutDMIPv6(t *testing.T) {
	plain := func(answer func(w *world, s signaling.Send)) *world {
		w := newWorld(t, 1)
		w.drop = func(from, to netip.Addr, payload []byte) bool { return to == agent && payload != nil }
		w.online()
		w.flow(1, 0, cnOf(0, 1))
		w.run(40 * time.Millisecond)
		if sends := since[signaling.Send](w, 0); answer != nil {
			answer(w, sends[len(sends)-1])
		}
		return w
	}
	t.Run("Binding Error", func(t *testing.T) {
		w := plain(func(w *world, s signaling.Send) {
			payload, _ := mh.Append(nil, &mh.BindingError{Status: mh.UnrecognizedType})
			mh.SetChecksum(payload, agent, careOfA)
			w.handle(signaling.Received{Source: agent, Destination: careOfA, Payload: payload})
		})
		if d := w.decided[1]; d.Address != home || w.when[1] != w.now {
			t.Errorf("decided %+v", d)
		}
		for profile := range profiles() {
			if w.lookup(profile, cnOf(0, 1)) != home {
				t.Errorf("flows of profile %d are still held", profile)
			}
		}
		w.run(unusableLong)
		if w.lookup(0, cnOf(0, 1)).IsValid() {
			t.Error("not tried again")
		}
	})
	t.Run("Parameter Problem", func(t *testing.T) {
		w := plain(func(w *world, s signaling.Send) {
			q := make([]byte, 40)
			q[0], q[6] = 6<<4, mh.Protocol
			copy(q[8:], s.Source.AsSlice())
			copy(q[24:], s.Destination.AsSlice())
			b := append([]byte{4, 1, 0, 0, 0, 0, 0, 6}, append(q, s.Payload...)...)
			wrong := append([]byte(nil), b...)
			binary.BigEndian.PutUint16(wrong[8+40+8:], binary.BigEndian.Uint16(wrong[8+40+8:])+1)
			w.handle(signaling.ReceivedICMP{Source: agent, Destination: careOfA, Payload: wrong})
			if len(w.decided) != 0 {
				t.Error("believes an error about what it did not send")
			}
			w.handle(signaling.ReceivedICMP{Source: agent, Destination: careOfA, Payload: b})
		})
		if d := w.decided[1]; d.Address != home || w.lookup(0, cnOf(0, 1)) != home {
			t.Errorf("decided %+v", d)
		}
	})
	t.Run("silence", func(t *testing.T) {
		w := plain(nil)
		w.run(5 * time.Second)
		if d := w.decided[1]; d.Address != home || w.lookup(0, cnOf(0, 1)) != home {
			t.Errorf("decided %+v", d)
		}
		// 2 x 80 ms, doubling, three tries.
		if q, at := w.count(DHPQuerySent, 0), w.at(DirectoryUnusable, 0)-w.at(DHPQuerySent, 0); q != 3 || at != (160+320+640)*time.Millisecond {
			t.Errorf("%d queries, given up after %v", q, at)
		}
		w.handle(signaling.HomeRegistration{HomeAgent: agent, CareOf: careOfA, Uplink: "eth0"})
		w.handle(registration(careOfA))
		if w.lookup(0, cnOf(0, 1)).IsValid() {
			t.Error("not tried again after registering")
		}
	})
}

func TestLostQueryAndRequestAreRepeated(t *testing.T) {
	w := newWorld(t, 1).online()
	seen := map[string]bool{}
	w.drop = func(from, to netip.Addr, payload []byte) bool {
		key := from.String() + to.String()
		if payload == nil || seen[key] {
			return false
		}
		seen[key] = true
		return true
	}
	// Query lost (160 ms), reply lost (320 ms): the hold time is nearly over then, and the rest serves later flows.
	if a, took := w.settle(1, 0, cnOf(0, 1)); a != home || took != 500*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
	w.run(5 * time.Second)
	// Request lost (twice the 80 ms that stand for the DHP's round trip), response lost (twice that), 10 ms.
	if a, took := w.settle(2, 0, cnOf(0, 1)); !poolOf(0).Contains(a) || took != 490*time.Millisecond {
		t.Errorf("decided %s after %v", a, took)
	}
}

func TestRFC4285_6_HomeAgentsClockIsFollowed(t *testing.T) {
	w := newWorld(t, 1).online()
	w.m.directory.clock.Resynchronise(mh.NTPTimeOf(w.time().Add(-time.Minute)), w.time())
	if a, took := w.settle(1, 0, cnOf(0, 1)); !poolOf(0).Contains(a) || took != 170*time.Millisecond {
		t.Errorf("decided %s after %v, want one more round trip", a, took)
	}
}

func TestTicketIsRenewedWhenAQuarterIsLeft(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(a, 1)
	before := w.m.Anchors(w.time())[0].TicketExpiry
	from := w.now
	w.run(44 * time.Minute)
	if n := w.count(TicketWanted, from); n != 0 {
		t.Fatalf("renewed %d times too early", n)
	}
	w.run(2 * time.Minute)
	if after := w.m.Anchors(w.time())[0].TicketExpiry; !after.After(before) {
		t.Errorf("expires %v, was %v", after, before)
	}
	w.run(2 * time.Hour)
	if !w.held[a] {
		t.Error("the address is lost")
	}
}

func TestLeaseIsKeptWhileTheHomeAgentIsAway(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(a, 1)
	w.silent[agent] = true
	w.handle(signaling.HomeRegistration{HomeAgent: agent, CareOf: careOfA, Uplink: "eth0"})
	w.run(50 * time.Minute)
	if !w.held[a] || w.lookup(0, cnOf(0, 1)) != home && w.lookup(0, cnOf(0, 1)) != a {
		t.Errorf("held %v", w.held[a])
	}
	// The ticket ends after an hour, and the lease with what was registered by it.
	w.silent[agent] = false
	w.handle(registration(careOfA))
	w.run(time.Hour)
	if !w.held[a] {
		t.Error("lost although the home agent came back in time")
	}
}

func TestRefusedTicketBringsAnother(t *testing.T) {
	w := newWorld(t, 1).online()
	a, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(a, 1)
	// The DHP has a new key of the same number, which the home agent has too; it tells everybody to come with a new ticket.
	p := w.m.proxies[proxyAddr(0)]
	for _, x := range w.m.anchors {
		w.carryOut(x.machine.Renew(w.time(), &auth.Association{SPI: p.ticket.SPI, Algorithm: auth.HMACSHA256,
			Key: ticket.SessionKey(kd(0).Key, proxyAddr(0), epoch.Add(-time.Hour), w.m.id)}, mh.Options{&mh.KeyTicket{SPI: p.ticket.SPI, Expiry: epoch.Add(-time.Hour)}}))
	}
	from := w.now
	w.run(9 * time.Minute)
	if w.count(TicketWanted, from) == 0 || w.count(TicketReceived, from) == 0 || !w.held[a] {
		t.Errorf("held %v, reports %v", w.held[a], w.kinds(from))
	}
}

func TestUnauthenticatedHomeAgentIsAskedNothing(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Association, c.AllowUnauthenticated = nil, true }).online()
	if a, took := w.settle(1, 0, cnOf(0, 1)); a != home || took != 0 || len(since[signaling.Send](w, 0)) != 0 {
		t.Errorf("decided %s after %v", a, took)
	}
}

func TestFloodOfFlowsIsBounded(t *testing.T) {
	w := newWorld(t, 1).online()
	for i := range 20000 {
		var b [16]byte
		copy(b[:], cnOf(0, 0).AsSlice())
		binary.BigEndian.PutUint32(b[4:], uint32(i)<<4)
		w.flow(uint64(i), 0, netip.AddrFrom16(b))
	}
	if n := len(w.m.waiting); n > maxWaiting {
		t.Errorf("%d flows wait", n)
	}
	w.run(time.Second)
	if len(w.decided) != 20000 || len(w.m.coverage) > defaultMaxCached || len(w.m.decisions.byID) > maxDecisions {
		t.Errorf("%d decided, %d coverage entries, %d decisions", len(w.decided), len(w.m.coverage), len(w.m.decisions.byID))
	}
}
