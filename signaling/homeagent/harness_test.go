package homeagent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent  = netip.MustParseAddr("2001:db8:1::1")
	prefix = netip.MustParsePrefix("2001:db8:1::/64")

	// The mobile nodes: signed authenticates, plain does not, router has mobile networks and does not authenticate,
	// roaming authenticates and has no fixed home address.
	signed  = netip.MustParseAddr("2001:db8:1::7")
	plain   = netip.MustParseAddr("2001:db8:1::8")
	router  = netip.MustParseAddr("2001:db8:1::9")
	careOf1 = netip.MustParseAddr("2001:db8:2::11")
	careOf2 = netip.MustParseAddr("2001:db8:3::11")

	network1 = netip.MustParsePrefix("2001:db8:40::/48")
	network2 = netip.MustParsePrefix("2001:db8:41::/48")

	sha1Key   = auth.Association{SPI: 1000, Algorithm: auth.HMACSHA1, Key: auth.Key("0123456789abcdef")}
	sha256Key = auth.Association{SPI: 1001, Algorithm: auth.HMACSHA256, Key: auth.Key("fedcba9876543210")}
)

func config() Config {
	return Config{
		Address:      agent,
		HomePrefixes: []HomePrefix{{Prefix: prefix}},
		MaxLifetime:  10 * time.Minute,
		MaxBindings:  100,
		MobileNodes: []MobileNode{
			{Identifier: "signed@example.net", HomeAddress: signed, SPI: 1000},
			{Identifier: "plain@example.net", HomeAddress: plain, AllowUnauthenticated: true},
			{HomeAddress: router, AllowUnauthenticated: true, MobileNetworks: []netip.Prefix{network1, network2}},
			{Identifier: "roaming@example.net", SPI: 1001},
		},
		Associations: map[uint32]auth.Association{1000: sha1Key, 1001: sha256Key},
	}
}

func physical(c *Config) { c.HomeLink = "eth0" }

// world is a home agent and the time it is there.
type world struct {
	t   testing.TB
	m   *Machine
	now time.Time
}

func start(t testing.TB, changes ...func(*Config)) *world {
	t.Helper()
	c := config()
	for _, change := range changes {
		change(&c)
	}
	m, err := New(c, noon)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t, m, noon}
}

func (w *world) after(d time.Duration) *world {
	w.now = w.now.Add(d)
	return w
}

func (w *world) handle(e signaling.Event) effects { return w.m.Handle(w.now, e) }

func (w *world) tick() effects { return w.handle(signaling.Tick{}) }

// message is a Binding Update in the making. It asks for 60 s from careOf1 with flags A and H.
type message struct {
	home, source netip.Addr
	// atHome leaves the Home Address option out and sends from home.
	atHome bool
	update mh.BindingUpdate
	// key signs, if not nil, at time at.
	key *auth.Association
	at  time.Time
}

func bu(home netip.Addr, sequence uint16, changes ...func(*message)) *message {
	m := &message{
		home: home, source: careOf1,
		update: mh.BindingUpdate{Sequence: sequence, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute},
	}
	for _, change := range changes {
		change(m)
	}
	return m
}

func from(source netip.Addr) func(*message)   { return func(m *message) { m.source = source } }
func lifetime(d time.Duration) func(*message) { return func(m *message) { m.update.Lifetime = d } }
func options(o ...mh.Option) func(*message) {
	return func(m *message) { m.update.Options = append(m.update.Options, o...) }
}
func flags(set func(*mh.BindingUpdate)) func(*message) { return func(m *message) { set(&m.update) } }

func atHome(m *message) { m.atHome, m.update.Lifetime = true, 0 }

func asRouter(m *message) { m.update.MobileRouter = true }

func sign(a auth.Association, at time.Time) func(*message) {
	return func(m *message) { m.key, m.at = &a, at }
}

