package mobilenode

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

var agent2 = netip.MustParseAddr("2001:db8:1::2")

func discovering(c *Config) {
	c.HomeAgent = netip.Addr{}
	n := uint16(40)
	c.Random = func() uint16 { n++; return n }
}

func reply(t *testing.T, identifier uint16, addresses ...netip.Addr) signaling.ReceivedICMP {
	payload, err := discovery.Append(nil, &discovery.HomeAgentAddressReply{Identifier: identifier, Addresses: addresses})
	if err != nil {
		t.Fatal(err)
	}
	return signaling.ReceivedICMP{Source: agent, Destination: careOfA, Payload: payload}
}

func identifier(t *testing.T, all effects) uint16 {
	t.Helper()
	list := of[signaling.SendICMP](all)
	if len(list) != 1 {
		t.Fatalf("effects:\n%s", all)
	}
	m, err := discovery.Parse(list[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*discovery.HomeAgentAddressRequest).Identifier
}

func TestRFC6275_11_4_1_RequestToTheHomeAgentsAnycastAddress(t *testing.T) {
	b := newBench(t, discovering)
	out := b.do(attachment(careOfA))
	id := identifier(t, out)
	s := of[signaling.SendICMP](out)[0]
	if s.Source != careOfA || s.Destination != netip.MustParseAddr("2001:db8:1:0:fdff:ffff:ffff:fffe") || s.Link != "eth0" || s.Router != router || s.HomeAddress.IsValid() {
		t.Errorf("sent %+v", s)
	}
	if !discovery.ChecksumValid(s.Payload, s.Source, s.Destination) {
		t.Error("bad checksum")
	}
	if out := b.do(reply(t, id+1, agent)); len(out) != 0 {
		t.Errorf("another identifier:\n%s", out)
	}
	if out := b.do(reply(t, id, careOfB, home)); len(out) != 0 {
		t.Errorf("addresses outside the home prefix:\n%s", out)
	}
	send, bu := b.update(b.do(reply(t, id, agent, agent2)))
	if send.Destination != agent {
		t.Errorf("registers with %v", send.Destination)
	}
	b.do(b.answer(send, bu))
	b.wantState(StateRegistered)
}

func TestRFC6275_11_4_1_RequestRetransmission(t *testing.T) {
	b := newBench(t, discovering)
	id := identifier(t, b.do(attachment(careOfA)))
	var at []time.Duration
	for range 4 {
		b.now = b.m.Next()
		if again := identifier(t, b.do(signaling.Tick{})); again != id {
			t.Errorf("identifier %d, want the same %d", again, id)
		}
		at = append(at, b.now.Sub(b.start))
	}
	s := time.Second
	if want := []time.Duration{3 * s, 9 * s, 21 * s, 45 * s}; !slices.Equal(at, want) {
		t.Errorf("retransmitted at %v, want %v", at, want)
	}
	b.now = b.m.Next()
	if out := b.do(signaling.Tick{}); !slices.Equal(out.kinds(), []signaling.ReportKind{HomeAgentNotFound}) || len(of[signaling.SendICMP](out)) != 0 {
		t.Errorf("after DHAAD_RETRIES:\n%s", out)
	}
	if d := b.m.Next().Sub(b.now); d != 30*time.Second {
		t.Errorf("starts over after %v", d)
	}
	if out := b.do(attachment(careOfB)); len(of[signaling.SendICMP](out)) != 1 {
		t.Error("does not ask at once from a new care-of address")
	}
}

func TestRFC6275_11_4_1_NextHomeAgentOnRefusal(t *testing.T) {
	b := newBench(t, discovering)
	id := identifier(t, b.do(attachment(careOfA)))
	send, bu := b.update(b.do(reply(t, id, agent, agent2)))
	if out := b.do(b.answer(send, bu, status(mh.StatusInsufficientResources))); len(out.sends()) != 0 {
		t.Fatal("did not wait InitialBindackTimeoutFirstReg")
	}
	b.now = b.now.Add(1500 * time.Millisecond)
	send, bu = b.update(b.do(signaling.Tick{}))
	if send.Destination != agent2 {
		t.Fatalf("tries %v", send.Destination)
	}
	r := b.answer(send, bu, status(mh.StatusInsufficientResources))
	b.do(r)
	if d := b.m.Next().Sub(b.now); d != time.Minute {
		t.Errorf("looks for home agents again after %v", d)
	}
	b.now = b.m.Next()
	identifier(t, b.do(signaling.Tick{}))
}

func TestRFC6275_11_7_1_NextHomeAgentAtMaximumTimeout(t *testing.T) {
	b := newBench(t, discovering)
	id := identifier(t, b.do(attachment(careOfA)))
	b.do(reply(t, id, agent, agent2))
	var to []netip.Addr
	for len(to) < 6 {
		b.now = b.m.Next()
		for _, s := range b.do(signaling.Tick{}).sends() {
			to = append(to, s.Destination)
		}
	}
	if !slices.Equal(to, []netip.Addr{agent, agent, agent, agent, agent, agent2}) {
		t.Errorf("retransmitted to %v", to)
	}
	if at := b.now.Sub(b.start); at != 78500*time.Millisecond {
		t.Errorf("tried the next after %v", at)
	}
}

func TestAtHomeWithNoHomeAgentToBeFound(t *testing.T) {
	b := newBench(t, discovering)
	b.do(atHome())
	if out := b.wait(50 * time.Second); index[signaling.ProbeDuplicate](out) < 0 {
		t.Error("does not look whether the home address is free")
	}
	b.do(signaling.DuplicateResult{Link: "eth0", Address: home})
	b.wantState(StateAtHome)
}
