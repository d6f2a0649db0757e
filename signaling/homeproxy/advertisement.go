package homeproxy

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

const (
	// firstWait is how long the first transmission waits for its acknowledgement where the round trip is not known. It is
	// shortestWait where it is known to be short, for no more than three messages a second (RFC 6275 section 11.8).
	firstWait    = time.Second
	shortestWait = 400 * time.Millisecond
	longestWait  = 32 * time.Second
	// remembersSent is how many transmissions an acknowledgement can be of.
	remembersSent = 8
	// afterChange is how soon after an advertisement another one may say that a round trip is known, or is not any more.
	afterChange = 3 * time.Second
	// resynchronisations is how often an advertisement is sent again at once because clocks differ.
	resynchronisations = 2
)

// advertiser tells one home agent of the DHP.
type advertiser struct {
	agent       HomeAgent
	association auth.Association
	clock       auth.Clock
	sequence    uint16
	// sent are the transmissions of the advertisement with that sequence number, while it is not acknowledged.
	sent           []sentAdvertisement
	wait           time.Duration
	resynchronised int
	// next is when the next one leaves; zero for never. last is when the last one did.
	next, last time.Time
	// answered is when the home agent acknowledged last, with status, after roundTrip if that is not 0.
	answered  time.Time
	status    mh.Status
	roundTrip time.Duration
}

type sentAdvertisement struct {
	stamp mh.NTPTime
	at    time.Time
}

func newAdvertiser(agent HomeAgent, association auth.Association, random *rand.Rand, now time.Time) *advertiser {
	return &advertiser{agent: agent, association: association, sequence: uint16(random.Uint32()), next: now}
}

// advertise sends the advertisements that are due.
func (m *Machine) advertise(now time.Time) {
	for _, a := range m.advertisers {
		if !a.next.IsZero() && !now.Before(a.next) {
			m.transmit(now, a)
		}
	}
}

// transmit sends a new advertisement, or the one that is not acknowledged again, with what there is to say now.
func (m *Machine) transmit(now time.Time, a *advertiser) {
	if len(a.sent) == 0 {
		a.begin()
	}
	stamp := a.clock.Stamp(now)
	if len(a.sent) == remembersSent {
		a.sent = append(a.sent[:0], a.sent[1:]...)
	}
	a.sent = append(a.sent, sentAdvertisement{stamp, now})
	a.last, a.next = now, now.Add(a.wait)
	a.wait = min(2*a.wait, longestWait)
	lifetime := m.cfg.AdvertisementLifetime
	if m.stopping {
		lifetime = 0
	}
	advertisement := &mh.DMIPv6{
		Subtype: mh.DHPAdvertisement, Sequence: a.sequence, Lifetime: lifetime,
		Options: m.cfg.advertised(lifetime, m.load(), m.probes),
	}
	payload, err := auth.Sign(advertisement, a.association, m.cfg.Address, netip.IPv6Unspecified(), stamp)
	if err != nil {
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, a.agent.Address)
	m.counters.Advertisements++
	m.do(
		signaling.Send{Source: m.cfg.Address, Destination: a.agent.Address, Payload: payload},
		signaling.Report{Kind: DHPAdvertisementSent, Peer: a.agent.Address, Sequence: a.sequence, Lifetime: lifetime},
	)
}

// begin starts a new advertisement.
func (a *advertiser) begin() {
	a.sequence++
	a.resynchronised = 0
	a.wait = firstWait
	if a.roundTrip > 0 {
		a.wait = min(max(2*a.roundTrip, shortestWait), longestWait)
	}
}

// withdraw has the home agents that may know the DHP told that it goes.
func (m *Machine) withdraw(now time.Time) {
	for _, a := range m.advertisers {
		a.sent = nil
		a.next = time.Time{}
		if !a.last.IsZero() {
			a.next = now
		}
	}
}

// advertiseChange has all home agents told soon.
func (m *Machine) advertiseChange(now time.Time) {
	if m.stopping {
		return
	}
	for _, a := range m.advertisers {
		if soon := a.last.Add(afterChange); len(a.sent) == 0 && soon.Before(a.next) {
			a.next = now
			if now.Before(soon) {
				a.next = soon
			}
		}
	}
}