// received is the message as it arrives.
func (m *message) received(t testing.TB) signaling.Received {
	t.Helper()
	r := signaling.Received{Source: m.source, Destination: agent, HomeAddress: m.home, Link: "eth1"}
	if m.atHome {
		r.Source, r.HomeAddress = m.home, netip.Addr{}
	}
	var err error
	if m.key != nil {
		stamp := mh.NTPTime(0)
		if !m.at.IsZero() {
			stamp = mh.NTPTimeOf(m.at)
		}
		r.Payload, err = auth.Sign(&m.update, *m.key, auth.CareOf(m.update.Options, r.Source), m.home, stamp)
	} else {
		r.Payload, err = mh.Append(nil, &m.update)
	}
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(r.Payload, m.home, agent)
	return r
}

func (w *world) send(m *message) effects {
	w.t.Helper()
	return w.handle(m.received(w.t))
}

// accept sends m and fails unless it is accepted.
func (w *world) accept(m *message) effects {
	w.t.Helper()
	e := w.send(m)
	e.status(w.t, mh.StatusAccepted)
	return e
}

type effects []signaling.Effect

// of returns the effects of one type.
func of[E signaling.Effect](e effects) (all []E) {
	for _, v := range e {
		if x, ok := v.(E); ok {
			all = append(all, x)
		}
	}
	return all
}

// ack is the one Binding Acknowledgement among the effects, and how it is sent; nil if there is none.
func (e effects) ack(t testing.TB) (*mh.BindingAcknowledgement, signaling.Send) {
	t.Helper()
	sends := of[signaling.Send](e)
	if len(sends) == 0 {
		return nil, signaling.Send{}
	}
	if len(sends) > 1 {
		t.Fatalf("%d messages are sent", len(sends))
	}
	s := sends[0]
	to := s.Destination
	if s.RoutingHome.IsValid() {
		to = s.RoutingHome
	}
	if !mh.ChecksumValid(s.Payload, s.Source, to) {
		t.Errorf("checksum of %x is wrong", s.Payload)
	}
	m, err := mh.Parse(s.Payload)
	if err != nil {
		t.Fatal(err)
	}
	a, ok := m.(*mh.BindingAcknowledgement)
	if !ok {
		t.Fatalf("%T is sent", m)
	}
	return a, s
}

// status fails unless the effects have an acknowledgement of that status, which it returns.
func (e effects) status(t testing.TB, want mh.Status) *mh.BindingAcknowledgement {
	t.Helper()
	a, _ := e.ack(t)
	if a == nil {
		t.Fatalf("no acknowledgement, want status %d; %v", want, e)
	}
	if a.Status != want {
		t.Fatalf("status %d, want %d; %v", a.Status, want, of[signaling.Report](e))
	}
	if refused := len(of[signaling.Bind](e)) == 0 && slices.ContainsFunc(of[signaling.Report](e), func(r signaling.Report) bool {
		return r.Kind == BindingUpdateRefused
	}); refused != (want >= 128) {
		t.Errorf("status %d with effects %v", want, e)
	}
	return a
}

// silent fails if there are effects.
func (e effects) silent(t testing.TB) {
	t.Helper()
	if len(of[signaling.Send](e)) > 0 || len(of[signaling.Bind](e)) > 0 || len(of[signaling.ProbeDuplicate](e)) > 0 {
		t.Errorf("%v, want silence", e)
	}
}

// kinds are the kinds of the reports.
func (e effects) kinds() (k []signaling.ReportKind) {
	for _, r := range of[signaling.Report](e) {
		k = append(k, r.Kind)
	}
	return k
}

// bound fails unless home is bound to careOf with that much time left; an invalid careOf means not bound.
func (w *world) bound(home, careOf netip.Addr, left time.Duration) {
	w.t.Helper()
	for _, b := range w.m.Bindings(w.now) {
		if b.Home == home {
			if b.CareOf != careOf || b.Left != left {
				w.t.Errorf("%v is bound to %v for %v, want %v for %v", home, b.CareOf, b.Left, careOf, left)
			}
			return
		}
	}
	if careOf.IsValid() {
		w.t.Errorf("%v is not bound", home)
	}
}

var nowhere netip.Addr
