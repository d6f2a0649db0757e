package directory

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent  = netip.MustParseAddr("2001:db8:1::1")
	careOf = netip.MustParseAddr("2001:db8:2::11")
	dhp1   = netip.MustParseAddr("2001:db8:d1::1")
	dhp2   = netip.MustParseAddr("2001:db8:d2::1")

	mnKey  = auth.Association{SPI: 1000, Algorithm: auth.HMACSHA1, Key: auth.Key("0123456789abcdef"), Identifier: "mn@example.net"}
	mn2Key = auth.Association{SPI: 1001, Algorithm: auth.HMACSHA256, Key: auth.Key("fedcba9876543210"), Identifier: "mn2@example.net"}
	kd1    = auth.Association{SPI: 2001, Algorithm: auth.HMACSHA256, Key: auth.Key("0123456789abcdef0123456789abcdef")}
	kd2    = auth.Association{SPI: 2002, Algorithm: auth.HMACSHA256, Key: auth.Key("fedcba9876543210fedcba9876543210")}
	// shared is nobody's own.
	shared = auth.Association{SPI: 1100, Algorithm: auth.HMACSHA256, Key: auth.Key("shared by all"), Identifier: "any@example.net"}
)

func config() Config {
	everywhere := []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	return Config{
		Address:      agent,
		Associations: map[uint32]auth.Association{1000: mnKey, 1001: mn2Key, 1100: shared, 2001: kd1, 2002: kd2},
		MobileNodes:  []MobileNode{{"mn@example.net", 1000}, {"mn2@example.net", 1001}},
		Proxies: []Proxy{
			{Address: dhp1, SPI: 2001, Coverage: everywhere},
			{Address: dhp2, SPI: 2002, Coverage: everywhere},
		},
	}
}

// world is a directory and the time it is there.
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

// received is d as it arrives from source, signed by a at time at, or unsigned if a has no key.
func received(t testing.TB, d *mh.DMIPv6, a auth.Association, source netip.Addr, at time.Time) signaling.Received {
	t.Helper()
	var b []byte
	var err error
	if a.Key == nil {
		b, err = mh.Append(nil, d)
	} else {
		stamp := mh.NTPTime(0)
		if !at.IsZero() {
			stamp = mh.NTPTimeOf(at)
		}
		b, err = auth.Sign(d, a, source, home, stamp)
	}
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, source, agent)
	return signaling.Received{Source: source, Destination: agent, Payload: b, Link: "eth1"}
}

// send has d arrive now.
func (w *world) send(d *mh.DMIPv6, a auth.Association, source netip.Addr) effects {
	w.t.Helper()
	return w.handle(received(w.t, d, a, source, w.now))
}

func (w *world) handle(e signaling.Event) effects { return w.m.Handle(w.now, e) }

func query(cns ...string) *mh.DMIPv6 {
	d := &mh.DMIPv6{Subtype: mh.DHPQuery, Sequence: 7}
	for _, cn := range cns {
		d.Options = append(d.Options, &mh.CNAddress{Address: netip.MustParseAddr(cn)})
	}
	return d
}

// advertisement is one for 60 s of dhp.
func advertisement(dhp netip.Addr, information ...mh.DHPInformation) *mh.DMIPv6 {
	d := &mh.DMIPv6{Subtype: mh.DHPAdvertisement, Sequence: 9, Lifetime: time.Minute}
	for _, o := range information {
		o.Address = dhp
		d.Options = append(d.Options, &o)
	}
	return d
}

// near is information about coverage, without preference, load or RTT.
func near(coverage string) mh.DHPInformation {
	return mh.DHPInformation{Coverage: netip.MustParsePrefix(coverage), RTT: -1}
}

// advertise has it accepted.
func (w *world) advertise(a auth.Association, dhp netip.Addr, information ...mh.DHPInformation) {
	w.t.Helper()
	w.send(advertisement(dhp, information...), a, dhp).status(w.t, a, mh.StatusAccepted)
}

// ask is the reply to a query about cns.
func (w *world) ask(want mh.Status, cns ...string) *mh.DMIPv6 {
	w.t.Helper()
	return w.after(time.Second).send(query(cns...), mnKey, careOf).status(w.t, mnKey, want)
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

func (e effects) kinds() (k []signaling.ReportKind) {
	for _, r := range of[signaling.Report](e) {
		k = append(k, r.Kind)
	}
	return k
}

// status fails unless the effects have one message, with that status, authentic by a; it returns it.
func (e effects) status(t testing.TB, a auth.Association, want mh.Status) *mh.DMIPv6 {
	t.Helper()
	sends := of[signaling.Send](e)
	if len(sends) != 1 {
		t.Fatalf("%d messages, want one with status %d: %v", len(sends), want, e)
	}
	s := sends[0]
	if s.Source != agent || s.HomeAddress.IsValid() || s.RoutingHome.IsValid() || !mh.ChecksumValid(s.Payload, agent, s.Destination) {
		t.Errorf("sent as %+v", s)
	}
	m, err := mh.Parse(s.Payload)
	if err != nil {
		t.Fatal(err)
	}
	lookup := func(spi uint32) (auth.Association, bool) { return a, spi == a.SPI }
	if _, err := auth.Verify(s.Payload, m, lookup, s.Destination, home); err != nil {
		t.Error(err)
	}
	d, ok := m.(*mh.DMIPv6)
	if !ok || d.Status != want {
		t.Fatalf("%+v, want status %d; %v", m, want, of[signaling.Report](e))
	}
	return d
}

// silent fails if something is sent.
func (e effects) silent(t testing.TB) {
	t.Helper()
	if len(of[signaling.Send](e)) > 0 || len(of[signaling.SendParameterProblem](e)) > 0 {
		t.Errorf("%v, want silence", e)
	}
}

// told are the DHPs and coverages of a reply.
func told(d *mh.DMIPv6) (all []string) {
	for _, o := range mh.FindAll[*mh.DHPInformation](d.Options) {
		all = append(all, o.Address.String()+" "+o.Coverage.String())
	}
	return all
}
