// Package dmipv6 is the mobile node's side of DMIPv6: an anchor near the correspondent for every service flow that wants
// one. It runs beside the mobilenode.Machine of the home address, which it does not touch, and is handed the same events.
//
// A flow's story (procedure 1): forwarding holds a new flow's packets and says FlowHeld. The machine looks in its cache for
// a coverage prefix that the correspondent is in, else asks the home agent with a DHP Query. Of the DHPs near it one is
// selected; if no address of it is in hand, a DHoA Request asks for one, which the DHP lends and binds in one round trip.
// From then on a mobilenode.Machine of its own keeps that address registered, as if it were a home address and the DHP its
// home agent. Decide lets the flow go, and Choose has the next ones to the same prefix go without being held.
//
// A move's story (procedure 2): each Attachment goes to every address's machine in the same call, so that all Binding
// Updates leave at once and recover from loss by themselves. The first acknowledgement starts a burst of Echo Requests to
// every anchor in use; each profile's flows on each anchor are judged by it and end with Terminate if they fall short.
//
// Whatever goes wrong, a flow goes by the home address after Config.HoldTime at the latest.
package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// Machine is the mobile node's part in DMIPv6. It implements signaling.Machine.
type Machine struct {
	cfg  Config
	id   *mh.MobileNodeIdentifier
	home signaling.HomeRegistration

	attachments []signaling.Attachment
	// overUDP says that some DHP may be reached over UDP, from an address of the host's.
	overUDP bool
	// careOf is an address of where this node is; invalid if it is nowhere. epoch counts how often the last one, lastCareOf,
	// changed.
	careOf, lastCareOf netip.Addr
	epoch              int

	directory directory
	anycast   anycast
	proxies   map[netip.Addr]*proxy
	coverage  map[netip.Prefix]*coverage
	requests  []*request
	anchors   []*anchor
	waiting   []*waiting
	probes    probes

	published map[choice]published
	hinted    map[hint]bool
	decisions decisions

	// reconsider says that choices and waiting flows have to be looked at again.
	reconsider bool
	// expiry is when the first coverage entry expires; zero if none does.
	expiry time.Time

	stopping, stopped bool
	counters          Counters
	effects           []signaling.Effect
}

// New checks cfg and returns a machine that knows of no registration.
func New(cfg Config) (*Machine, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, id: &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: cfg.Identifier},
		proxies: map[netip.Addr]*proxy{}, coverage: map[netip.Prefix]*coverage{},
		published: map[choice]published{}, hinted: map[hint]bool{}, reconsider: true,
	}
	m.decisions.begin()
	m.probes.begin(m.random(), m.random())
	m.overUDP = cfg.Transport != mobilenode.Native
	for i := range cfg.Proxies {
		m.addStatic(&cfg.Proxies[i])
		m.overUDP = m.overUDP || cfg.Proxies[i].Transport != mobilenode.Native
	}
	return m, nil
}

func (m *Machine) random() uint16 {
	if m.cfg.Random == nil {
		return 0
	}
	return m.cfg.Random()
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.effects = nil
	if m.stopped {
		if e, ok := event.(signaling.FlowHeld); ok {
			m.emit(signaling.Decide{Flow: e.Flow, Address: e.Key.Local})
		}
		return m.effects
	}
	switch e := event.(type) {
	case signaling.Attachment:
		m.handleAttachment(now, e)
	case signaling.HomeRegistration:
		m.handleHomeRegistration(now, e)
	case signaling.Received:
		m.handleReceived(now, &e)
	case signaling.ReceivedICMP:
		m.handleICMP(now, &e)
	case signaling.EchoReply:
		m.handleEchoReply(now, e)
	case signaling.FlowHeld:
		m.handleFlowHeld(now, e)
	case signaling.AddressUse:
		m.handleAddressUse(now, e)
	case signaling.Shutdown:
		m.shutdown(now)
	}
	m.tick(now)
	return m.effects
}

// tick does what is due.
func (m *Machine) tick(now time.Time) {
	m.expireCoverage(now)
	m.tickAnchors(now)
	m.tickProbes(now)
	m.tickProxies(now)
	m.tickDirectory(now)
	m.tickRequests(now)
	m.tickAnycast(now)
	// What is decided may send a request, and its failure is another thing to decide on.
	for m.reconsider {
		m.reconsider = false
		m.advanceAll(now)
		m.flushQueries(now)
		m.tickRequests(now)
		m.reconcile(now)
	}
	m.expireWaiting(now)
	m.conclude()
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	if m.stopped {
		return time.Time{}
	}
	var n next
	n.at(m.expiry)
	m.nextAnchors(&n)
	m.nextProbes(&n)
	m.nextProxies(&n)
	m.nextRequests(&n)
	m.nextDirectory(&n)
	n.at(m.anycast.until)
	if len(m.waiting) > 0 {
		n.at(m.waiting[0].until)
	}
	return n.time
}

// next is the earliest of several times.
type next struct{ time time.Time }

func (n *next) at(t time.Time) {
	if !t.IsZero() && (n.time.IsZero() || t.Before(n.time)) {
		n.time = t
	}
}

// Stopped says that Shutdown has been seen through: what was idle is given back, and the rest is in the store.
func (m *Machine) Stopped() bool { return m.stopped }

func (m *Machine) emit(e signaling.Effect) { m.effects = append(m.effects, e) }

func (m *Machine) report(r signaling.Report) {
	if !r.Home.IsValid() {
		r.Home = m.cfg.HomeAddress
	}
	m.emit(r)
}

func (m *Machine) handleHomeRegistration(now time.Time, e signaling.HomeRegistration) {
	before := m.home
	if m.home = e; e == before {
		return
	}
	if e.HomeAgent != before.HomeAgent {
		m.directory.forget()
	}
	if e.Registered && (!before.Registered || e.CareOf != before.CareOf) {
		m.directory.unusableUntil = time.Time{}
	}
	m.relocate(now)
	if e.Registered {
		m.measureMove(now, e.CareOf)
	}
	m.reconsider = true
}

// shutdown gives back what is idle. With a store the rest is left for the next start to take up again.
func (m *Machine) shutdown(now time.Time) {
	if m.stopping {
		return
	}
	m.stopping = true
	m.requests = nil
	m.advanceAll(now)
	m.reconcile(now)
	for _, a := range slices.Clone(m.anchors) {
		if a.flows == 0 || m.cfg.Store == nil {
			m.giveBack(now, a)
		}
	}
}

// conclude stops the machine once nothing is left to be given back.
func (m *Machine) conclude() {
	if m.stopping && !slices.ContainsFunc(m.anchors, func(a *anchor) bool { return a.returning }) {
		m.stopped = true
	}
}
