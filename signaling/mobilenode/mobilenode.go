// Package mobilenode is the mobile node role (RFC 6275 section 11): it keeps one home address registered with one home
// agent through the best uplink there is, and at home sees to it that the home agent steps aside.
//
// A message's story: an Attachment says where an uplink is now (package movement makes them). The machine chooses an
// uplink, compares the care-of address there with the one in its Binding Update List entry, and if they differ sends a
// Binding Update in the same instant. When the home agent has a binding already, the tunnel moves to the new care-of
// address right behind that update: packets that leave after it take the same path in the same order, so the home agent
// has the new binding when it checks their source. When it has none, the tunnel waits for the acknowledgement.
//
// From an uplink there may be several ways to the home agent (Places): natively, or in UDP datagrams over IPv6 or IPv4 (RFC
// 5555). Three updates without an answer have the next one tried, and what did not work is remembered until the uplink is
// in another network. Without a binding they take turns.
package mobilenode

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// Config is what a mobile node is told by its operator.
type Config struct {
	HomeAddress netip.Addr
	HomePrefix  netip.Prefix
	// HomeAgent is the home agent's address; invalid if it is to be discovered (RFC 6275 section 11.4.1).
	HomeAgent netip.Addr
	// Identifier is a network access identifier that goes into Binding Updates (RFC 4283); empty sends none.
	Identifier string
	// Lifetime is what Binding Updates ask for, 4 s to 262,140 s.
	Lifetime time.Duration
	// LinkLocalCompatible sets the L flag: the link-local address has the home address's interface identifier.
	LinkLocalCompatible bool
	// FirstRegistrationTimeout is InitialBindackTimeoutFirstReg (section 13); 0 is its default of 1.5 s.
	FirstRegistrationTimeout time.Duration
	// Association is shared with the home agent; nil only with AllowUnauthenticated.
	Association          *auth.Association
	AllowUnauthenticated bool
	// Prefix is what is bound in place of the home address alone, if the anchor lent the whole of HomePrefix; invalid
	// otherwise. There is no home link then, nor is there one where HomePrefix has 128 bits.
	Prefix netip.Prefix
	// Options go into every Binding Update.
	Options mh.Options
	// Clock is the home agent's as far as it is known already.
	Clock auth.Clock
	// Transport is how the home agent is reached; over UDP it is by one of Endpoints, IPv6 or IPv4, and its address is then
	// known. Auto without endpoints is native until Reach brings some.
	Transport Transport
	Endpoints []netip.AddrPort
	// Limit is shared by the machines that register with one home agent; nil gives the machine its own, which counts all
	// home agents as one.
	Limit *Limit
	// Random gives random numbers, for the first sequence number and for identifiers of discovery; nil makes them 0.
	Random func() uint16
}

// Machine is a mobile node. It implements signaling.Machine.
type Machine struct {
	cfg  Config
	home netip.Prefix
	// retired is the association before the present one: what was signed with it may still be answered.
	retired *auth.Association

	uplinks []uplink
	// preferred is the uplink that an operator asked for; empty if none.
	preferred string
	place     place
	agents    agents

	entry   entry
	bound   bound
	request request
	// yielded is the request of the turn before, as long as its answer may come.
	yielded request
	// sequence is that of the last Binding Update sent.
	sequence uint16
	clock    auth.Clock
	rtt      time.Duration
	// promptAfter is before when nobody's prompting makes the node send.
	promptAfter time.Time

	refusal  refusal
	homeLink homeLink
	// ticketWanted says that nothing is to be sent before Renew.
	ticketWanted bool

	stopping, stopped bool
	lastError         string
	// faults bounds the answers to messages that cannot be read.
	faults   fault.Bucket
	counters Counters
	effects  []signaling.Effect
}

// New checks cfg and returns a mobile node that is attached nowhere.
func New(cfg Config) (*Machine, error) {
	switch {
	case !cfg.HomeAddress.Is6() || !cfg.HomeAddress.IsGlobalUnicast():
		return nil, fmt.Errorf("home address %s is not a global IPv6 address", cfg.HomeAddress)
	case !cfg.HomePrefix.IsValid() || !cfg.HomePrefix.Contains(cfg.HomeAddress):
		return nil, fmt.Errorf("home address %s is not in the home prefix %s", cfg.HomeAddress, cfg.HomePrefix)
	case cfg.HomeAgent.IsValid() && !cfg.HomeAgent.Is6():
		return nil, fmt.Errorf("home agent %s is not an IPv6 address", cfg.HomeAgent)
	case cfg.Prefix.IsValid() && !cfg.Prefix.Contains(cfg.HomeAddress):
		return nil, fmt.Errorf("home address %s is not in the prefix %s that is lent", cfg.HomeAddress, cfg.Prefix)
	case cfg.Lifetime < mh.LifetimeUnit || cfg.Lifetime > mh.MaxLifetime:
		return nil, fmt.Errorf("lifetime %v is not between %v and %v", cfg.Lifetime, mh.LifetimeUnit, mh.MaxLifetime)
	case cfg.Transport > Auto:
		return nil, fmt.Errorf("%s is not known", cfg.Transport)
	case cfg.Transport != Native && !cfg.HomeAgent.IsValid():
		return nil, errors.New("the home agent's address is needed for the UDP transport: its discovery is native")
	case cfg.Association == nil && !cfg.AllowUnauthenticated:
		return nil, errors.New("there is no security association with the home agent, and going without is not allowed")
	}
	if cfg.FirstRegistrationTimeout <= 0 {
		cfg.FirstRegistrationTimeout = firstRegistrationTimeout
	}
	if cfg.Limit == nil {
		cfg.Limit = new(Limit)
	}
	cfg.HomePrefix = cfg.HomePrefix.Masked()
	home := netip.PrefixFrom(cfg.HomeAddress, 128)
	if cfg.Prefix.IsValid() {
		home = cfg.Prefix.Masked()
	}
	m := &Machine{cfg: cfg, home: home, sequence: random(cfg), clock: cfg.Clock, faults: fault.NewBucket(faultRate)}
	m.agents.begin(cfg.HomeAgent)
	return m, nil
}

