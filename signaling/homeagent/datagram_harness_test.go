package homeagent

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	// nat is where datagrams come from that left from private, and outside is the home agent's address that they go to.
	nat     = netip.MustParseAddrPort("203.0.113.5:61234")
	private = netip.MustParseAddr("10.0.0.7")
	outside = netip.MustParseAddr("192.0.2.1")
	// host6 and outside6 are the same over IPv6; direct6 is where datagrams come from without a NAT.
	host6    = netip.MustParseAddr("2001:db8:66::7")
	direct6  = netip.AddrPortFrom(host6, 4191)
	outside6 = netip.MustParseAddr("2001:db8:77::1")
)

// datagram is m as it arrives in a UDP datagram from outer, with told in an option if that is valid.
func (m *message) datagram(t testing.TB, outer netip.AddrPort, told netip.Addr) signaling.Received {
	t.Helper()
	careOf := told
	switch {
	case told.Is4():
		m.update.Options = append(mh.Options{&mh.IPv4CareOfAddress{Address: told}}, m.update.Options...)
	case told.Is6():
		m.update.Options = append(mh.Options{&mh.AlternateCareOf{Address: told}}, m.update.Options...)
	default:
		careOf = m.home
	}
	r := signaling.Received{Source: m.home, Destination: agent, Outer: outer, OuterLocal: outside}
	if outer.Addr().Is6() {
		r.OuterLocal = outside6
	}
	var err error
	if m.key != nil {
		r.Payload, err = auth.Sign(&m.update, *m.key, careOf, m.home, mh.NTPTimeOf(m.at))
	} else {
		r.Payload, err = mh.Append(nil, &m.update)
	}
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(r.Payload, m.home, agent)
	return r
}

func forceUDP(m *message) { m.update.ForceUDP = true }

// signedUpdate is one of the mobile node that authenticates, with flag F.
func (w *world) signedUpdate(sequence uint16, changes ...func(*message)) *message {
	key := sha1Key
	key.Identifier = "signed@example.net"
	return bu(signed, sequence, append([]func(*message){forceUDP, sign(key, w.now)}, changes...)...)
}

// answered fails unless the effects have an acknowledgement of that status, in a datagram to where r came from; it returns its
// NAT Detection option.
func (e effects) answered(t testing.TB, r signaling.Received, want mh.Status) *mh.NATDetection {
	t.Helper()
	a := e.status(t, want)
	_, s := e.ack(t)
	payload := s.Payload
	s.Payload = nil
	if w := (signaling.Send{Source: agent, Destination: r.Source, Outer: r.Outer, OuterLocal: r.OuterLocal}); !sameSend(s, w) {
		t.Errorf("sent as %+v, want %+v", s, w)
	}
	if _, ok := mh.Find[*mh.MessageAuthentication](a.Options); ok {
		told := ToldCareOf(&r, mustParse(t, r.Payload).Options)
		if !told.IsValid() {
			told = r.Source
		}
		lookup := func(uint32) (auth.Association, bool) { return sha1Key, true }
		if _, err := auth.Verify(payload, a, lookup, told, r.Source); err != nil {
			t.Errorf("acknowledgement: %v", err)
		}
	}
	o, ok := mh.Find[*mh.NATDetection](a.Options)
	if !ok {
		t.Fatalf("no NAT Detection option in %+v", a)
	}
	return o
}

func sameSend(a, b signaling.Send) bool {
	return a.Source == b.Source && a.Destination == b.Destination && a.HomeAddress == b.HomeAddress &&
		a.RoutingHome == b.RoutingHome && a.Outer == b.Outer && a.OuterLocal == b.OuterLocal && a.Link == b.Link &&
		a.Router == b.Router && a.Tunnel == b.Tunnel && bytes.Equal(a.Payload, b.Payload)
}

func mustParse(t testing.TB, payload []byte) *mh.BindingUpdate {
	t.Helper()
	m, err := mh.Parse(payload)
	if err != nil {
		t.Fatal(err)
	}
	return m.(*mh.BindingUpdate)
}

// datagramBind is what forwarding is told for home and a mobile node at outer.
func datagramBind(home netip.Prefix, outer netip.AddrPort, local netip.Addr) signaling.Bind {
	return signaling.Bind{Home: home, Local: local, Remote: outer.Addr(), RemotePort: outer.Port()}
}

func binds(t testing.TB, e effects, want ...signaling.Bind) {
	t.Helper()
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("binds %+v, want %+v", got, want)
	}
}
