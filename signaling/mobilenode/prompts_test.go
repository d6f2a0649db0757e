package mobilenode

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// ipv6 is an IPv6 header in front of payload.
func ipv6(next byte, src, dst netip.Addr, payload []byte) []byte {
	b := make([]byte, 8, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	s, d := src.As16(), dst.As16()
	return append(append(append(b, s[:]...), d[:]...), payload...)
}

// icmpError is an error from a node about a sent Binding Update.
func icmpError(kind, code byte, from netip.Addr, about signaling.Send) signaling.ReceivedICMP {
	payload, next := about.Payload, byte(mh.Protocol)
	if about.HomeAddress.IsValid() {
		h := about.HomeAddress.As16()
		payload = append(append([]byte{mh.Protocol, 2, 1, 2, 0, 0, 0xc9, 16}, h[:]...), payload...)
		next = 60
	}
	return icmp(kind, code, from, ipv6(next, about.Source, about.Destination, payload))
}

func icmp(kind, code byte, from netip.Addr, quoted []byte) signaling.ReceivedICMP {
	return signaling.ReceivedICMP{Source: from, Destination: careOfA, Payload: append([]byte{kind, code, 0, 0, 0, 0, 0, 0}, quoted...), Link: "eth0"}
}

func TestRFC6275_11_3_6_UnknownBindingRegistersAgain(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	lost := b.message(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home})
	out := b.do(lost)
	b.update(out)
	if !slices.Contains(out.kinds(), BindingLost) || index[signaling.Unbind](out) >= 0 {
		t.Errorf("effects:\n%s", out)
	}
	n := 0
	for range 100 {
		b.now = b.now.Add(10 * time.Millisecond)
		n += len(b.do(lost).sends())
	}
	if n > 1 {
		t.Errorf("%d updates for 100 Binding Errors in a second", n)
	}
}

func TestRFC6275_11_3_6_OthersBindingErrorsAreIgnored(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	r := b.message(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home})
	r.Source = careOfB
	if out := b.do(r); len(out) != 0 {
		t.Errorf("from another node:\n%s", out)
	}
	for _, e := range []*mh.BindingError{{Status: mh.UnknownBinding, HomeAddress: careOfB}, {Status: 77, HomeAddress: home}} {
		if out := b.do(b.message(e)); len(out) != 0 {
			t.Errorf("%+v:\n%s", e, out)
		}
	}
}

func TestRFC6275_11_3_6_UnrecognizedTypeIsReported(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	out := b.do(b.message(&mh.BindingError{Status: mh.UnrecognizedType}))
	if !slices.Equal(out.kinds(), []signaling.ReportKind{TypeUnsupported}) || len(out) != 1 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestRFC6275_11_7_4_BindingRefreshRequestIsAnswered(t *testing.T) {
	b := newBench(t)
	if out := b.do(signaling.Received{Source: agent}); len(out) != 0 {
		t.Errorf("unattached:\n%s", out)
	}
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	_, bu := b.update(b.do(b.message(&mh.BindingRefreshRequest{})))
	if bu.Lifetime != 60*time.Second {
		t.Errorf("asks for %v", bu.Lifetime)
	}
}

func TestBindingRefreshRequestWithoutABindingIsIgnored(t *testing.T) {
	b := newBench(t)
	b.do(attachment(careOfA))
	b.now = b.now.Add(500 * time.Millisecond)
	if out := b.do(b.message(&mh.BindingRefreshRequest{})); len(out) != 0 {
		t.Errorf("effects:\n%s", out)
	}
}

func TestRefusedTunnelPacketsRegisterAgain(t *testing.T) {
	inner := ipv6(6, home, careOfB, make([]byte, 20))
	b := newBench(t)
	b.register(careOfA)
	b.now = b.now.Add(5 * time.Second)
	for name, r := range map[string]signaling.ReceivedICMP{
		"another source":      icmp(1, 5, careOfB, ipv6(41, careOfA, agent, inner)),
		"another code":        icmp(1, 0, agent, ipv6(41, careOfA, agent, inner)),
		"another care-of":     icmp(1, 5, agent, ipv6(41, careOfB, agent, inner)),
		"another destination": icmp(1, 5, agent, ipv6(41, careOfA, careOfB, inner)),
		"another inner":       icmp(1, 5, agent, ipv6(41, careOfA, agent, ipv6(6, careOfB, careOfA, nil))),
		"no inner":            icmp(1, 5, agent, ipv6(41, careOfA, agent, inner[:39])),
		"not tunnelled":       icmp(1, 5, agent, ipv6(6, careOfA, agent, inner)),
	} {
		if out := b.do(r); len(out) != 0 {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	out := b.do(icmp(1, 5, agent, ipv6(41, careOfA, agent, inner)))
	b.update(out)
	if !slices.Contains(out.kinds(), BindingLost) {
		t.Errorf("reports %v", out.kinds())
	}
	b.now = b.now.Add(10 * time.Millisecond)
	if out := b.do(icmp(1, 5, agent, ipv6(41, careOfA, agent, inner))); len(out) != 0 {
		t.Errorf("again at once:\n%s", out)
	}
}

func TestRFC6275_11_3_5_ErrorsAboutBindingUpdates(t *testing.T) {
	b := newBench(t)
	send, bu := b.update(b.do(attachment(careOfA)))
	for _, c := range []struct{ kind, code byte }{{1, 0}, {1, 3}, {3, 0}, {4, 1}, {4, 2}} {
		out := b.do(icmpError(c.kind, c.code, agent, send))
		if !slices.Equal(out.kinds(), []signaling.ReportKind{ICMPError}) || len(out) != 1 {
			t.Errorf("type %d code %d:\n%s", c.kind, c.code, out)
		}
	}
	stranger := send
	stranger.Destination = careOfB
	if out := b.do(icmpError(1, 0, router, stranger)); len(out) != 0 {
		t.Errorf("about a packet that is not ours:\n%s", out)
	}
	other := send
	other.Payload = slices.Clone(send.Payload)
	binary.BigEndian.PutUint16(other.Payload[6:], bu.Sequence+7)
	if out := b.do(icmpError(1, 0, router, other)); len(out) != 0 {
		t.Errorf("about an update that was not sent:\n%s", out)
	}
	if at := b.m.Next().Sub(b.now); at != 1500*time.Millisecond {
		t.Errorf("errors changed the retransmission: %v", at)
	}
}

func TestRFC6275_11_4_3_UnsolicitedPrefixAdvertisement(t *testing.T) {
	b := newBench(t)
	b.register(careOfA)
	payload, err := discovery.Append(nil, &discovery.MobilePrefixAdvertisement{Identifier: 7})
	if err != nil {
		t.Fatal(err)
	}
	r := signaling.ReceivedICMP{Source: agent, Destination: careOfA, RoutingHome: home, Payload: payload}
	if out := b.do(r); len(out) != 1 || !slices.Equal(out.kinds(), []signaling.ReportKind{PrefixAdvertised}) {
		t.Errorf("effects:\n%s", out)
	}
	r.RoutingHome = netip.Addr{}
	if out := b.do(r); len(out) != 0 {
		t.Errorf("without a routing header:\n%s", out)
	}
}
