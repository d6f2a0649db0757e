// Package accessrouter is the mobility anchor and access router (MAAR, RFC 8885) as a signaling.Machine: it gives each mobile
// node on its access links a prefix of its own and registers it with the central mobility database (CMD); as serving MAAR it
// binds the prefixes of the mobile node's previous MAARs to the link, as previous MAAR its own to a tunnel to the serving one.
// With Config.LocalMobilityAnchor it is a plain mobile access gateway (RFC 5213 section 6) instead.
//
// There is one session for each mobile node (session.go). The access link's events come in by attach.go; requests to the CMD
// and their repetition are in request.go and update.go; messages come in by receive.go, acknowledgements go to
// acknowledgement.go and the CMD's updates to previous.go. anchors.go keeps the prefixes that others anchor, pool.go this
// MAAR's own. The messages are those that package database describes.
//
// A session ends with de-registration (expiry.go), which waits for the end of its lifetime: until then the mobile node may turn
// up at another MAAR and the CMD says so.
package accessrouter

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/fault"
)

// The kinds of report. Peer is the CMD or MAAR that it is about, Home the first address of the prefix.
const (
	Attached                signaling.ReportKind = "maar-attached"
	Detached                signaling.ReportKind = "maar-detached"
	NotAuthorized           signaling.ReportKind = "maar-not-authorized"
	Contended               signaling.ReportKind = "maar-contended"
	PoolExhausted           signaling.ReportKind = "maar-pool-exhausted"
	LocalService            signaling.ReportKind = "maar-local-service"
	UpdateSent              signaling.ReportKind = "proxy-binding-update-sent"
	UpdateReceived          signaling.ReportKind = "proxy-binding-update-received"
	AcknowledgementSent     signaling.ReportKind = "proxy-binding-acknowledgement-sent"
	AcknowledgementReceived signaling.ReportKind = "proxy-binding-acknowledgement-received"
	Denied                  signaling.ReportKind = "maar-denied"
	AnchorBound             signaling.ReportKind = "maar-anchor-bound"
	AnchorReleased          signaling.ReportKind = "maar-anchor-released"
	BecamePrevious          signaling.ReportKind = "maar-became-previous"
	Removed                 signaling.ReportKind = "maar-removed"
	StoreFailed             signaling.ReportKind = "maar-store-failed"
)

const (
	// complaintRate bounds the reports and answers a second about what strangers do.
	complaintRate = 10
	// forgetInterval is how often the pool is looked through for prefixes to forget.
	forgetInterval = time.Minute
)

// unspecified stands for the home address in what is authenticated: there is none.
var unspecified = netip.IPv6Unspecified()

// Machine is a MAAR.
type Machine struct {
	cfg Config
	// control is who PBUs go to: the CMD, or the local mobility anchor if gateway.
	control     netip.Addr
	association auth.Association
	gateway     bool
	peers       map[netip.Addr]Peer
	nodes       map[signaling.LinkLayerAddress]*Node

	sessions map[identity]*session
	byMAC    map[signaling.LinkLayerAddress]*session
	// anchored are the prefixes of others that are bound here.
	anchored map[netip.Prefix]*session
	pool     pool
	forgetAt time.Time
	timers   timers

	// start makes the clock that timestamps are held against.
	start      time.Time
	clock      auth.Clock
	seen       memory
	sequence   uint16
	complaints fault.Bucket
	stopping   bool
	counters   Counters
	effects    []signaling.Effect
}

var _ signaling.Machine = (*Machine)(nil)

// New makes a MAAR that starts at now. The error says what Config.Check finds.
func New(cfg Config, now time.Time) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg.fill()
	cfg.Lifetime = cfg.Lifetime.Truncate(lifetimeUnit)
	m := &Machine{
		cfg: cfg, peers: make(map[netip.Addr]Peer), nodes: make(map[signaling.LinkLayerAddress]*Node),
		sessions: make(map[identity]*session), byMAC: make(map[signaling.LinkLayerAddress]*session),
		anchored: make(map[netip.Prefix]*session), pool: newPool(&cfg), start: now, sequence: uint16(now.UnixMilli()),
		complaints: fault.NewBucket(complaintRate), counters: Counters{Refused: make(Refused), RefusedByControl: make(Refused)},
	}
	control, spi := cfg.control()
	m.control, m.association, m.gateway = control, cfg.Associations[spi], cfg.LocalMobilityAnchor.IsValid()
	m.association.SPI, m.association.Identifier = spi, ""
	for _, p := range cfg.Peers {
		m.peers[p.Address] = p
	}
	for i := range m.cfg.Nodes {
		m.nodes[m.cfg.Nodes[i].LinkLayer] = &m.cfg.Nodes[i]
	}
	m.seen = newMemory(cfg.MaxNodes * 2)
	for _, a := range cfg.Associations {
		m.seen.keep = max(m.seen.keep, a.Memory())
	}
	return m, nil
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.tick(now)
	switch e := event.(type) {
	case signaling.Received:
		m.received(now, &e)
	case signaling.MobileNodeAttached:
		m.attached(now, e)
	case signaling.MobileNodeDetached:
		m.detached(now, e)
	case signaling.PrefixIdle:
		m.idle(now, e)
	case signaling.Shutdown:
		m.shutdown(now)
	}
	effects := m.effects
	m.effects = nil
	return effects
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	next := m.timers.next()
	if next.IsZero() || !m.forgetAt.IsZero() && m.forgetAt.Before(next) {
		return m.forgetAt
	}
	return next
}

// Stopped says that the machine has ended its sessions after Shutdown, as far as it does.
func (m *Machine) Stopped() bool {
	if !m.stopping {
		return false
	}
	for _, s := range m.sessions {
		if s.state == leaving {
			return false
		}
	}
	return true
}

// tick does what is due at now.
func (m *Machine) tick(now time.Time) {
	for s := m.timers.due(now); s != nil; s = m.timers.due(now) {
		m.elapsed(now, s)
		m.schedule(s)
	}
	if !m.forgetAt.IsZero() && !now.Before(m.forgetAt) {
		m.forgetAt = time.Time{}
		for _, prefix := range m.pool.forget(now) {
			m.erase(prefix)
		}
		m.watchPool(now)
	}
}

// watchPool has the pool looked through while prefixes wait there to be forgotten.
func (m *Machine) watchPool(now time.Time) {
	if m.forgetAt.IsZero() && len(m.pool.holders) > 0 {
		m.forgetAt = now.Add(forgetInterval)
	}
}

func (m *Machine) do(e signaling.Effect) { m.effects = append(m.effects, e) }

// timeOfDay is the host's clock at the start, running on by its monotonic clock.
func (m *Machine) timeOfDay(now time.Time) time.Time { return m.start.Add(now.Sub(m.start)) }