// acknowledged takes a DHP Advertisement Acknowledgement. Its care-of address is its destination (RFC 4285 section 5.1 has none
// for messages without home address).
func (m *Machine) acknowledged(now time.Time, i incoming) {
	a := m.advertiserFor(i)
	if a == nil {
		m.counters.Discarded.Unmatched++
		return
	}
	lookup := func(spi uint32) (auth.Association, bool) { return a.association, spi == a.association.SPI }
	if _, err := auth.Verify(i.Payload, i.message, lookup, i.Destination, netip.IPv6Unspecified()); err != nil {
		if errors.Is(err, auth.ErrMissing) {
			m.counters.Discarded.Unauthenticated++
		} else {
			m.counters.Discarded.Forged++
		}
		return
	}
	stamp, err := auth.Timestamp(i.message.Options)
	sent, ok := a.match(stamp, i.message.Status)
	if err != nil || !ok {
		m.counters.Discarded.Unmatched++
		return
	}
	m.counters.Acknowledgements++
	m.do(signaling.Report{
		Kind: DHPAdvertisementAnswered, Peer: a.agent.Address, Sequence: a.sequence, Lifetime: i.message.Lifetime,
		Status: uint8(i.message.Status),
	})
	a.answered, a.status = now, i.message.Status
	if i.message.Status == mh.StatusIDMismatch {
		a.clock.Resynchronise(stamp, now)
		if a.resynchronised < resynchronisations {
			a.resynchronised++
			a.next = now
		}
		return
	}
	a.roundTrip = max(now.Sub(sent.at), time.Millisecond)
	a.sent = nil
	a.next = now.Add(m.cfg.AdvertisementInterval)
	if m.stopping {
		a.next = time.Time{}
	}
}

// advertiserFor finds the advertiser that waits for i.
func (m *Machine) advertiserFor(i incoming) *advertiser {
	for _, a := range m.advertisers {
		if i.Destination == m.cfg.Address && i.Source == a.agent.Address && i.message.Sequence == a.sequence && len(a.sent) > 0 {
			return a
		}
	}
	return nil
}

// match finds the transmission with an acknowledgement's timestamp, of which status 144 leaves only the lower half.
func (a *advertiser) match(stamp mh.NTPTime, status mh.Status) (sentAdvertisement, bool) {
	for _, s := range a.sent {
		if s.stamp == stamp || status == mh.StatusIDMismatch && uint32(s.stamp) == uint32(stamp) {
			return s, true
		}
	}
	return sentAdvertisement{}, false
}

// information is the DHP as DHP Information, once for each coverage prefix.
func (c *Config) information(coverage []Coverage, lifetime time.Duration, load uint8, probes []*probe) mh.Options {
	var options mh.Options
	for _, v := range coverage {
		options = append(options, &mh.DHPInformation{
			Preference: c.Preference, Load: load, RTT: roundTrip(probes, v.Probe), Coverage: v.Prefix.Masked(), Lifetime: lifetime,
			Address: c.Address,
		})
	}
	return options
}

// advertised is what an advertisement says: all the coverage, and after the first of it, for it is all about one DHP, the UDP
// endpoints.
func (c *Config) advertised(lifetime time.Duration, load uint8, probes []*probe) mh.Options {
	options := c.information(c.Coverage, lifetime, load, probes)
	var endpoints mh.Options
	for _, e := range c.Endpoints {
		endpoints = append(endpoints, &mh.UDPEndpoint{Endpoint: e})
	}
	return slices.Insert(options, min(1, len(options)), endpoints...)
}

// load is how much of what can be lent is not to be had, in percent, rounded up.
func (m *Machine) load() uint8 {
	room := 0.0
	for _, p := range m.pools {
		room += p.size()
	}
	if m.cfg.MaxBindings > 0 {
		room = min(room, float64(m.cfg.MaxBindings))
	}
	return uint8(min(math.Ceil(float64(m.inner.Cache().Len())*100/room), 100))
}
