package mobilenode

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
)

// maxAgents bounds the list of a discovery reply.
const maxAgents = 16

// agents is the home agent in use, and where it came from: the configuration, or dynamic home agent address discovery (RFC
// 6275 section 11.4.1).
type agents struct {
	current netip.Addr
	fixed   bool
	// list is what was discovered, in the order to be tried, and tried how many of it have failed.
	list  []netip.Addr
	tried int

	// at is when to send a request, wait what was waited for after the last, count how many were sent.
	at         time.Time
	wait       time.Duration
	count      int
	identifier uint16
	careOf     netip.Addr
}

func (a *agents) begin(configured netip.Addr) {
	a.current, a.fixed = configured, configured.IsValid()
}

// pause ends an attempt at discovery; the next attachment starts another.
func (a *agents) pause() { a.at, a.wait, a.count = time.Time{}, 0, 0 }

// discover sends the request that is due to the Home-Agents anycast address of the home prefix.
func (m *Machine) discover(now time.Time) {
	a := &m.agents
	if !m.place.CareOf.IsValid() || m.stopping {
		return
	}
	if a.at.IsZero() || a.careOf != m.place.CareOf {
		m.rediscover(now)
	}
	if now.Before(a.at) {
		return
	}
	if a.count > dhaadRetries {
		m.fail(signaling.Report{Kind: HomeAgentNotFound, Detail: "no answer to home agent address discovery"})
		m.rediscover(now.Add(firstRefusalWait))
		return
	}
	anycast := discovery.HomeAgentsAnycast(m.cfg.HomePrefix)
	payload, err := discovery.Append(nil, &discovery.HomeAgentAddressRequest{Identifier: a.identifier})
	if err != nil || !anycast.IsValid() {
		a.at = time.Time{}
		m.lastError = "the home prefix has no anycast address to discover home agents by"
		return
	}
	discovery.SetChecksum(payload, m.place.CareOf, anycast)
	m.emit(signaling.SendICMP{Source: m.place.CareOf, Destination: anycast, Payload: payload, Link: m.place.Uplink, Router: m.place.Router})
	a.count++
	if a.wait == 0 {
		a.wait = initialDHAADTimeout
	} else {
		a.wait *= 2
	}
	a.at = now.Add(a.wait)
}

// rediscover starts discovery anew at the given time.
func (m *Machine) rediscover(at time.Time) {
	m.agents.pause()
	m.agents.at, m.agents.careOf, m.agents.identifier = at, m.place.CareOf, random(m.cfg)
}

// handleDiscovered takes the reply to an outstanding request.
func (m *Machine) handleDiscovered(r *discovery.HomeAgentAddressReply) {
	a := &m.agents
	if a.fixed || a.current.IsValid() || a.count == 0 || r.Identifier != a.identifier {
		m.counters.Ignored++
		return
	}
	// Nobody vouches for a reply, so it can only name nodes of the home prefix.
	a.list = a.list[:0]
	for _, h := range r.Addresses {
		if m.cfg.HomePrefix.Contains(h) && h != m.cfg.HomeAddress && !slices.Contains(a.list, h) && len(a.list) < maxAgents {
			a.list = append(a.list, h)
		}
	}
	if len(a.list) == 0 {
		m.counters.Ignored++
		return
	}
	a.pause()
	a.tried = 0
	a.current = a.list[0]
	m.rtt = 0
	m.report(signaling.Report{Kind: HomeAgentDiscovered})
}

// nextAgent goes to the next home agent that was discovered, or if all were tried back to discovery after wait. It returns
// false if the home agent is configured.
func (m *Machine) nextAgent(now time.Time, wait time.Duration, why string) bool {
	a := &m.agents
	if a.fixed || m.stopping {
		return false
	}
	m.report(signaling.Report{Kind: HomeAgentChanged, Detail: why})
	m.rtt = 0
	a.tried++
	if a.tried < len(a.list) {
		a.current = a.list[a.tried]
		return true
	}
	a.current = netip.Addr{}
	m.rediscover(now.Add(wait))
	return true
}