// faultRate is how many messages that cannot be read are answered a second (RFC 4443 section 2.4 f).
const faultRate = 10

func random(cfg Config) uint16 {
	if cfg.Random == nil {
		return 0
	}
	return cfg.Random()
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.effects = nil
	if m.stopped {
		return nil
	}
	switch e := event.(type) {
	case signaling.Attachment:
		m.handleAttachment(e)
	case signaling.Received:
		m.handleReceived(now, &e)
	case signaling.ReceivedICMP:
		m.handleICMP(now, &e)
	case signaling.DuplicateResult:
		m.handleDuplicateResult(now, e)
	case signaling.UnverifiedHomeAddress:
		// This node keeps no bindings that could bear the option out (RFC 6275 section 9.3.1).
		if fault.Answerable(e.Source) && m.faults.Take(now) {
			m.emit(fault.BindingError(mh.UnknownBinding, e.Source, e.Destination, e.HomeAddress))
		}
	case signaling.Shutdown:
		m.stopping = true
	}
	if m.stopped {
		return m.effects // by an acknowledgement
	}
	m.expire(now)
	m.move(now)
	m.pursue(now)
	return m.effects
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	if m.stopped {
		return time.Time{}
	}
	var next time.Time
	at := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	at(m.request.at)
	at(m.agents.at)
	if m.entry.held {
		at(m.entry.until)
		if !m.request.active() && m.place.away() && m.agents.current.IsValid() {
			at(later(m.entry.refreshAt, m.refusal.until))
		}
	}
	if m.place.valid() && !m.request.active() {
		at(m.refusal.until)
	}
	at(m.homeLink.probeAt)
	for i := range m.uplinks {
		at(m.uplinks[i].suspectUntil)
	}
	return next
}

// Stopped says that Shutdown has been seen through: the home agent has no binding, or the node cannot tell it.
func (m *Machine) Stopped() bool { return m.stopped }

func (m *Machine) emit(e signaling.Effect) { m.effects = append(m.effects, e) }

// report adds to the trace what concerns this home address, its home agent and the uplink in use.
func (m *Machine) report(r signaling.Report) {
	r.Home = m.cfg.HomeAddress
	if !r.Peer.IsValid() {
		r.Peer = m.agents.current
	}
	if !r.CareOf.IsValid() {
		r.CareOf = m.place.CareOf
	}
	if r.Link == "" {
		r.Link = m.place.Uplink
	}
	m.emit(r)
}

// fail reports something that went wrong and keeps it for the status.
func (m *Machine) fail(r signaling.Report) {
	m.lastError = r.Detail
	m.report(r)
}

// handleReceived takes a Mobility Header message. What cannot be read is answered whoever it comes from (RFC 6275 sections
// 9.2 and 11.2). Else only the home agent's are of interest: this node has no binding with anybody else, and a Binding
// Error or Binding Refresh Request from somebody without one is to be ignored (sections 11.3.6, 11.7.4).
func (m *Machine) handleReceived(now time.Time, r *signaling.Received) {
	source, destination := r.Source, r.Destination
	if r.HomeAddress.IsValid() {
		source = r.HomeAddress
	}
	if r.RoutingHome.IsValid() {
		destination = r.RoutingHome
	}
	if !mh.ChecksumValid(r.Payload, source, destination) {
		m.counters.Malformed++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Malformed++
		if a := fault.Answer(r, err); a != nil && m.faults.Take(now) {
			m.emit(a)
		}
		return
	}
	if r.Source != m.agents.current || r.HomeAddress.IsValid() || r.Outer.IsValid() && r.RoutingHome.IsValid() {
		m.counters.Ignored++
		return
	}
	if r.Outer != m.request.way.endpoint && !(m.yielded.active() && r.Outer == m.yielded.way.endpoint) && r.Outer != m.bound.way.endpoint {
		m.counters.Ignored++ // neither a way that it was asked by nor the tunnel's
		return
	}
	switch b := message.(type) {
	case *mh.BindingAcknowledgement:
		if destination != m.cfg.HomeAddress {
			m.counters.Ignored++
			return
		}
		m.handleAcknowledgement(now, b, r)
	case *mh.BindingError:
		m.handleBindingError(now, b)
	case *mh.BindingRefreshRequest:
		m.handleRefreshRequest(now)
	default:
		m.counters.Ignored++
	}
}
