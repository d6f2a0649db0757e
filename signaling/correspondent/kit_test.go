package correspondent

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

var (
	own   = netip.MustParseAddr("2001:db8:c::1")
	home  = netip.MustParseAddr("2001:db8:a::100")
	home2 = netip.MustParseAddr("2001:db8:a::101")
	coa   = netip.MustParseAddr("2001:db8:1::1")
	coa2  = netip.MustParseAddr("2001:db8:2::1")
	start = time.Unix(1_800_000_000, 0)
)

// counting fills with 1, 2, 3 and so on.
func counting() func([]byte) {
	var n byte
	return func(b []byte) {
		for i := range b {
			n++
			b[i] = n
		}
	}
}

// node is a machine with a clock.
type node struct {
	*Machine
	t   testing.TB
	now time.Time
}

func newNode(t testing.TB, change func(*Config)) *node {
	t.Helper()
	cfg := Config{Address: own, MaxBindings: 10, Random: counting()}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg, start)
	if err != nil {
		t.Fatal(err)
	}
	return &node{m, t, start}
}

func (n *node) after(d time.Duration) []signaling.Effect {
	n.now = n.now.Add(d)
	return n.Handle(n.now, signaling.Tick{})
}

// encode writes a message with its checksum, as it comes from the final source to own.
func encode(t testing.TB, m mh.Message, source netip.Addr) []byte {
	t.Helper()
	b, err := mh.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, source, own)
	return b
}

func (n *node) receive(source, homeAddress netip.Addr, payload []byte) []signaling.Effect {
	return n.Handle(n.now, signaling.Received{Source: source, Destination: own, HomeAddress: homeAddress, Payload: payload})
}

// sends are the messages among effects, read.
func (n *node) sends(effects []signaling.Effect) (messages []mh.Message, sends []signaling.Send) {
	n.t.Helper()
	for _, e := range effects {
		s, ok := e.(signaling.Send)
		if !ok {
			continue
		}
		to := s.Destination
		if s.RoutingHome.IsValid() {
			to = s.RoutingHome
		}
		if s.Source != own || s.Tunnel != own || s.HomeAddress.IsValid() || !mh.ChecksumValid(s.Payload, own, to) {
			n.t.Errorf("sent %+v", s)
		}
		m, err := mh.Parse(s.Payload)
		if err != nil {
			n.t.Fatalf("%x: %v", s.Payload, err)
		}
		messages, sends = append(messages, m), append(sends, s)
	}
	return messages, sends
}

func one[M mh.Message](n *node, effects []signaling.Effect) (M, signaling.Send) {
	n.t.Helper()
	messages, sends := n.sends(effects)
	if len(messages) != 1 {
		n.t.Fatalf("sent %d messages, want one: %+v", len(messages), effects)
	}
	m, ok := messages[0].(M)
	if !ok {
		n.t.Fatalf("sent a %T", messages[0])
	}
	return m, sends[0]
}

func (n *node) homeToken(home netip.Addr) *mh.HomeTest {
	n.t.Helper()
	m, _ := one[*mh.HomeTest](n, n.receive(home, netip.Addr{}, encode(n.t, &mh.HomeTestInit{Cookie: mh.Cookie{1}}, home)))
	return m
}

func (n *node) careOfToken(careOf netip.Addr) *mh.CareOfTest {
	n.t.Helper()
	m, _ := one[*mh.CareOfTest](n, n.receive(careOf, netip.Addr{}, encode(n.t, &mh.CareOfTestInit{Cookie: mh.Cookie{2}}, careOf)))
	return m
}

// update is a Binding Update of the mobile node that got these tokens.
type update struct {
	home, careOf netip.Addr
	sequence     uint16
	lifetime     time.Duration
	h            *mh.HomeTest
	c            *mh.CareOfTest
	silent       bool
	change       func(*mh.BindingUpdate)
}

func (n *node) registration(home, careOf netip.Addr, sequence uint16) update {
	return update{home: home, careOf: careOf, sequence: sequence, lifetime: 400 * time.Second, h: n.homeToken(home), c: n.careOfToken(careOf)}
}

func (u *update) key() routability.Key {
	if u.lifetime == 0 {
		return routability.DeletionKey(u.h.Token)
	}
	return routability.BindingKey(u.h.Token, u.c.Token)
}

// macAddress is the care-of address of the authenticator.
func (u *update) macAddress() netip.Addr {
	if u.lifetime == 0 {
		return u.home
	}
	return u.careOf
}

func (u *update) payload(t testing.TB) []byte {
	t.Helper()
	indices := &mh.NonceIndices{Home: u.h.NonceIndex}
	if u.c != nil {
		indices.CareOf = u.c.NonceIndex
	}
	m := &mh.BindingUpdate{Sequence: u.sequence, Acknowledge: !u.silent, Lifetime: u.lifetime, Options: mh.Options{indices}}
	if u.change != nil {
		u.change(m)
	}
	b, err := routability.Sign(m, u.key(), u.macAddress(), own)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, u.home, own)
	return b
}

func (n *node) update(u update) []signaling.Effect {
	n.t.Helper()
	return n.receive(u.careOf, u.home, u.payload(n.t))
}

// acknowledged checks the acknowledgement of u, and returns it.
func (n *node) acknowledged(u update, effects []signaling.Effect, want mh.Status) *mh.BindingAcknowledgement {
	n.t.Helper()
	ack, s := one[*mh.BindingAcknowledgement](n, effects)
	if ack.Status != want {
		n.t.Fatalf("status %v, want %v", ack.Status, want)
	}
	if s.Destination != u.careOf || s.RoutingHome != u.home {
		n.t.Errorf("sent to %v by way of %v", s.Destination, s.RoutingHome)
	}
	expired := want >= mh.StatusExpiredHomeNonce && want <= mh.StatusExpiredNonces
	if routability.Verify(s.Payload, u.key(), u.macAddress(), own) == expired {
		n.t.Errorf("status %v authenticates: %v", want, !expired)
	}
	return ack
}

func (n *node) register(home, careOf netip.Addr, sequence uint16) update {
	n.t.Helper()
	u := n.registration(home, careOf, sequence)
	n.acknowledged(u, n.update(u), mh.StatusAccepted)
	return u
}

func find[E signaling.Effect](effects []signaling.Effect) (e E, ok bool) {
	for _, x := range effects {
		if e, ok = x.(E); ok {
			return e, true
		}
	}
	return e, false
}
