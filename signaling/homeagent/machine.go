// Package homeagent is the home agent (RFC 6275 section 10, with RFC 3963 mobile networks and RFC 4285 authentication) as
// a signaling.Machine.
//
// A Binding Update comes in through Handle, is checked for form (errors.go), authenticated (authenticate.go), judged
// (update.go) and, unless the home address is new on a physical home link, registered at once (register.go); else it waits
// in pending until duplicate address detection has answered (duplicate.go). What is different for those that come in UDP
// datagrams is in datagram.go. Bindings live in a binding.Cache, which also
// keeps deregistered ones for a while, marked Invalid, against delayed and replayed Binding Updates.
package homeagent

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// The kinds of report.
const (
	BindingUpdateReceived      signaling.ReportKind = "binding-update-received"
	BindingUpdateRefused       signaling.ReportKind = "binding-update-refused"
	BindingAcknowledgementSent signaling.ReportKind = "binding-acknowledgement-sent"
	BindingCreated             signaling.ReportKind = "binding-created"
	BindingRefreshed           signaling.ReportKind = "binding-refreshed"
	BindingDeleted             signaling.ReportKind = "binding-deleted"
	BindingExpired             signaling.ReportKind = "binding-expired"
	BindingRestored            signaling.ReportKind = "binding-restored"
	BindingRefreshRequestSent  signaling.ReportKind = "binding-refresh-request-sent"
	BindingStoreFailed         signaling.ReportKind = "binding-store-failed"
	DuplicateAddress           signaling.ReportKind = "duplicate-address"
)

// maxDeleteTimeout is MAX_DELETE_BCE_TIMEOUT (RFC 6275 section 12).
const maxDeleteTimeout = 10 * time.Second

const (
	// defaultErrorRate is Config.ErrorRate's default: N and B of RFC 4443 section 2.4 for a small device.
	defaultErrorRate = 10
	// refusalRate bounds acknowledgements of Binding Updates that failed to authenticate, and answers to home agent
	// address discovery, each a second: both are sent to whoever asks.
	refusalRate = 100
)

// Machine is a home agent.
type Machine struct {
	cfg       Config
	authority Authority
	// start and ahead make the clock that timestamps are held against.
	start time.Time
	ahead time.Duration
	// memory is how long after its end a binding's timestamp is remembered.
	memory time.Duration

	cache   *binding.Cache
	pending pendings
	list    homeAgentList
	// advertised is when mobile nodes last got a Mobile Prefix Advertisement, for those of the last second.
	advertised map[netip.Addr]time.Time

	errors, refusals, discoveries fault.Bucket
	counters                      Counters
	random                        *rand.Rand

	effects []signaling.Effect
	// message and request are those in hand: two allocations less for each.
	message signaling.Received
	request request
}

var _ signaling.Machine = (*Machine)(nil)

// New makes a home agent that starts at now. The error says what Config.Check finds.
func New(cfg Config, now time.Time) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.ErrorRate == 0 {
		cfg.ErrorRate = defaultErrorRate
	}
	if cfg.NATRefresh == 0 {
		cfg.NATRefresh = DefaultNATRefresh
	}
	m := &Machine{
		cfg:         cfg,
		start:       now,
		memory:      maxDeleteTimeout,
		cache:       binding.New(now, binding.Limits{Total: cfg.MaxBindings, PerOwner: cfg.MaxBindingsPerNode}, cfg.Store),
		pending:     newPendings(),
		advertised:  make(map[netip.Addr]time.Time),
		errors:      fault.NewBucket(cfg.ErrorRate),
		refusals:    fault.NewBucket(refusalRate),
		discoveries: fault.NewBucket(refusalRate),
		counters:    Counters{Refused: make(Refused)},
		random:      cfg.Random,
	}
	if m.random == nil {
		m.random = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if m.authority = cfg.Authority; m.authority == nil {
		m.authority = m.cfg.Nodes()
	}
	// The authority has them.
	m.cfg.MobileNodes, m.cfg.Associations = nil, nil
	for _, a := range cfg.Associations {
		m.memory = max(m.memory, a.Memory())
	}
	return m, nil
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.expire(now)
	switch e := event.(type) {
	case signaling.Received:
		m.message = e
		m.received(now, &m.message)
		m.message.Payload, m.request.received.Payload = nil, nil
	case signaling.ReceivedICMP:
		m.receivedICMP(now, &e)
	case signaling.DuplicateResult:
		m.duplicateResult(now, e)
	case signaling.UnverifiedHomeAddress:
		m.unverifiedHomeAddress(now, e)
	case signaling.HomeAgentSeen:
		m.list.seen(now, m.cfg.HomeLink, e)
	}
	return m.take()
}

