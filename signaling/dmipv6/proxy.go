package dmipv6

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
	"kedge/signaling/ticket"
)

const (
	// A DHP that refused or did not answer is not asked for firstSkip, doubling to maxSkip.
	firstSkip = 30 * time.Second
	maxSkip   = 10 * time.Minute
	// ticketRetry is how long after a vain attempt a ticket is asked for again: less, down to ticketRetryLeast, where little
	// is left of the one that there is.
	ticketRetry      = 30 * time.Second
	ticketRetryLeast = time.Second
)

// proxy is a DHP that is known.
type proxy struct {
	peer
	// static is what the operator said of it; nil if nothing.
	static *Proxy
	ticket ticket.Ticket
	// expires is when the ticket does by this node's clock.
	expires time.Time
	// sealed is the ticket as the home agent sent it, which is how it is stored; nil if there is none.
	sealed *mh.KeyTicket
	// renewAt is when to ask for another ticket, as long as an address of the DHP is held.
	renewAt time.Time
	// askedAt is when one was asked for last.
	askedAt time.Time
	// near is an address that the DHP covers, to ask for tickets by.
	near netip.Addr

	// endpoints are those that the home agent has told; failed is what did not work at failedAt, see Machine.here.
	endpoints []netip.AddrPort
	failed    mobilenode.PlaceKind
	failedAt  netip.Addr

	// beatAt is when the next heartbeat is due; zero while none of its addresses has flows.
	beatAt time.Time
	// suspected is when it was suspected last.
	suspected time.Time

	skipUntil time.Time
	skipFor   time.Duration
	skipWhy   string
	// ticketless says that it is skipped for lack of a ticket, and only until there is one.
	ticketless bool
}

func (m *Machine) proxy(address netip.Addr) *proxy {
	p := m.proxies[address]
	if p == nil {
		m.forgetProxies()
		p = &proxy{peer: peer{address: address}}
		m.proxies[address] = p
	}
	return p
}

// forgetProxies drops the DHPs that nothing refers to once there are too many.
func (m *Machine) forgetProxies() {
	if len(m.proxies) < m.cfg.MaxCached {
		return
	}
	used := map[netip.Addr]bool{}
	for _, c := range m.coverage {
		for i := range c.near {
			used[c.near[i].proxy] = true
		}
	}
	for _, a := range m.anchors {
		used[a.proxy.address] = true
	}
	for _, r := range m.requests {
		used[r.proxy.address] = true
	}
	for address, p := range m.proxies {
		if p.static == nil && !used[address] {
			delete(m.proxies, address)
		}
	}
}

// transport is how the DHP is to be reached.
func (m *Machine) transport(p *proxy) mobilenode.Transport {
	if p.static != nil {
		return p.static.Transport
	}
	return m.cfg.Transport
}

// reachedBy are the DHP's endpoints: what the operator says, else what the home agent has told.
func (p *proxy) reachedBy() []netip.AddrPort {
	if p.static != nil && len(p.static.Endpoints) > 0 {
		return p.static.Endpoints
	}
	return p.endpoints
}

// learnEndpoints takes in the endpoints that come after what an authentic reply says of a DHP.
func (m *Machine) learnEndpoints(now time.Time, o *mh.DHPInformation, options mh.Options) {
	i := slices.IndexFunc(options, func(x mh.Option) bool { return x == mh.Option(o) })
	var list []netip.AddrPort
	for _, x := range options[i+1:] {
		if _, next := x.(*mh.DHPInformation); next {
			break
		}
		if e, ok := x.(*mh.UDPEndpoint); ok && mh.UDPReachable(e.Endpoint) && len(list) < mh.MaxUDPEndpoints {
			list = append(list, e.Endpoint)
		}
	}
	p := m.proxy(o.Address)
	if slices.Equal(list, p.endpoints) {
		return
	}
	p.endpoints = list
	for _, a := range slices.Clone(m.anchors) {
		if a.proxy == p && !a.returning {
			m.take(now, a, a.machine.Reach(now, p.reachedBy()))
		}
	}
}

// association is what is shared with the DHP at now; nil if nothing is.
func (p *proxy) association(now time.Time) *auth.Association {
	if p.sealed == nil || !now.Before(p.expires) {
		return nil
	}
	return &auth.Association{SPI: p.ticket.SPI, Algorithm: auth.HMACSHA256, Key: p.ticket.Key}
}

