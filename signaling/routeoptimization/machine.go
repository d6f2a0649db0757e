// Package routeoptimization is the mobile node's side of route optimisation (RFC 6275 sections 11.6 and 11.7.2): for each pair
// of an address of this mobile node and a correspondent node that its operator asks for, it runs the return routability
// procedure and keeps the correspondent node's binding fresh, so that packets between the two go past the home agent.
//
// A pair's story: Request sends a Home Test Init through the address's tunnel and a Care-of Test Init directly, at once. The
// answers' tokens make the key of a Binding Update, and its acknowledgement switches packets over. Until then, after a move
// until the next acknowledgement, and whenever anything fails, they take the tunnel, which always works: section 11.3.1 asks
// for an entry that "indicates that a binding has been successfully created" with a current care-of address, and packets that
// overtake a lost update would be dropped. After a move the home keygen token is used again while it is fresh.
//
// Route optimisation is a switch, and off until asked for. Its security is that of the paths: whoever hears both tokens can
// divert the packets of the pair. RFC 6275 section 10.4.6 has the tunnelled half encrypted between mobile node and home agent
// for that reason. This project protects signalling by RFC 4285, which does not encrypt, and whose section 2 advises against
// route optimisation without further protection of the tunnelled return routability messages: with it, somebody on the path
// from the mobile node's access network to its home agent and to the correspondent node, such as the access network itself,
// can divert the pair's packets, and only those.
package routeoptimization

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// Config is what a mobile node is told by its operator.
type Config struct {
	// HomeAddress is the one that HomeRegistration is about: its pairs wait for the home agent to accept a care-of address
	// before a correspondent node hears of it (RFC 6275 section 11.7.2). Addresses of other anchors wait for their Home Test.
	HomeAddress netip.Addr
	// Lifetime is what Binding Updates ask for, 4 s to 420 s; 0 means 420 s.
	Lifetime time.Duration
	// MaxPairs bounds the pairs; at least 1.
	MaxPairs int
	// RetryUnsupported is how long a correspondent node without Mobile IPv6 is left alone (section 11.3.5); 0 means ten
	// minutes.
	RetryUnsupported time.Duration
	// Random fills its argument with random octets; nil takes the operating system's.
	Random func([]byte)
}

// Errors of Request.
var (
	ErrAddress = errors.New("not a unicast routable IPv6 address")
	ErrFull    = errors.New("as many route optimisations as there may be")
)

// Machine keeps the pairs. It implements signaling.Machine.
type Machine struct {
	cfg          Config
	registration signaling.HomeRegistration
	paths        map[netip.Addr]signaling.HomePath

	// list has the entries in the order of their requests.
	list    []*entry
	entries map[pair]*entry
	peers   map[netip.Addr]*peer

	counters Counters
	effects  []signaling.Effect
}

type pair struct{ home, peer netip.Addr }

// peer is what is known of a correspondent node whatever the home address.
type peer struct {
	// sequence is that of the last Binding Update sent.
	sequence uint16
	// limits are by message type (RFC 6275 section 11.8).
	homeTests, careOfTests, updates limiter
	// unsupportedUntil is until when it is taken to be without Mobile IPv6.
	unsupportedUntil time.Time
	// pairs counts its entries.
	pairs int
}

// New checks cfg and returns a machine without pairs.
func New(cfg Config) (*Machine, error) {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = routability.MaxBindingLifetime
	}
	if cfg.RetryUnsupported == 0 {
		cfg.RetryUnsupported = retryUnsupported
	}
	switch {
	case !mh.UnicastRoutable(cfg.HomeAddress):
		return nil, fmt.Errorf("home address %s: %w", cfg.HomeAddress, ErrAddress)
	case cfg.Lifetime < mh.LifetimeUnit || cfg.Lifetime > routability.MaxBindingLifetime:
		return nil, fmt.Errorf("lifetime %v is not between %v and %v", cfg.Lifetime, mh.LifetimeUnit, routability.MaxBindingLifetime)
	case cfg.MaxPairs < 1:
		return nil, errors.New("there is to be room for at least one route optimisation")
	}
	if cfg.Random == nil {
		cfg.Random = func(b []byte) { rand.Read(b) } // never fails: crypto/rand ends the program instead
	}
	return &Machine{
		cfg: cfg, paths: make(map[netip.Addr]signaling.HomePath),
		entries: make(map[pair]*entry), peers: make(map[netip.Addr]*peer),
	}, nil
}

