package fault

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

var (
	peer = netip.MustParseAddr("2001:db8:2::2")
	own  = netip.MustParseAddr("2001:db8:1::1")
	home = netip.MustParseAddr("2001:db8:f::100")
)

func received(payload ...byte) *signaling.Received {
	return &signaling.Received{Source: peer, Destination: own, HomeAddress: home, Payload: payload}
}

func answer(t *testing.T, r *signaling.Received) signaling.Effect {
	t.Helper()
	_, err := mh.Parse(r.Payload)
	if err == nil {
		t.Fatal("the message can be read")
	}
	return Answer(r, err)
}

func TestRFC6275_9_2_UnknownTypeGetsABindingError(t *testing.T) {
	s, ok := answer(t, received(59, 0, 77, 0, 0, 0, 0, 0)).(signaling.Send)
	if !ok || s.Source != own || s.Destination != peer || !mh.ChecksumValid(s.Payload, own, peer) {
		t.Fatalf("answer %+v", s)
	}
	m, err := mh.Parse(s.Payload)
	if e, is := m.(*mh.BindingError); err != nil || !is || e.Status != mh.UnrecognizedType || e.HomeAddress != home {
		t.Errorf("answer %+v, %v", m, err)
	}
}

func TestRFC6275_9_2_ImpossibleHeaderGetsAParameterProblem(t *testing.T) {
	for pointer, b := range [][]byte{{58, 1, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, {59, 0, 5, 0, 0, 0, 0, 0}} {
		r := received(b...)
		p, ok := answer(t, r).(signaling.SendParameterProblem)
		if !ok || p.Pointer != pointer || !bytes.Equal(p.InReplyTo.Payload, b) {
			t.Errorf("answer %+v, want one that points to %d", p, pointer)
			continue
		}
		if &p.InReplyTo.Payload[0] == &r.Payload[0] {
			t.Error("the answer holds on to what was received")
		}
	}
}

func TestSilence(t *testing.T) {
	if a := answer(t, received(59, 1, 5, 0, 0, 0, 0, 0)); a != nil {
		t.Errorf("a message cut short gets %+v", a)
	}
	for _, s := range []string{"::", "ff02::1", "::1"} {
		r := received(59, 0, 77, 0, 0, 0, 0, 0)
		r.Source = netip.MustParseAddr(s)
		if a := answer(t, r); a != nil {
			t.Errorf("%s gets %+v", s, a)
		}
	}
}

func TestBucket(t *testing.T) {
	b, now := NewBucket(2), time.Unix(1000, 0)
	for i, want := range []bool{true, true, false} {
		if b.Take(now) != want {
			t.Errorf("take %d: %v", i, !want)
		}
	}
	if !b.Take(now.Add(500*time.Millisecond)) || b.Take(now.Add(500*time.Millisecond)) {
		t.Error("half a second is not worth one of two a second")
	}
	if b.Take(now.Add(-time.Hour)) {
		t.Error("a clock that went back gives tokens")
	}
}

func TestDatagramsGetNoMoreThanTheyHave(t *testing.T) {
	outer, local := netip.MustParseAddrPort("203.0.113.5:61234"), netip.MustParseAddr("192.0.2.1")
	datagram := func(from netip.AddrPort, payload ...byte) *signaling.Received {
		r := received(payload...)
		r.Outer, r.OuterLocal, r.HomeAddress = from, local, netip.Addr{}
		return r
	}
	unknown := append([]byte{59, 2, 77, 0, 0, 0, 0, 0}, make([]byte, 16)...)
	s, ok := answer(t, datagram(outer, unknown...)).(signaling.Send)
	if !ok || s.Outer != outer || s.OuterLocal != local || s.Destination != peer || len(s.Payload) > len(unknown) {
		t.Errorf("answer %+v", s)
	}
	for name, r := range map[string]*signaling.Received{
		"8 octets":      datagram(outer, 59, 0, 77, 0, 0, 0, 0, 0),
		"16 octets":     datagram(outer, 59, 1, 77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"Payload Proto": datagram(outer, append([]byte{58, 5, 5, 0}, make([]byte, 44)...)...),
		"port 0":        datagram(netip.AddrPortFrom(outer.Addr(), 0), unknown...),
		"multicast":     datagram(netip.MustParseAddrPort("224.0.0.1:4191"), unknown...),
	} {
		if a := answer(t, r); a != nil {
			t.Errorf("%s gets %+v", name, a)
		}
	}
}
