package directory

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

const (
	// maxCNs is how many correspondent nodes one DHP Query may ask about, maxInformation how many DHPs one reply tells of.
	maxCNs         = 16
	maxInformation = 4
	// roomyIdentifier is the longest MN-ID beside which all UDP endpoints of that many DHPs fit into one message.
	roomyIdentifier = 240
	// unknownLifetime is how long a mobile node may take it that there is no DHP near a CN.
	unknownLifetime = time.Minute
)

// query takes a DHP Query.
func (m *Machine) query(now time.Time, q *request) {
	cns := mh.FindAll[*mh.CNAddress](q.message.Options)
	if len(cns) == 0 || len(cns) > maxCNs || q.identifier == nil {
		m.counters.Discarded.Malformed++
		return
	}
	m.counters.Queries++
	spi, signed := auth.SPI(q.message.Options)
	if !signed {
		m.counters.Discarded.Unauthenticated++
		return
	}
	a, ok := m.associationOf(q.identifier.Identifier, spi)
	if !ok {
		m.counters.Discarded.UnknownAssociation++
		return
	}
	from := sender{spi, q.identifier.Subtype, q.identifier.Identifier}
	last, full := m.memory.get(now, from)
	if !m.authenticate(now, q, a, last) {
		return
	}
	if full {
		m.refuse(q, mh.StatusInsufficientResources, "too many mobile nodes ask")
		return
	}
	m.memory.put(now, from, q.timestamp)
	m.do(signaling.Report{
		Kind: QueryReceived, Peer: q.Source, Link: q.Link, Sequence: q.message.Sequence,
		Detail: fmt.Sprintf("%s asks about %v and %d others", q.identifier.Identifier, cns[0].Address, len(cns)-1),
	})
	if m.cfg.Registered != nil && !m.cfg.Registered(q.identifier.Identifier, q.Source) {
		m.refuse(q, mh.StatusNotHomeAgent, "mobile node is not registered")
		return
	}
	m.replyTo(now, q, cns)
}

// associationOf is the one that the mobile node may use by that SPI.
func (m *Machine) associationOf(identifier string, spi uint32) (auth.Association, bool) {
	if n := m.byID[identifier]; n != nil && n.SPI != spi || n == nil && (m.exclusive[spi] || !m.cfg.AllowAnyMobileNode) {
		return auth.Association{}, false
	}
	a, ok := m.cfg.Associations[spi]
	return a, ok
}

// replyTo answers an authentic query. The reply's lifetime is how long all that it says holds.
func (m *Machine) replyTo(now time.Time, q *request, cns []*mh.CNAddress) {
	entries, complete := m.choose(now, cns)
	lifetime := m.cfg.TicketLifetime
	if !complete {
		lifetime = min(lifetime, unknownLifetime)
	}
	options := make(mh.Options, 0, (2+mh.MaxUDPEndpoints)*maxInformation+3)
	told := make([]netip.Addr, 0, maxInformation)
	maxEndpoints := mh.MaxUDPEndpoints
	if len(q.identifier.Identifier) > roomyIdentifier {
		maxEndpoints--
	}
	for _, e := range entries {
		// 0 would mean that it is gone already.
		left := max(e.expires.Sub(now), mh.LifetimeUnit)
		lifetime = min(lifetime, left)
		options = append(options, &mh.DHPInformation{
			Preference: e.preference, Load: e.load, RTT: e.rtt, Coverage: e.coverage, Lifetime: left, Address: e.proxy.Address,
		})
		endpoints := e.proxy.endpoints(now)
		for _, endpoint := range endpoints[:min(len(endpoints), maxEndpoints)] {
			options = append(options, &mh.UDPEndpoint{Endpoint: endpoint})
		}
		if slices.Contains(told, e.proxy.Address) {
			continue
		}
		o, err := m.ticketFor(now, q, e.proxy)
		if err != nil {
			m.refuse(q, mh.StatusUnspecified, err.Error())
			return
		}
		told, options = append(told, e.proxy.Address), append(options, o)
	}
	status, detail := mh.StatusAccepted, ""
	if len(entries) == 0 {
		status = mh.StatusNoDHPKnown
	} else {
		detail = fmt.Sprint(told)
	}
	lifetime = max(lifetime, mh.LifetimeUnit)
	if !m.answer(q, status, lifetime, options) {
		return
	}
	m.counters.Answered++
	m.counters.Tickets += uint64(len(told))
	if status == mh.StatusNoDHPKnown {
		m.counters.NoDHPKnown++
	}
	m.do(signaling.Report{
		Kind: QueryReplySent, Peer: q.Source, Sequence: q.message.Sequence, Lifetime: lifetime, Status: uint8(status),
		Detail: detail,
	})
}

// choose finds the DHPs near cns, the best of each CN before the second best of any. complete says that each CN's best is
// among them.
func (m *Machine) choose(now time.Time, cns []*mh.CNAddress) (chosen []*entry, complete bool) {
	var near [maxCNs][]*entry
	deepest := 0
	for i, o := range cns {
		near[i] = m.table.near(o.Address)
		if p := m.byAddress[o.Address]; p != nil {
			near[i] = m.itself(now, p, near[i])
		}
		deepest = max(deepest, len(near[i]))
	}
	complete = true
	for rank := range min(deepest, maxInformation) {
		for _, entries := range near[:len(cns)] {
			switch {
			case rank >= len(entries) || slices.Contains(chosen, entries[rank]):
			case len(chosen) < maxInformation:
				chosen = append(chosen, entries[rank])
			case rank == 0:
				complete = false
			}
		}
	}
	for _, entries := range near[:len(cns)] {
		complete = complete && len(entries) > 0
	}
	return chosen, complete
}

// itself puts a DHP that is asked for by its own address before others near there, whether or not it advertises: the mobile
// node knows it from elsewhere, by configuration or by an anycast answer, or holds addresses of it, and is after a ticket.
func (m *Machine) itself(now time.Time, p *proxy, others []*entry) []*entry {
	for _, e := range others {
		if e.proxy == p {
			return append([]*entry{e}, slices.DeleteFunc(slices.Clone(others), func(o *entry) bool { return o == e })...)
		}
	}
	e := &entry{proxy: p, coverage: netip.PrefixFrom(p.Address, p.Address.BitLen()), rtt: -1, expires: now.Add(m.cfg.TicketLifetime)}
	return append([]*entry{e}, others...)
}

// ticketFor makes the ticket by which the sender of q can speak with p.
func (m *Machine) ticketFor(now time.Time, q *request, p *proxy) (*mh.KeyTicket, error) {
	t := ticket.Ticket{SPI: p.SPI, Expiry: now.Add(m.cfg.TicketLifetime), DHP: p.Address}
	t.Key = ticket.SessionKey(p.association.Key, t.DHP, t.Expiry, q.identifier)
	return ticket.Seal(q.association.Key, t, q.identifier)
}
