package database

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// The kinds of report. Peer is the router, Detail begins with the mobile node's identifier.
const (
	UpdateReceived          signaling.ReportKind = "proxy-binding-update-received"
	UpdateSent              signaling.ReportKind = "proxy-binding-update-sent"
	AcknowledgementReceived signaling.ReportKind = "proxy-binding-acknowledgement-received"
	AcknowledgementSent     signaling.ReportKind = "proxy-binding-acknowledgement-sent"
	SessionCreated          signaling.ReportKind = "mobility-session-created"
	SessionMoved            signaling.ReportKind = "mobility-session-moved"
	SessionEnded            signaling.ReportKind = "mobility-session-ended"
	// PrefixEnded has the prefix's first address in Home, and where it was anchored in Peer.
	PrefixEnded signaling.ReportKind = "anchored-prefix-ended"
	// Unanswered is of a P-MAAR that was given up.
	Unanswered signaling.ReportKind = "previous-maar-unanswered"
	// StoreFailed is about the session store.
	StoreFailed signaling.ReportKind = "session-store-failed"
)

// home stands for the home address in what is authenticated: there is none.
var home = netip.IPv6Unspecified()

// router is a MAAR or mobile access gateway and how to speak with it.
type router struct {
	Router
	association auth.Association
	// clock stamps PBUs to it.
	clock auth.Clock
}

// Machine is a Central Mobility Database. It takes MH types 5 and 6 with flag P and nothing else.
type Machine struct {
	cfg       Config
	routers   []router
	byAddress map[netip.Addr]uint16
	nodes     map[string]*Node
	// reserved are the home network prefixes of Nodes, by key.
	reserved map[uint64]string
	// start is 0 on the machine's clock.
	start time.Time

	sessions map[string]*session
	// prefixes has whose each prefix is.
	prefixes map[uint64]*session
	count    int
	due      schedule[*session]

	retries schedule[*exchange]
	ends    map[peer]*exchange
	// outgoing wait their turn; the next goes at paced at the earliest.
	outgoing queue
	paced    time.Duration
	sendings sendings

	stamps           stamps
	errors, refusals fault.Bucket
	counters         Counters
	effects          []signaling.Effect
}

var _ signaling.Machine = (*Machine)(nil)

// New makes a database that starts at now, without sessions: see Restore. The error says what Config.Check finds.
func New(cfg Config, now time.Time) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m := &Machine{
		cfg:       cfg,
		byAddress: make(map[netip.Addr]uint16),
		nodes:     make(map[string]*Node),
		reserved:  make(map[uint64]string),
		start:     now,
		sessions:  make(map[string]*session),
		prefixes:  make(map[uint64]*session),
		ends:      make(map[peer]*exchange),
		sendings:  newRecent[[maxUpdateRate]time.Duration](updateWindow),
		errors:    fault.NewBucket(cfg.ErrorRate),
		refusals:  fault.NewBucket(cfg.ErrorRate),
		counters:  Counters{Refused: make(Refused)},
	}
	var memory time.Duration
	for i, r := range cfg.Routers {
		a := cfg.Associations[r.SPI]
		// The MN-ID of messages is the mobile node's, not one of the association.
		a.SPI, a.Identifier = r.SPI, ""
		memory = max(memory, a.Memory())
		m.routers = append(m.routers, router{Router: r, association: a})
		m.byAddress[r.Address] = uint16(i)
	}
	m.stamps = newRecent[mh.NTPTime](memory)
	for i := range m.cfg.Nodes {
		n := &m.cfg.Nodes[i]
		id := key(&n.Identifier)
		m.nodes[id] = n
		if p, ok := prefixOf(n.Prefix); ok {
			m.reserved[p] = id
		}
	}
	return m, nil
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.advance(now)
	if r, ok := event.(signaling.Received); ok {
		m.received(now, &r)
	}
	return m.finish(now)
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	at, some := time.Duration(0), false
	earlier := func(d time.Duration) {
		if !some || d < at {
			at, some = d, true
		}
	}
	if s, ok := m.due.first(); ok {
		earlier(s.due)
	}
	if x, ok := m.retries.first(); ok {
		earlier(x.due)
	}
	if m.outgoing.len() > 0 {
		earlier(m.paced)
	}
	if !some {
		return time.Time{}
	}
	return m.start.Add(at)
}

// Len is the number of sessions.
func (m *Machine) Len() int { return m.count }

// at is now on the machine's clock.
func (m *Machine) at(now time.Time) time.Duration { return now.Sub(m.start) }

// clock is the time of day.
func (m *Machine) clock(now time.Time) time.Time {
	if m.cfg.Clock != nil {
		return m.cfg.Clock(now)
	}
	return m.start.Add(now.Sub(m.start))
}

// advance does what has come due by now.
func (m *Machine) advance(now time.Time) {
	at := m.at(now)
	for s, ok := m.due.first(); ok && s.due <= at; s, ok = m.due.first() {
		if s.expires <= at {
			if !s.leaving {
				m.counters.Expired++
			}
			m.end(now, s, "it expired")
			continue
		}
		m.aggregated(now, s)
	}
	for x, ok := m.retries.first(); ok && x.due <= at; x, ok = m.retries.first() {
		m.retries.remove(x)
		m.again(now, x)
	}
}

// finish sends what may be sent and hands over the effects.
func (m *Machine) finish(now time.Time) []signaling.Effect {
	m.pace(now)
	effects := m.effects
	m.effects = nil
	return effects
}

func (m *Machine) do(e signaling.Effect) {
	if m.effects == nil {
		m.effects = make([]signaling.Effect, 0, 4)
	}
	m.effects = append(m.effects, e)
}

// address is a router's.
func (m *Machine) address(router uint16) netip.Addr {
	if router == own {
		return m.cfg.Address
	}
	return m.routers[router].Address
}

// ended reports the end of a prefix.
func (m *Machine) ended(s *session, a *anchor, why string) {
	m.do(signaling.Report{
		Kind: PrefixEnded, Home: prefixFrom(a.prefix).Addr(), Peer: m.address(a.router),
		Detail: fmt.Sprintf("%s: %s", text(s.id), why),
	})
}
