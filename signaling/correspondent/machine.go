// Package correspondent is the correspondent node role (RFC 6275 section 9): it answers the tests of the return routability
// procedure (section 5.2), keeps a Binding Cache of the mobile nodes that pass them, and has packets to these go past their
// home agents.
//
// A mobile node's story: its Home Test Init and Care-of Test Init are each answered with a keygen token that anybody at that
// address could have, and nothing is stored. A Binding Update whose authenticator is made of both tokens proves that its
// sender is at both addresses; only that makes an entry. The tokens are made again from the nonces that the update names.
//
// Bindings made like this last 420 s at most, and live in memory only.
package correspondent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// Config is what a correspondent node is told by its operator.
type Config struct {
	// Address is its own, which forwarding holds as a mobile node's (BindMobile): that of a node that is always at home, or
	// a mobile node's home address.
	Address netip.Addr
	// MaxBindings bounds the entries of the cache, those included that are gone and only remembered until their nonces
	// are; at least 1.
	MaxBindings int
	// MaxLifetime is the longest lifetime that is granted, 4 s to 420 s; 0 means 420 s.
	MaxLifetime time.Duration
	// Shared says that another role at Address answers messages that cannot be read, and Home Address options.
	Shared bool
	// Random fills its argument with random octets; nil takes the operating system's.
	Random func([]byte)
}

// The rates, in messages a second.
const (
	// testRate bounds Home Test and Care-of Test messages: each costs an HMAC.
	testRate = 2000
	// updateRate bounds Binding Updates that are looked into: each costs a few.
	updateRate = 1000
	// faultRate bounds Binding Errors and the like (RFC 4443 section 2.4 f), and Binding Acknowledgements to senders that
	// have not been authenticated.
	faultRate = 50
)

// Machine is a correspondent node. It implements signaling.Machine.
type Machine struct {
	cfg    Config
	nonces nonces
	cache  *binding.Cache
	// troubles are of bindings in the cache.
	troubles map[netip.Addr]trouble

	tests, updates, faults fault.Bucket
	counters               Counters
	effects                []signaling.Effect
}

// New checks cfg and returns a correspondent node without bindings.
func New(cfg Config, now time.Time) (*Machine, error) {
	if cfg.MaxLifetime == 0 {
		cfg.MaxLifetime = routability.MaxBindingLifetime
	}
	switch {
	case !mh.UnicastRoutable(cfg.Address):
		return nil, fmt.Errorf("correspondent node address %s is not a unicast routable IPv6 address", cfg.Address)
	case cfg.MaxBindings < 1:
		return nil, errors.New("a correspondent node has room for at least one binding")
	case cfg.MaxLifetime < mh.LifetimeUnit || cfg.MaxLifetime > routability.MaxBindingLifetime:
		return nil, fmt.Errorf("lifetime %v is not between %v and %v", cfg.MaxLifetime, mh.LifetimeUnit, routability.MaxBindingLifetime)
	}
	if cfg.Random == nil {
		cfg.Random = func(b []byte) { rand.Read(b) } // never fails: crypto/rand ends the program instead
	}
	return &Machine{
		cfg:      cfg,
		nonces:   newNonces(cfg.Random),
		cache:    binding.New(now, binding.Limits{Total: cfg.MaxBindings}, nil),
		troubles: make(map[netip.Addr]trouble),
		tests:    fault.NewBucket(testRate),
		updates:  fault.NewBucket(updateRate),
		faults:   fault.NewBucket(faultRate),
	}, nil
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.effects = nil
	m.expire(now)
	switch e := event.(type) {
	case signaling.Received:
		m.received(now, &e)
	case signaling.ReceivedICMP:
		m.icmp(now, &e)
	case signaling.UnverifiedHomeAddress:
		m.unverified(now, &e)
	}
	return m.effects
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time { return m.cache.Next() }

func (m *Machine) emit(e signaling.Effect) { m.effects = append(m.effects, e) }

// send sends a Mobility Header message by the address's own path, wherever that leads now.
func (m *Machine) send(s signaling.Send) {
	s.Source, s.Tunnel = m.cfg.Address, m.cfg.Address
	m.emit(s)
}

// received takes a Mobility Header message (RFC 6275 section 9.2).
func (m *Machine) received(now time.Time, r *signaling.Received) {
	from, to := r.Source, r.Destination
	if r.HomeAddress.IsValid() {
		from = r.HomeAddress
	}
	if r.RoutingHome.IsValid() {
		to = r.RoutingHome
	}
	if to != m.cfg.Address || !from.IsValid() {
		m.counters.Ignored++
		return
	}
	if !mh.ChecksumValid(r.Payload, from, to) {
		m.counters.Malformed++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Malformed++
		if a := fault.Answer(r, err); a != nil {
			m.complain(now, a)
		}
		return
	}
	switch b := message.(type) {
	case *mh.HomeTestInit:
		m.homeTestInit(now, r, b)
	case *mh.CareOfTestInit:
		m.careOfTestInit(now, r, b)
	case *mh.BindingUpdate:
		m.bindingUpdate(now, r, b)
	default:
		m.counters.Ignored++
	}
}

// complain sends the answer to a packet that could not be taken, unless another role does or there were too many lately.
func (m *Machine) complain(now time.Time, answer signaling.Effect) {
	if m.cfg.Shared {
		return
	}
	if !m.faults.Take(now) {
		m.counters.Limited++
		return
	}
	if s, ok := answer.(signaling.Send); ok {
		m.counters.BindingErrors++
		m.send(s)
		return
	}
	m.emit(answer)
}

// unverified answers a packet whose Home Address option no binding bore out (RFC 6275 section 9.3.1), unless one has come
// about since.
func (m *Machine) unverified(now time.Time, e *signaling.UnverifiedHomeAddress) {
	if e.Destination != m.cfg.Address || !fault.Answerable(e.Source) {
		m.counters.Ignored++
		return
	}
	if b, ok := m.valid(e.HomeAddress); ok && b.CareOf == e.Source {
		return
	}
	m.complain(now, fault.BindingError(mh.UnknownBinding, e.Source, e.Destination, e.HomeAddress))
}

// Binding is an entry of the Binding Cache, for people.
type Binding struct {
	Home, CareOf netip.Addr
	Sequence     uint16
	// Left is what remains of its lifetime; Since is when it was first made.
	Left  time.Duration
	Since time.Time
}

// Bindings lists the cache in the order of home addresses.
func (m *Machine) Bindings(now time.Time) []Binding {
	list := []Binding{}
	for b := range m.cache.All() {
		if b.Flags&binding.Invalid == 0 && now.Before(b.Expires) {
			list = append(list, Binding{b.Home.Addr(), b.CareOf, b.Sequence, b.Expires.Sub(now), b.Since})
		}
	}
	slices.SortFunc(list, func(a, b Binding) int { return a.Home.Compare(b.Home) })
	return list
}

// Counters returns the counts so far.
func (m *Machine) Counters() Counters { return m.counters }
