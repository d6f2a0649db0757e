package homeagent

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

const (
	// maxReplyAddresses fit with the IPv6 and ICMPv6 headers into the minimum MTU of 1280 octets (RFC 6275 section
	// 10.5.1).
	maxReplyAddresses = (1280 - 40 - 8) / 16
	// maxHomeAgents and maxHomeAgentAddresses bound what router advertisements can make the list hold.
	maxHomeAgents         = 64
	maxHomeAgentAddresses = 16
	// advertisementInterval is the least time between Mobile Prefix Advertisements to one mobile node (section 6.8).
	advertisementInterval = time.Second
)

// homeAgentList is the Home Agents List (RFC 6275 sections 10.1 and 10.5.1), without this node itself.
type homeAgentList struct{ agents []homeAgent }

type homeAgent struct {
	router     netip.Addr
	addresses  []netip.Addr
	preference uint16
	until      time.Time
}

func (l *homeAgentList) seen(now time.Time, link string, e signaling.HomeAgentSeen) {
	if link == "" || e.Link != link {
		return
	}
	i := slices.IndexFunc(l.agents, func(a homeAgent) bool { return a.router == e.Router })
	if e.Lifetime <= 0 {
		if i >= 0 {
			l.agents = slices.Delete(l.agents, i, i+1)
		}
		return
	}
	if i < 0 {
		if len(l.agents) >= maxHomeAgents {
			return
		}
		i = len(l.agents)
		l.agents = append(l.agents, homeAgent{router: e.Router})
	}
	a := &l.agents[i]
	a.preference, a.until = e.Preference, now.Add(e.Lifetime)
	a.addresses = nil
	for _, address := range e.Addresses {
		if routable(address) && !slices.Contains(a.addresses, address) && len(a.addresses) < maxHomeAgentAddresses {
			a.addresses = append(a.addresses, address)
		}
	}
}

func (l *homeAgentList) expire(now time.Time) {
	l.agents = slices.DeleteFunc(l.agents, func(a homeAgent) bool { return !a.until.After(now) })
}

func (l *homeAgentList) next() (next time.Time) {
	for _, a := range l.agents {
		if next.IsZero() || a.until.Before(next) {
			next = a.until
		}
	}
	return next
}

// receivedICMP takes the ICMPv6 messages that are for a home agent; errors about its own packets change nothing here, since
// a binding stays until its lifetime ends (RFC 6275 section 10.3.1).
func (m *Machine) receivedICMP(now time.Time, r *signaling.ReceivedICMP) {
	message, err := discovery.Parse(r.Payload)
	if err != nil {
		return
	}
	switch message := message.(type) {
	case *discovery.HomeAgentAddressRequest:
		m.discover(now, r, message)
	case *discovery.MobilePrefixSolicitation:
		m.advertisePrefixes(now, r, message)
	}
}

// discover answers a Home Agent Address Discovery Request (RFC 6275 section 10.5.1).
func (m *Machine) discover(now time.Time, r *signaling.ReceivedICMP, request *discovery.HomeAgentAddressRequest) {
	served := r.Destination == m.cfg.Address || slices.ContainsFunc(m.cfg.HomePrefixes, func(p HomePrefix) bool {
		return discovery.HomeAgentsAnycast(p.Prefix) == r.Destination
	})
	if !served || !fault.Answerable(r.Source) {
		m.counters.Discarded.Discovery++
		return
	}
	if !m.discoveries.Take(now) {
		m.counters.Throttled++
		return
	}
	payload, err := discovery.Append(nil, &discovery.HomeAgentAddressReply{
		Identifier: request.Identifier,
		Addresses:  m.homeAgents(),
	})
	if err != nil {
		return
	}
	discovery.SetChecksum(payload, m.cfg.Address, r.Source)
	m.counters.Discoveries++
	m.do(signaling.SendICMP{Source: m.cfg.Address, Destination: r.Source, Payload: payload})
}

// homeAgents are the addresses of all home agents in order of preference, at random among equals.
func (m *Machine) homeAgents() []netip.Addr {
	agents := append([]homeAgent{{addresses: []netip.Addr{m.cfg.Address}, preference: m.cfg.Preference}}, m.list.agents...)
	m.random.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	slices.SortStableFunc(agents, func(a, b homeAgent) int { return cmp.Compare(b.preference, a.preference) })
	var all []netip.Addr
	for _, a := range agents {
		own := slices.Clone(a.addresses)
		m.random.Shuffle(len(own), func(i, j int) { own[i], own[j] = own[j], own[i] })
		all = append(all, own...)
	}
	return all[:min(len(all), maxReplyAddresses)]
}

// advertisePrefixes answers a Mobile Prefix Solicitation (RFC 6275 sections 10.6.2 and 10.6.3) of a mobile node that has a
// binding with the care-of address it comes from. RFC 4285 does not protect it: it is worth no more than its addresses,
// and its answer tells what router advertisements on the home link tell.
func (m *Machine) advertisePrefixes(now time.Time, r *signaling.ReceivedICMP, s *discovery.MobilePrefixSolicitation) {
	if !r.HomeAddress.IsValid() || r.Destination != m.cfg.Address || !fault.Answerable(r.Source) {
		m.counters.Discarded.Discovery++
		return
	}
	if b, ok := m.valid(r.HomeAddress); !ok || b.CareOf != r.Source {
		m.counters.Discarded.UnverifiedHomeAddress++
		m.bindingError(now, mh.UnknownBinding, r.Source, r.Destination, r.HomeAddress)
		return
	}
	if last, ok := m.advertised[r.HomeAddress]; ok && now.Sub(last) < advertisementInterval {
		m.counters.Throttled++
		return
	}
	for home, last := range m.advertised {
		if now.Sub(last) >= advertisementInterval {
			delete(m.advertised, home)
		}
	}
	m.advertised[r.HomeAddress] = now
	payload, err := discovery.Append(nil, &discovery.MobilePrefixAdvertisement{
		Identifier: s.Identifier,
		Prefixes:   m.prefixes(now),
	})
	if err != nil {
		return
	}
	discovery.SetChecksum(payload, m.cfg.Address, r.HomeAddress)
	m.counters.PrefixAdvertisements++
	m.do(signaling.SendICMP{
		Source: m.cfg.Address, Destination: r.Source, RoutingHome: r.HomeAddress, Payload: payload,
	})
}

// prefixes are the home prefixes as Prefix Information (RFC 6275 sections 7.2 and 10.6.1), the home agent's own with its
// full address.
func (m *Machine) prefixes(now time.Time) []discovery.PrefixInformation {
	list := make([]discovery.PrefixInformation, 0, len(m.cfg.HomePrefixes))
	for _, p := range m.cfg.HomePrefixes {
		valid, preferred := p.validity(now, discovery.Infinity)
		info := discovery.PrefixInformation{
			OnLink: true, Autonomous: true, Prefix: p.Prefix,
			Valid: min(valid, discovery.Infinity), Preferred: min(preferred, valid, discovery.Infinity),
		}
		if p.Prefix.Contains(m.cfg.Address) {
			info.RouterAddress = true
			info.Prefix = netip.PrefixFrom(m.cfg.Address, p.Prefix.Bits())
		}
		list = append(list, info)
	}
	return list
}