// Request asks for packets between home, an address of this mobile node, and correspondent to go past the anchor of home. It
// tries again at once what has failed before, but a correspondent node that is known to be without Mobile IPv6. The errors are
// ErrAddress and ErrFull, wrapped.
func (m *Machine) Request(now time.Time, home, correspondent netip.Addr) ([]signaling.Effect, error) {
	for _, a := range []netip.Addr{home, correspondent} {
		if !mh.UnicastRoutable(a) {
			return nil, fmt.Errorf("%w: %v", ErrAddress, a)
		}
	}
	if home == correspondent {
		return nil, fmt.Errorf("%w: %v is both ends", ErrAddress, home)
	}
	m.effects = nil
	k := pair{home, correspondent}
	e := m.entries[k]
	if e == nil {
		if len(m.list) >= m.cfg.MaxPairs {
			return nil, fmt.Errorf("%w: %d", ErrFull, len(m.list))
		}
		e = &entry{pair: k}
		m.entries[k] = e
		m.list = append(m.list, e)
		m.peerOf(e).pairs++
	}
	e.wanted, e.retryAt, e.failures, e.lastError = true, time.Time{}, 0, ""
	m.pursueAll(now)
	return m.effects, nil
}

// Cancel sends the packets of a pair through the tunnel from now on, and has the correspondent node delete its binding.
func (m *Machine) Cancel(now time.Time, home, correspondent netip.Addr) []signaling.Effect {
	m.effects = nil
	if e := m.entries[pair{home, correspondent}]; e != nil && e.wanted {
		e.cancel()
	}
	m.pursueAll(now)
	return m.effects
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.effects = nil
	switch e := event.(type) {
	case signaling.HomePath:
		m.setPath(e)
	case signaling.HomeRegistration:
		m.registration = e
	case signaling.Received:
		m.received(now, &e)
	case signaling.ReceivedICMP:
		m.icmp(now, &e)
	case signaling.Shutdown:
		for _, e := range m.list {
			e.cancel()
		}
	}
	m.pursueAll(now)
	return m.effects
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time {
	var next time.Time
	for _, e := range m.list {
		if t := e.at; !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	return next
}

func (m *Machine) setPath(p signaling.HomePath) {
	old := m.paths[p.Home]
	if p.CareOf.IsValid() || p.AtHome {
		m.paths[p.Home] = p
	} else {
		delete(m.paths, p.Home)
	}
	if old.CareOf == p.CareOf && old.AtHome == p.AtHome {
		return
	}
	for _, e := range m.list {
		if e.home == p.Home {
			e.moved()
		}
	}
}

// peerOf is the entry's correspondent node.
func (m *Machine) peerOf(e *entry) *peer {
	p := m.peers[e.peer]
	if p == nil {
		var b [2]byte
		m.cfg.Random(b[:])
		p = &peer{sequence: uint16(b[0])<<8 | uint16(b[1])}
		m.peers[e.peer] = p
	}
	return p
}

// pursueAll does for every pair what is to be done now, and forgets those that are done with.
func (m *Machine) pursueAll(now time.Time) {
	kept := m.list[:0]
	for _, e := range m.list {
		if m.pursue(now, e) {
			kept = append(kept, e)
			continue
		}
		delete(m.entries, e.pair)
		m.peerOf(e).pairs--
	}
	clear(m.list[len(kept):])
	m.list = kept
	for a, p := range m.peers {
		if p.pairs == 0 && !now.Before(p.unsupportedUntil) && p.idle(now) {
			delete(m.peers, a)
		}
	}
}

// idle says that no limit has anything to remember.
func (p *peer) idle(now time.Time) bool {
	return p.homeTests.idle(now) && p.careOfTests.idle(now) && p.updates.idle(now)
}

func (m *Machine) emit(e signaling.Effect) { m.effects = append(m.effects, e) }

func (m *Machine) report(e *entry, r signaling.Report) {
	r.Home, r.Peer = e.home, e.peer
	if p := m.paths[e.home]; !r.CareOf.IsValid() {
		r.CareOf, r.Link = p.CareOf, p.Link
	}
	m.emit(r)
}
