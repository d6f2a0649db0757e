package accessrouter

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	lma  = netip.MustParseAddr("2001:db8:f::1")
	hnp  = netip.MustParsePrefix("2001:db8:f:1::/64")
	mnID = identity{mh.IdentifierEUI48, string(host[:])}
)

// solo is one MAAR whose CMD, peers and mobile nodes are played by hand.
type solo struct {
	t     testing.TB
	m     *Machine
	now   time.Time
	stamp mh.NTPTime
}

func alone(t testing.TB, changes ...func(*Config)) *solo {
	t.Helper()
	c := configOf(1, 3)
	for _, change := range changes {
		change(&c)
	}
	m, err := New(c, noon)
	if err != nil {
		t.Fatal(err)
	}
	return &solo{t: t, m: m, now: noon}
}

func asGateway(c *Config) {
	c.Database, c.SPI, c.Pools = netip.Addr{}, 0, nil
	c.LocalMobilityAnchor, c.LMASPI = lma, 700
	c.Associations[700] = key(700)
}

func byLocator(c *Config) { c.Locator = true }

type effects []signaling.Effect

func of[E signaling.Effect](e effects) (all []E) {
	for _, v := range e {
		if x, ok := v.(E); ok {
			all = append(all, x)
		}
	}
	return all
}

func (e effects) kinds() (k []signaling.ReportKind) {
	for _, r := range of[signaling.Report](e) {
		k = append(k, r.Kind)
	}
	return k
}

// messages are those sent, authentic, to whom.
func (s *solo) messages(e effects) (all []mh.Message) {
	s.t.Helper()
	for _, m := range of[signaling.Send](e) {
		message, err := mh.Parse(m.Payload)
		if err != nil || !mh.ChecksumValid(m.Payload, m.Source, m.Destination) || m.Source != s.m.cfg.Address {
			s.t.Fatalf("sent %+v, %v", m, err)
		}
		all = append(all, message)
	}
	return all
}

// one is the only message sent, a PBU or a PBA.
func one[M mh.Message](s *solo, e effects) M {
	s.t.Helper()
	all := s.messages(e)
	if len(all) != 1 {
		s.t.Fatalf("%d messages, want one; %v", len(all), e.kinds())
	}
	m, ok := all[0].(M)
	if !ok {
		s.t.Fatalf("sent %+v", all[0])
	}
	return m
}

func (s *solo) silent(e effects) {
	s.t.Helper()
	if n := len(of[signaling.Send](e)); n > 0 {
		s.t.Errorf("%d messages, want silence", n)
	}
}

func (s *solo) handle(e signaling.Event) effects { return s.m.Handle(s.now, e) }

// after lets d pass and returns what happened meanwhile.
func (s *solo) after(d time.Duration) (all effects) {
	end := s.now.Add(d)
	for next := s.m.Next(); !next.IsZero() && !next.After(end); next = s.m.Next() {
		s.now = next
		all = append(all, s.handle(signaling.Tick{})...)
	}
	s.now = end
	return all
}

func (s *solo) attach() effects {
	return s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: host, Cause: "test"})
}

// later is an RFC 4285 timestamp for now, later than all before.
func (s *solo) later() mh.NTPTime {
	s.stamp = max(s.stamp+1, mh.NTPTimeOf(s.now))
	return s.stamp
}

// from has m arrive from an address, signed with the association and timestamp.
func (s *solo) from(source netip.Addr, m mh.Message, a auth.Association, careOf netip.Addr, stamp mh.NTPTime) effects {
	s.t.Helper()
	return s.handle(s.received(source, m, a, careOf, stamp))
}

func (s *solo) received(source netip.Addr, m mh.Message, a auth.Association, careOf netip.Addr, stamp mh.NTPTime) signaling.Received {
	s.t.Helper()
	b, err := auth.Sign(m, a, careOf, unspecified, stamp)
	if err != nil {
		s.t.Fatal(err)
	}
	mh.SetChecksum(b, source, s.m.cfg.Address)
	return signaling.Received{Source: source, Destination: s.m.cfg.Address, Payload: b, Link: "core"}
}

// notice has the CMD say that MAAR n serves.
func (s *solo) notice(serving netip.Addr, prefixes ...netip.Prefix) effects {
	s.t.Helper()
	return s.from(cmd, noticeOf(4711, serving, prefixes...), s.m.association, cmd, s.later())
}

func noticeOf(sequence uint16, serving netip.Addr, prefixes ...netip.Prefix) *mh.BindingUpdate {
	u := &mh.BindingUpdate{
		Sequence: sequence, Acknowledge: true, ProxyRegistration: true, Distributed: true, Lifetime: time.Minute,
		Options: mh.Options{mnID.option()},
	}
	for _, p := range prefixes {
		u.Options = append(u.Options, &mh.AnchoredPrefix{Prefix: p})
	}
	u.Options = append(u.Options, &mh.HandoffIndicator{Indicator: mh.HandoffUnknown},
		&mh.AccessTechnologyType{Technology: mh.AccessEthernet}, &mh.LinkLayerIdentifier{Identifier: host[:]})
	if serving.IsValid() {
		u.Options = append(u.Options, &mh.ServingMAAR{Address: serving})
	} else {
		u.Lifetime = 0
	}
	return u
}

// answer is a PBA to u, with its options and others.
func answer(u *mh.BindingUpdate, status mh.Status, others ...mh.Option) *mh.BindingAcknowledgement {
	b := &mh.BindingAcknowledgement{
		Status: status, ProxyRegistration: true, Distributed: u.Distributed, Sequence: u.Sequence, Lifetime: u.Lifetime,
	}
	for _, o := range u.Options {
		switch o.(type) {
		case *mh.DLIFLinkLocalAddress, *mh.DLIFLinkLayerAddress, *mh.LocalPrefix:
		default:
			b.Options = append(b.Options, o)
		}
	}
	b.Options = append(b.Options, others...)
	return b
}

// acknowledge has the CMD, or LMA, answer u.
func (s *solo) acknowledge(u *mh.BindingUpdate, status mh.Status, others ...mh.Option) effects {
	s.t.Helper()
	return s.reply(u, answer(u, status, others...))
}

func (s *solo) reply(u *mh.BindingUpdate, b *mh.BindingAcknowledgement) effects {
	s.t.Helper()
	stamp, err := auth.Timestamp(u.Options)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.from(s.m.control, b, s.m.association, s.m.cfg.Address, stamp)
}

// previousOf are the options of a previous MAAR.
func previousOf(n int, prefix netip.Prefix) []mh.Option {
	return []mh.Option{
		&mh.PreviousMAAR{Address: maar(n), Prefix: prefix},
		&mh.DLIFLinkLocalAddress{Address: netip.MustParseAddr("fe80::2:2")},
		&mh.DLIFLinkLayerAddress{Address: []byte{2, 0, 0, 0, 2, 2}},
	}
}

// served is a MAAR that serves the host, registered, and the host's prefix.
func served(t testing.TB, changes ...func(*Config)) (*solo, netip.Prefix) {
	t.Helper()
	s := alone(t, changes...)
	s.acknowledge(one[*mh.BindingUpdate](s, s.attach()), mh.StatusAccepted)
	s.after(time.Second)
	return s, s.state().Prefixes[0]
}

// state is what is shown of the host.
func (s *solo) state() Info {
	for _, i := range s.m.Nodes(s.now) {
		return i
	}
	return Info{State: "none"}
}
