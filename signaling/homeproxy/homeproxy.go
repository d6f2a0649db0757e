// Package homeproxy is the Distributed Home-Proxy (DHP) of DMIPv6 as a signaling.Machine: a home agent whose home addresses,
// the Distributed Home Addresses (DHoA), are lent for a time to mobile nodes that it never heard of before.
//
// It is a homeagent.Machine with an authority of its own (authority.go), and all Binding Updates are that one's work. A lease
// is its binding; it is made, with the source as care-of address, by the DHoA Request that asks for it (request.go, lend.go).
// The binding of a lease that has ended is remembered, marked Invalid, for the quarantine.
//
// Who a lease belongs to is the pair of SPI and MN-ID. The key that proves it comes with each message in a ticket, made from
// the key that DHP and home agent share. Home agents learn of the DHP by its advertisements (advertisement.go), which tell how
// far it is from what it covers (probe.go).
package homeproxy

import (
	crypto "crypto/rand"
	"math/rand/v2"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/fault"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
)

// The kinds of report, besides those of homeagent for the bindings that leases are.
const (
	DHoARequestReceived         signaling.ReportKind = "dhoa-request-received"
	DHoARequestRefused          signaling.ReportKind = "dhoa-request-refused"
	DHoAResponseSent            signaling.ReportKind = "dhoa-response-sent"
	DHPAdvertisementSent        signaling.ReportKind = "dhp-advertisement-sent"
	DHPAdvertisementAnswered    signaling.ReportKind = "dhp-advertisement-answered"
	DHPAnycastQueryAnswered     signaling.ReportKind = "dhp-anycast-query-answered"
	DHPCoverageRoundTripChanged signaling.ReportKind = "dhp-coverage-round-trip-changed"
)

const (
	// refusalRate bounds answers a second to requests that failed to authenticate or show an expired ticket, and anycastRate
	// those to anycast queries.
	refusalRate = 100
	anycastRate = 100
	// maxStamps and maxAnswers bound what is remembered of DHoA Requests, about 100 octets each.
	maxStamps  = 1 << 17
	maxAnswers = 1 << 17
	// answersFor is how long a request is known again: three tries with doubled waits from 2 s.
	answersFor = 16 * time.Second
)

// Machine is a DHP.
type Machine struct {
	cfg   Config
	inner *homeagent.Machine
	nodes homeagent.Authority
	pools []*pool
	// withheld are home addresses of pools that are not lent: of mobile nodes by name, and the DHP's own.
	withheld map[netip.Addr]bool
	// keys are those shared with home agents, by SPI.
	keys map[uint32]auth.Association

	start time.Time
	// stamps are the last timestamps of DHoA Requests by owner. One from an owner that is not there has to be later than
	// floor, so that nothing is lost by forgetting.
	stamps  recent[string, mh.NTPTime]
	floor   mh.NTPTime
	answers recent[question, answer]

	advertisers []*advertiser
	probes      []*probe
	echoes      uint16
	stopping    bool

	refusals, anycasts fault.Bucket
	counters           Counters
	random             *rand.Rand

	effects []signaling.Effect
}

var _ signaling.Machine = (*Machine)(nil)

// New makes a DHP that starts at now. The error says what Config.Check finds.
func New(cfg Config, now time.Time) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.NATRefresh == 0 {
		cfg.NATRefresh = homeagent.DefaultNATRefresh
	}
	if cfg.Random == nil {
		var seed [32]byte
		crypto.Read(seed[:])
		cfg.Random = rand.New(rand.NewChaCha8(seed))
	}
	m := &Machine{
		cfg:      cfg,
		withheld: make(map[netip.Addr]bool),
		keys:     make(map[uint32]auth.Association),
		start:    now,
		stamps:   newRecent[string, mh.NTPTime](maxStamps, auth.Association{}.Memory()),
		// A request from before a restart is not to be replayed after it.
		floor:    mh.NTPTimeOf(now) - 1,
		answers:  newRecent[question, answer](maxAnswers, answersFor),
		echoes:   uint16(cfg.Random.Uint32()),
		refusals: fault.NewBucket(refusalRate),
		anycasts: fault.NewBucket(anycastRate),
		counters: Counters{Refused: make(homeagent.Refused)},
		random:   cfg.Random,
	}
	for _, p := range cfg.Pools {
		m.pools = append(m.pools, &pool{Pool: p})
	}
	m.withhold(cfg.Address)
	for _, n := range cfg.MobileNodes {
		m.withhold(n.HomeAddress)
	}
	for _, a := range cfg.HomeAgents {
		k := cfg.Associations[a.SPI]
		k.SPI, k.Identifier = a.SPI, ""
		m.keys[a.SPI] = k
		m.advertisers = append(m.advertisers, newAdvertiser(a, k, m.random, now))
	}
	m.probes = newProbes(cfg.Coverage, now)
	inner := cfg.homeAgent()
	m.nodes = inner.Nodes()
	inner.Authority = &authority{Machine: m, nodes: m.nodes}
	var err error
	m.inner, err = homeagent.New(inner, now)
	return m, err
}

