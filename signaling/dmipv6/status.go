package dmipv6

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/mobilenode"
)

// Counters count.
type Counters struct {
	// FlowsHeld counts FlowHeld events: Reused those decided for an address in hand, Stayed those left with their own.
	FlowsHeld, Reused, Stayed uint64
	// HoldsExpired counts flows whose answer took too long, HoldsRefused those that were too many to wait.
	HoldsExpired, HoldsRefused uint64
	// QueriesSent and RequestsSent count transmissions.
	QueriesSent, RepliesReceived    uint64
	RequestsSent, ResponsesReceived uint64
	// Refused counts requests that ended without a usable address, Skips how often a DHP was left alone for a while.
	Refused, Skips, DirectoryFailures uint64
	// Unmatched counts replies to nothing that is outstanding, Unauthentic those that failed authentication.
	Unmatched, Unauthentic, Ignored uint64
	// Lent, Restored and Lost count addresses.
	Lent, Restored, Lost uint64
	EchoesSent           uint64
	Terminations         uint64
}

// Counters is a snapshot.
func (m *Machine) Counters() Counters { return m.counters }

// Anchor is an address that is held, for people.
type Anchor struct {
	Address netip.Addr
	// Prefix is what was lent: Address alone, or the /64 that it is in.
	Prefix netip.Prefix
	Proxy  netip.Addr
	// Host says that the host holds the address itself.
	Host bool
	// Returning says that it is being given back.
	Returning bool
	Flows     int
	Since     time.Time
	// RoundTrip is to the DHP and Loss the part of Echo Requests lost, as last measured; 0 and -1 if not.
	RoundTrip time.Duration
	Loss      float64
	// TicketExpiry is zero where there is no ticket.
	TicketExpiry time.Time
	Registration mobilenode.Status
}

// Anchors are the addresses held, in the order in which they were lent.
func (m *Machine) Anchors(now time.Time) []Anchor {
	list := make([]Anchor, 0, len(m.anchors))
	for _, a := range m.anchors {
		x := Anchor{Address: a.address, Prefix: a.prefix, Proxy: a.proxy.address, Host: a.host, Returning: a.returning, Flows: a.flows,
			Since: a.since, RoundTrip: a.proxy.path.from(a.machine.Place().CareOf), Loss: -1, Registration: a.machine.Status(now)}
		if a.proxy.path.lossKnown {
			x.Loss = a.proxy.path.loss
		}
		if a.proxy.sealed != nil {
			x.TicketExpiry = a.proxy.expires
		}
		list = append(list, x)
	}
	return list
}

// Coverage is what is known of the DHPs near a prefix, for people.
type Coverage struct {
	Prefix netip.Prefix
	// Proxies are the DHPs; none says that there are none, until Until.
	Proxies []Near
	Until   time.Time
}

// Near is a DHP near a prefix.
type Near struct {
	Proxy            netip.Addr
	Source           Source
	Preference, Load uint8
	// RoundTrip is from the DHP to the prefix; -1 if unknown.
	RoundTrip time.Duration
	// Until is zero if it was configured.
	Until time.Time
	// Skipped says why the DHP is left alone for the moment; empty if it is not.
	Skipped string
}

// Cache is what is known of coverage, in the order of prefixes.
func (m *Machine) Cache(now time.Time) []Coverage {
	list := make([]Coverage, 0, len(m.coverage))
	for prefix, c := range m.coverage {
		x := Coverage{Prefix: prefix, Until: c.until()}
		for _, n := range c.near {
			p := Near{Proxy: n.proxy, Source: n.source, Preference: n.preference, Load: n.load, RoundTrip: n.roundTrip, Until: n.until}
			if d := m.proxies[n.proxy]; d != nil && now.Before(d.skipUntil) {
				p.Skipped = d.skipWhy
			}
			x.Proxies = append(x.Proxies, p)
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b Coverage) int { return choice{prefix: a.Prefix}.compare(choice{prefix: b.Prefix}) })
	return list
}

// Switch is an operator's command: the address's binding moves to the uplink of that name, whatever the uplinks'
// preferences; empty goes back to those. It fails if the address is not held, or the uplink has no care-of address.
func (m *Machine) Switch(now time.Time, address netip.Addr, uplink string) ([]signaling.Effect, error) {
	m.effects = nil
	a := m.anchorOf(address)
	if a == nil || a.returning {
		return nil, fmt.Errorf("%s is not held", address)
	}
	if uplink != "" && !slices.ContainsFunc(m.attachments, func(u signaling.Attachment) bool { return u.Uplink == uplink && len(m.places(a.proxy, &u)) > 0 }) {
		return nil, fmt.Errorf("uplink %s has no care-of address for %s", uplink, a.proxy.address)
	}
	m.report(signaling.Report{Kind: PathSwitched, Home: a.address, Peer: a.proxy.address, Link: uplink})
	m.take(now, a, a.machine.Prefer(now, uplink))
	m.tick(now)
	return m.effects, nil
}
