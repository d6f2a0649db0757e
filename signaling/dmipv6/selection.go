package dmipv6

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// Candidate is a DHP as it stood when a flow's anchor was selected.
type Candidate struct {
	Address  netip.Addr
	Coverage netip.Prefix
	Source   Source
	// MobileRoundTrip is between this node and the DHP. If it was not Measured, it is the round trip to the home agent, 1 s if
	// that is not known either, but no more than the least that was measured to another candidate: else all flows would go
	// by the DHP that happened to be used first. It is measured at once, and later flows know better.
	MobileRoundTrip time.Duration
	Measured        bool
	// CorrespondentRoundTrip is what the DHP reports of itself and its coverage; -1 if unknown, and then the round trip to
	// the home agent stands for it in Sum.
	CorrespondentRoundTrip time.Duration
	Sum                    time.Duration
	// Loss is what was measured between this node and the DHP; -1 if it was not.
	Loss             float64
	Preference, Load uint8
	// Held says that an address of the DHP is in hand.
	Held bool
	// Accepted is the verdict, and Why its reason.
	Accepted bool
	Why      string

	proxy *proxy
	// ticketless says that nothing but the ticket is missing.
	ticketless bool
}

// An address in hand is left for a DHP whose round trip is less by more than an eighth and by more than leastGain: a new
// address costs every first flow a round trip, and figures waver.
const leastGain = 2 * time.Millisecond

// sel is the result of a selection.
type sel struct {
	region netip.Prefix
	source Source
	// candidates are in the order of preference, those that are not accepted last.
	candidates []Candidate
}

// accepted are the candidates that may be used, best first.
func (s *sel) accepted() []Candidate {
	n := slices.IndexFunc(s.candidates, func(c Candidate) bool { return !c.Accepted })
	if n < 0 {
		n = len(s.candidates)
	}
	return s.candidates[:n]
}

// ticketless says whether all that is missing is a ticket.
func (s *sel) ticketless() bool {
	return len(s.accepted()) == 0 && slices.ContainsFunc(s.candidates, func(c Candidate) bool { return c.ticketless })
}

// why is the reason for which nothing was accepted.
func (s *sel) why() string {
	if len(s.candidates) == 0 {
		return "no DHP is known near the correspondent"
	}
	return "no DHP will do: " + s.candidates[0].Address.String() + ": " + s.candidates[0].Why
}

// choose selects the DHP for flows of a profile to region: those that can be used and meet the profile's bounds, ordered by
// the round trip to the correspondent, then preference, then load.
func (m *Machine) choose(now time.Time, profile int, region netip.Prefix) sel {
	s := sel{region: region, source: FromCache}
	near := m.nearby(region)
	assumed := m.assumedRoundTrip()
	for _, n := range near {
		p := m.proxy(n.proxy)
		if d := p.path.from(m.placeOf(p).CareOf); d > 0 {
			assumed = min(assumed, d)
		}
	}
	for _, n := range near {
		if n.source != FromHomeAgent {
			s.source = n.source
		}
		s.candidates = append(s.candidates, m.judgeCandidate(now, profile, n, assumed))
	}
	slices.SortStableFunc(s.candidates, func(a, b Candidate) int {
		switch {
		case a.Accepted != b.Accepted:
			if a.Accepted {
				return -1
			}
			return 1
		case !a.Accepted:
			return 0
		}
		return cmp.Or(compareRoundTrips(&a, &b), cmp.Compare(b.Preference, a.Preference), cmp.Compare(a.Load, b.Load), a.Address.Compare(b.Address))
	})
	for i := range s.accepted() {
		if c := &s.candidates[i]; i == 0 {
			c.Why = "the best"
		} else {
			c.Why = whyBehind(&s.candidates[0], c)
		}
	}
	return s
}

// compareRoundTrips orders by the round trip, less what an address in hand is worth.
func compareRoundTrips(a, b *Candidate) int {
	return cmp.Compare(a.weight(b), b.weight(a))
}

func (c *Candidate) weight(other *Candidate) time.Duration {
	if c.Held && !other.Held {
		return c.Sum - max(c.Sum/8, leastGain)
	}
	return c.Sum
}

func whyBehind(best, c *Candidate) string {
	switch {
	case compareRoundTrips(best, c) != 0 && best.Sum > c.Sum:
		return text("%v is not enough less than the %v of the one in hand", c.Sum, best.Sum)
	case compareRoundTrips(best, c) != 0:
		return text("%v, the best has %v", c.Sum, best.Sum)
	case best.Preference != c.Preference:
		return text("preference %d, the best has %d", c.Preference, best.Preference)
	case best.Load != c.Load:
		return text("load %d %%, the best has %d %%", c.Load, best.Load)
	}
	return "as good as the best, whose address is lower"
}

// judgeCandidate finds whether the DHP can be used and meets the bounds. What was not measured is not judged: the figure
// that stands for it is another node's.
func (m *Machine) judgeCandidate(now time.Time, profile int, n covering, assumed time.Duration) Candidate {
	bounds := &m.cfg.Profiles[profile]
	p := m.proxy(n.proxy)
	c := Candidate{Address: n.proxy, Coverage: n.by, Source: n.source, CorrespondentRoundTrip: n.roundTrip,
		Preference: n.preference, Load: n.load, Loss: -1, proxy: p}
	c.Held = m.inHand(now, p, profile) != nil
	careOf := m.placeOf(p).CareOf
	if d := p.path.from(careOf); d > 0 {
		c.MobileRoundTrip, c.Measured = d, true
	} else {
		c.MobileRoundTrip = assumed
	}
	if p.path.careOf == careOf && p.path.lossKnown {
		c.Loss = p.path.loss
	}
	c.Sum = c.MobileRoundTrip + c.CorrespondentRoundTrip
	if c.CorrespondentRoundTrip < 0 {
		c.Sum = c.MobileRoundTrip + m.assumedRoundTrip()
	}
	switch limit := bounds.MaxRoundTrip; {
	case !c.Held && now.Before(p.skipUntil):
		c.Why = p.skipWhy
	case !c.Held && m.careOf.IsValid() && !m.placeTo(p).CareOf.IsValid():
		c.Why = "it cannot be reached from here by the transport that it is for"
	case limit > 0 && c.Measured && c.MobileRoundTrip+max(c.CorrespondentRoundTrip, 0) > limit:
		c.Why = text("round trip %v, the profile allows %v", c.MobileRoundTrip+max(c.CorrespondentRoundTrip, 0), limit)
	case limit > 0 && c.CorrespondentRoundTrip > limit:
		c.Why = text("round trip %v beyond the DHP alone, the profile allows %v", c.CorrespondentRoundTrip, limit)
	case bounds.MaxLoss > 0 && c.Loss > bounds.MaxLoss:
		c.Why = text("%.1f %% lost, the profile allows %.1f %%", 100*c.Loss, 100*bounds.MaxLoss)
	case !c.Held && p.association(now) == nil:
		c.Why, c.ticketless = "there is no ticket for it", true
	case !c.Held && !m.roomForAnchor(p):
		c.Why = "as many addresses are held as are allowed"
	default:
		c.Accepted = true
	}
	return c
}