func (m *Machine) withhold(a netip.Addr) {
	if p := m.poolOf(a); p != nil {
		m.withheld[p.home(a)] = true
	}
}

func (m *Machine) poolOf(a netip.Addr) *pool {
	for _, p := range m.pools {
		if p.Prefix.Contains(a) {
			return p
		}
	}
	return nil
}

// lendable reports whether home, of pool p, may be lent when nobody has it.
func (m *Machine) lendable(p *pool, home netip.Addr) bool {
	return p.lendable(home) && !m.withheld[home]
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.stamps.expire(now)
	m.answers.expire(now)
	message, own := m.parse(event)
	if own {
		event = signaling.Tick{}
	}
	m.do(m.inner.Handle(now, event)...)
	switch e := event.(type) {
	case signaling.EchoReply:
		m.echoReply(now, e)
	case signaling.Shutdown:
		m.stopping = true
		m.withdraw(now)
	}
	if own {
		m.receive(now, message)
	}
	m.advertise(now)
	m.probe(now)
	return m.take()
}

// incoming is a DMIPv6 message and how it came.
type incoming struct {
	*signaling.Received
	message *mh.DMIPv6
}

// parse finds out whether event is a well-formed DMIPv6 message. All others are the home agent's to take, or to complain
// about.
func (m *Machine) parse(event signaling.Event) (incoming, bool) {
	r, ok := event.(signaling.Received)
	if !ok || len(r.Payload) < 3 || mh.Type(r.Payload[2]) != mh.TypeExperimental {
		return incoming{}, false
	}
	from, to := r.Source, r.Destination
	if r.HomeAddress.IsValid() {
		from = r.HomeAddress
	}
	if r.RoutingHome.IsValid() {
		to = r.RoutingHome
	}
	if !from.IsValid() || !to.IsValid() || !mh.ChecksumValid(r.Payload, from, to) {
		return incoming{}, false
	}
	message, err := mh.Parse(r.Payload)
	d, ok := message.(*mh.DMIPv6)
	return incoming{&r, d}, ok && err == nil
}

func (m *Machine) receive(now time.Time, i incoming) {
	if !fault.Answerable(i.Source) || i.HomeAddress.IsValid() || i.RoutingHome.IsValid() {
		m.counters.Discarded.BadAddresses++
		return
	}
	switch i.message.Subtype {
	case mh.DHoARequest:
		m.request(now, i)
	case mh.DHPAdvertisementAcknowledgement:
		m.acknowledged(now, i)
	case mh.DHPQuery:
		m.query(now, i)
	default:
		m.counters.Discarded.NotForHomeProxy++
	}
}

func (m *Machine) take() []signaling.Effect {
	effects := m.effects
	m.effects = nil
	return effects
}

func (m *Machine) do(e ...signaling.Effect) {
	if m.effects == nil {
		m.effects = e
		return
	}
	m.effects = append(m.effects, e...)
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	next := m.inner.Next()
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, a := range m.advertisers {
		earlier(a.next)
	}
	for _, p := range m.probes {
		if !m.stopping {
			earlier(p.next)
		}
	}
	return next
}

// Restore takes over the leases of the store after a restart, like homeagent.Machine.Restore.
func (m *Machine) Restore(now time.Time) ([]signaling.Effect, error) {
	effects, err := m.inner.Restore(now)
	// What was signed before the restart is older than what it left behind.
	for b := range m.inner.Cache().All() {
		stamp := mh.NTPTime(b.Timestamp)
		if _, _, lease := parseOwner(b.Owner); !lease || m.inner.Clock(now).Sub(stamp.Time()) > auth.DefaultWindow {
			continue
		}
		if last, ok := m.stamps.get(b.Owner); !ok || later(stamp, last) {
			m.stamp(now, b.Owner, stamp)
		}
	}
	return effects, err
}

// Bindings lists leases and other bindings in no particular order.
func (m *Machine) Bindings(now time.Time) []homeagent.Info {
	list := m.inner.Bindings(now)
	for i := range list {
		if spi, identifier, lease := parseOwner(list[i].Identifier); lease {
			list[i].SPI, list[i].Identifier = spi, identifier
		}
	}
	return list
}

// Remove ends the binding of home, or of the delegated prefix that home is in, by the operator's word, and reports whether
// there was one.
func (m *Machine) Remove(now time.Time, home netip.Addr) ([]signaling.Effect, bool) {
	if p := m.poolOf(home); p != nil && !m.nodes.Fixed(home) {
		home = p.home(home)
	}
	return m.inner.Remove(now, home)
}

// valid is the binding of home, if there is one that is not Invalid.
func (m *Machine) valid(home netip.Addr) (binding.Binding, bool) {
	b, ok := m.inner.Cache().Get(host(home))
	return b, ok && b.Flags&binding.Invalid == 0
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }
