package homeproxy

import (
	"net/netip"
	"time"
)

// Status is what the control API shows of a DHP. Round trips are in milliseconds, below 0 if not known.
type Status struct {
	Address netip.Addr `json:"address"`
	// LoadPercent is how much of what can be lent is not to be had: Leases, bindings of plain mobile nodes included, and
	// Quarantined addresses.
	LoadPercent uint8             `json:"load_percent"`
	Leases      int               `json:"leases"`
	Quarantined int               `json:"quarantined"`
	HomeAgents  []HomeAgentStatus `json:"home_agents,omitempty"`
	Coverage    []CoverageStatus  `json:"coverage,omitempty"`
}

// HomeAgentStatus is how one home agent takes the advertisements.
type HomeAgentStatus struct {
	Address netip.Addr `json:"address"`
	// Acknowledged says that the last advertisement was answered; Answered is when any was, zero for never, and Status, a
	// status code of RFC 6275 section 6.1.8, is how.
	Acknowledged          bool      `json:"acknowledged"`
	Answered              time.Time `json:"answered,omitzero"`
	Status                uint8     `json:"status"`
	Sequence              uint16    `json:"sequence"`
	RoundTripMilliseconds float64   `json:"round_trip_milliseconds"`
	// NextIn is until the next advertisement leaves; 0 if none will.
	NextIn time.Duration `json:"next_in"`
}

// CoverageStatus is a prefix that the DHP is near to.
type CoverageStatus struct {
	Prefix                netip.Prefix `json:"prefix"`
	Probe                 netip.Addr   `json:"probe,omitzero"`
	RoundTripMilliseconds float64      `json:"round_trip_milliseconds"`
}

// Status tells how the DHP is at now.
func (m *Machine) Status(now time.Time) Status {
	cache := m.inner.Cache()
	s := Status{Address: m.cfg.Address, LoadPercent: m.load(), Leases: cache.Valid(), Quarantined: cache.Len() - cache.Valid()}
	for _, a := range m.advertisers {
		h := HomeAgentStatus{
			Address: a.agent.Address, Acknowledged: len(a.sent) == 0 && !a.answered.IsZero(), Answered: a.answered,
			Status: uint8(a.status), Sequence: a.sequence, RoundTripMilliseconds: -1,
		}
		if a.roundTrip > 0 {
			h.RoundTripMilliseconds = milliseconds(a.roundTrip)
		}
		if !a.next.IsZero() {
			h.NextIn = max(a.next.Sub(now), 0)
		}
		s.HomeAgents = append(s.HomeAgents, h)
	}
	for _, v := range m.cfg.Coverage {
		c := CoverageStatus{Prefix: v.Prefix, Probe: v.Probe, RoundTripMilliseconds: -1}
		if rtt := roundTrip(m.probes, v.Probe); rtt >= 0 {
			c.RoundTripMilliseconds = milliseconds(rtt)
		}
		s.Coverage = append(s.Coverage, c)
	}
	return s
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
