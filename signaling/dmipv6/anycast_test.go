package dmipv6

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
)

// hidden is a world where DHP 0 covers what the home agent does not know of: it advertises its own network, and answers for
// coverageOf(1) by anycast.
func hidden(t *testing.T, on bool) *world {
	w := newWorld(t, 0, func(c *Config) { c.Anycast = on })
	known := newWorld(t, 1)
	w.ha = known.ha
	w.addProxy(0, func(c *homeproxy.Config) {
		own, _ := proxyAddr(0).Prefix(48)
		c.Anycast = true
		c.Coverage = []homeproxy.Coverage{{Prefix: own}}
	})
	w.run(2 * time.Second)
	w.online()
	w.addProxy(0, func(c *homeproxy.Config) {
		c.Anycast = true
		c.Coverage = []homeproxy.Coverage{{Prefix: coverageOf(1)}}
		c.HomeAgents[0].Address = netip.MustParseAddr("2001:db8:9::9") // so that the home agent does not hear of it
	})
	return w
}

func TestAnycastAnswerIsUsedOnceTheHomeAgentHasIssuedATicket(t *testing.T) {
	w := hidden(t, true)
	if a, took := w.settle(1, 0, cnOf(1, 1)); a != home || took != 80*time.Millisecond {
		t.Errorf("decided %s after %v, want the home agent's answer to count", a, took)
	}
	w.run(time.Second)
	a, took := w.settle(2, 0, cnOf(1, 1))
	if !poolOf(0).Contains(a) || took != 10*time.Millisecond {
		t.Fatalf("then %s after %v", a, took)
	}
	if d, _ := w.m.Decision(w.decided[2].Decision); d.Source != FromAnycast {
		t.Errorf("source %s", d.Source)
	}
	for c, address := range w.chosen {
		if address == a && c.prefix.Contains(cnOf(1, 1)) && c.prefix.Bits() < 64 {
			t.Errorf("an anycast answer speaks for %v", c.prefix)
		}
	}
}

func TestAnycastIsOffByDefault(t *testing.T) {
	w := hidden(t, false)
	w.settle(1, 0, cnOf(1, 1))
	w.run(time.Second)
	if a, _ := w.settle(2, 0, cnOf(1, 1)); a != home {
		t.Errorf("decided %s", a)
	}
	for _, s := range since[signaling.Send](w, 0) {
		if s.Destination == discovery.ProxiesAnycast(cnOf(1, 1)) {
			t.Error("asked by anycast")
		}
	}
}

func TestAnycastAddress(t *testing.T) {
	if a := discovery.ProxiesAnycast(cnOf(1, 1)); a != netip.MustParseAddr("2001:db8:c01:1:fdff:ffff:ffff:fffd") {
		t.Error(a)
	}
}

func TestHintWithoutTicketIsNotUsed(t *testing.T) {
	w := newWorld(t, 0, func(c *Config) { c.Anycast = true }).online()
	w.settle(1, 0, cnOf(1, 1))
	sends := since[signaling.Send](w, 0)
	q, err := mh.Parse(sends[len(sends)-1].Payload)
	if err != nil {
		t.Fatal(err)
	}
	liar := netip.MustParseAddr("2001:db8:bad::1")
	payload, err := mh.Append(nil, &mh.DMIPv6{Subtype: mh.DHPQueryReply, Sequence: q.(*mh.DMIPv6).Sequence,
		Options: mh.Options{&mh.DHPInformation{RTT: 0, Preference: 255, Coverage: coverageOf(1), Lifetime: time.Hour, Address: liar}}})
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(payload, liar, careOfA)
	w.handle(signaling.Received{Source: liar, Destination: careOfA, Payload: payload})
	w.run(time.Second)
	if a, _ := w.settle(2, 0, cnOf(1, 1)); a != home {
		t.Errorf("decided %s", a)
	}
	for _, c := range w.m.Cache(w.time()) {
		if len(c.Proxies) > 0 {
			t.Errorf("%+v is believed", c)
		}
	}
}