// credentials are the options that let the DHP verify association.
func (m *Machine) credentials(p *proxy) mh.Options {
	return mh.Options{ticket.Short(p.ticket)}
}

// skip has the DHP not asked for a while.
func (m *Machine) skip(now time.Time, p *proxy, why string) {
	p.skipFor = min(max(2*p.skipFor, firstSkip), maxSkip)
	p.skipUntil, p.skipWhy, p.ticketless = now.Add(p.skipFor), why, false
	m.counters.Skips++
	m.reconsider = true
	m.report(signaling.Report{Kind: DHPSkipped, Peer: p.address, Lifetime: p.skipFor, Detail: why})
}

// skipUntilTicket is skip for lack of a ticket that the DHP takes.
func (m *Machine) skipUntilTicket(now time.Time, p *proxy, why string) {
	m.skip(now, p, why)
	p.ticketless = true
}

var errExpired = errors.New("it has expired")

// takeTickets opens the tickets of an authentic reply.
func (m *Machine) takeTickets(now time.Time, reply *mh.DMIPv6) {
	for _, o := range mh.FindAll[*mh.KeyTicket](reply.Options) {
		p := m.proxies[o.Address]
		if p == nil {
			continue
		}
		t, err := ticket.Open(m.cfg.Association.Key, o, m.id)
		if err == nil && !m.directory.clock.Time(now).Before(t.Expiry) {
			err = errExpired
		}
		if err != nil {
			m.skipUntilTicket(now, p, "its ticket is of no use: "+err.Error())
			continue
		}
		m.setTicket(p, t, o, now)
		m.report(signaling.Report{Kind: TicketReceived, Peer: p.address, Lifetime: p.expires.Sub(now).Round(time.Second)})
		for _, a := range slices.Clone(m.anchors) {
			if a.proxy == p && !a.returning {
				m.take(now, a, a.machine.Renew(now, p.association(now), m.credentials(p)))
				m.save(a)
			}
		}
	}
}

func (m *Machine) setTicket(p *proxy, t ticket.Ticket, sealed *mh.KeyTicket, now time.Time) {
	// It is the home agent's clock that the time was read off, and this node's may differ.
	left := t.Expiry.Sub(m.directory.clock.Time(now))
	p.ticket, p.sealed, p.expires, p.renewAt = t, sealed, now.Add(left), now.Add(left-left/4)
	if p.ticketless {
		p.skipUntil = time.Time{}
	}
}

// wantTicket asks for another ticket, which what the DHP covers is the way to ask for.
func (m *Machine) wantTicket(now time.Time, p *proxy, why string) {
	retry := ticketRetry
	if left := p.expires.Sub(now); p.sealed != nil && left > 0 {
		retry = min(max(left/4, ticketRetryLeast), ticketRetry)
	}
	if now.Before(p.askedAt.Add(retry)) {
		return
	}
	p.renewAt = now.Add(retry)
	if !m.askable(now) {
		if until := m.directory.unusableUntil; until.After(now) {
			p.renewAt = until
		}
		return
	}
	p.askedAt = now
	if p.near.IsValid() {
		m.ask(wish{address: p.near, renewal: true})
	}
	m.ask(wish{address: p.address, renewal: true})
	m.report(signaling.Report{Kind: TicketWanted, Peer: p.address, Detail: why})
}

// held says whether an address of the DHP is held.
func (m *Machine) held(p *proxy) bool {
	return slices.ContainsFunc(m.anchors, func(a *anchor) bool { return a.proxy == p && !a.returning })
}

// tickProxies renews the tickets of DHPs in use, and looks again at those that were skipped.
func (m *Machine) tickProxies(now time.Time) {
	var renew []*proxy
	for _, p := range m.proxies {
		if !p.skipUntil.IsZero() && !now.Before(p.skipUntil) {
			p.skipUntil = time.Time{}
			m.reconsider = true
		}
		if !p.renewAt.IsZero() && !now.Before(p.renewAt) {
			if p.renewAt = (time.Time{}); m.held(p) {
				renew = append(renew, p)
			}
		}
	}
	// In a fixed order, so that a run can be repeated.
	slices.SortFunc(renew, func(a, b *proxy) int { return a.address.Compare(b.address) })
	for _, p := range renew {
		m.wantTicket(now, p, "its time is nearly over")
	}
}

func (m *Machine) nextProxies(n *next) {
	for _, p := range m.proxies {
		n.at(p.skipUntil)
		n.at(p.renewAt)
	}
}
