package homeproxy

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling/binding"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
)

// quarantined bounds the entries of a mobile node, those in quarantine included, to so many times MaxBindingsPerNode: else
// one that borrows and gives back again and again would empty the pool.
const quarantined = 4

// question is what makes two requests the same, of which the later one is a retransmission.
type question struct {
	owner    string
	sequence uint16
}

// answer is what a request got: home was lent, or given back.
type answer struct {
	home     netip.Addr
	returned bool
}

func (q *request) question() question { return question{q.owner, q.message.Sequence} }

// errNone says that no address is free.
var errNone = errors.New("no address is free")

// lend answers a request for an address.
func (m *Machine) lend(now time.Time, q *request) {
	lifetime := min(q.message.Lifetime, m.cfg.MaxLifetime).Truncate(binding.LifetimeUnit)
	p, home, renewed, err := m.choose(q)
	if err == nil {
		err = m.assign(now, q, p, home, lifetime)
	}
	switch {
	case errors.Is(err, homeagent.ErrCareOf):
		m.refuse(q, mh.StatusInvalidCareOfAddress, err.Error())
		return
	case err != nil:
		m.refuse(q, mh.StatusPoolExhausted, err.Error())
		return
	}
	if renewed {
		m.counters.Renewed++
	} else {
		m.counters.Lent++
	}
	m.answers.put(now, q.question(), answer{home: home}, func(answer) {})
	m.respond(q, mh.StatusAccepted, netip.PrefixFrom(home, p.Lend), lifetime)
}

// assign makes the lease of home, which is the binding.
func (m *Machine) assign(now time.Time, q *request, p *pool, home netip.Addr, lifetime time.Duration) error {
	a := homeagent.Assignment{
		Home: home, CareOf: q.careOf(), Port: q.Outer.Port(), Local: q.OuterLocal, Owner: q.owner, Networks: p.delegated(home),
		Sequence: q.message.Sequence, Lifetime: lifetime,
	}
	if q.authentic {
		a.Timestamp = m.latest(home, q)
	}
	effects, err := m.inner.Assign(now, a)
	m.do(effects...)
	return err
}

// latest is the timestamp that the binding of home goes on from: Binding Updates have a clock of their own, which may be
// ahead of the requests'.
func (m *Machine) latest(home netip.Addr, q *request) mh.NTPTime {
	if b, ok := m.valid(home); ok && later(mh.NTPTime(b.Timestamp), q.timestamp) {
		return mh.NTPTime(b.Timestamp)
	}
	return q.timestamp
}

// choose finds the address for q: the one that an earlier transmission got, the one it wishes for if that is its own already
// or free, or another one. The error says why there is none.
func (m *Machine) choose(q *request) (p *pool, home netip.Addr, held bool, err error) {
	if a, repeated := m.answers.get(q.question()); repeated && !a.returned && m.holds(q.owner, a.home) {
		if p := m.poolOf(a.home); p.Lend == q.wish.Bits() {
			m.counters.Repeated++
			return p, a.home, true, nil
		}
	}
	wished := m.poolOf(q.wish.Addr())
	if wished != nil && wished.Lend == q.wish.Bits() {
		home = wished.home(q.wish.Addr())
		if m.holds(q.owner, home) {
			return wished, home, true, nil
		}
	} else {
		wished = nil
	}
	cache := m.inner.Cache()
	if err := cache.Allows(q.owner, 0); err != nil {
		return nil, netip.Addr{}, false, err
	}
	if m.exhausts(q.owner) {
		return nil, netip.Addr{}, false, binding.ErrOwnerFull
	}
	if wished != nil && m.free(wished, home) {
		return wished, home, false, nil
	}
	for _, p := range m.pools {
		if p.Lend != q.wish.Bits() {
			continue
		}
		if home, ok := p.find(m.random, cache, func(a netip.Addr) bool { return m.free(p, a) }); ok {
			return p, home, false, nil
		}
	}
	return nil, netip.Addr{}, false, errNone
}

// exhausts reports whether owner has all the entries that it may have.
func (m *Machine) exhausts(owner string) bool {
	most := quarantined * m.cfg.MaxBindingsPerNode
	return most > 0 && m.inner.Cache().OwnerEntries(owner) >= most
}

// holds reports whether home is lent to owner.
func (m *Machine) holds(owner string, home netip.Addr) bool {
	b, ok := m.valid(home)
	return ok && b.Owner == owner
}

// free reports whether home of pool p may be lent: nobody has it, nor had it lately.
func (m *Machine) free(p *pool, home netip.Addr) bool {
	if !m.lendable(p, home) {
		return false
	}
	_, taken := m.inner.Cache().Get(host(home))
	return !taken
}

// giveBack answers a request with lifetime 0.
func (m *Machine) giveBack(now time.Time, q *request) {
	p := m.poolOf(q.wish.Addr())
	if p == nil || p.Lend != q.wish.Bits() {
		m.refuse(q, mh.StatusNotHomeAgent, "address is none that is lent")
		return
	}
	home := p.home(q.wish.Addr())
	a, repeated := m.answers.get(q.question())
	switch {
	case m.holds(q.owner, home):
		m.counters.Returned++
		stamp := mh.NTPTime(0)
		if q.authentic {
			stamp = m.latest(home, q)
		}
		m.do(m.inner.Release(now, home, q.message.Sequence, stamp)...)
		m.answers.put(now, q.question(), answer{home: home, returned: true}, func(answer) {})
	case repeated && a.returned && a.home == home:
		m.counters.Repeated++
	default:
		m.refuse(q, mh.StatusNotHomeAgent, "address is not lent to the mobile node")
		return
	}
	m.respond(q, mh.StatusAccepted, netip.PrefixFrom(home, p.Lend), 0)
}