func (m *Machine) take() []signaling.Effect {
	effects := m.effects
	m.effects = nil
	return effects
}

func (m *Machine) do(e signaling.Effect) {
	if m.effects == nil {
		m.effects = make([]signaling.Effect, 0, 6)
	}
	m.effects = append(m.effects, e)
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	next := m.cache.Next()
	for _, t := range [...]time.Time{m.pending.next(), m.list.next()} {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

// expire ends what has come to its end by now.
func (m *Machine) expire(now time.Time) {
	for {
		b, ok := m.cache.Due(now)
		if !ok {
			break
		}
		switch {
		case b.Flags&binding.Invalid != 0:
			m.forget(b.Home)
		case now.Before(b.Expires):
			m.requestRefresh(&b)
		default:
			m.counters.Expired++
			m.end(now, b, BindingExpired)
		}
	}
	m.expirePending(now)
	m.list.expire(now)
}

// requestRefresh sends a Binding Refresh Request (RFC 6275 section 9.5.5) to the home address of a mobile node that has not
// refreshed its binding by itself. Packets for a home registration have no other way than the binding, so that it counts
// as in use.
func (m *Machine) requestRefresh(b *binding.Binding) {
	b.Flags &^= binding.AskRefresh
	m.put(*b)
	home := b.Home.Addr()
	payload, err := mh.Append(nil, &mh.BindingRefreshRequest{})
	if err != nil {
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, home)
	m.counters.RefreshRequests++
	m.do(signaling.Send{Source: m.cfg.Address, Destination: home, Payload: payload, Tunnel: home})
	m.do(signaling.Report{Kind: BindingRefreshRequestSent, Home: home, CareOf: b.CareOf, Sequence: b.Sequence})
}

// Clock is the home agent's time of day for RFC 4285 section 6. It runs on from the start by the monotonic clock, and is
// ahead of the host's after a restart with a clock that went back: were it to follow a step back, all timestamps would be
// older than the last accepted, and no mobile node could refresh. As it is, those whose clock differs resynchronise.
func (m *Machine) Clock(now time.Time) time.Time { return m.start.Add(now.Sub(m.start) + m.ahead) }

// put stores b and reports what the store says. The error is one of the limits'.
func (m *Machine) put(b binding.Binding) error {
	err := m.cache.Put(b)
	return m.storeFailed(b.Home.Addr(), err)
}

func (m *Machine) forget(home netip.Prefix) {
	_, err := m.cache.Delete(home)
	m.storeFailed(home.Addr(), err)
}

// valid is the binding of home, if there is one that is not Invalid.
func (m *Machine) valid(home netip.Addr) (binding.Binding, bool) {
	b, ok := m.cache.Get(host(home))
	if !ok || b.Flags&binding.Invalid != 0 {
		return binding.Binding{}, false
	}
	return b, true
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

// Counters is a copy of the counters.
func (m *Machine) Counters() Counters {
	c := m.counters
	c.Refused = make(Refused, len(m.counters.Refused))
	for s, n := range m.counters.Refused {
		c.Refused[s] = n
	}
	return c
}
