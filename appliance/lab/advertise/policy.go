// Package advertise sends router advertisements on behalf of a router of a lab, whose kernel forwards but does not
// advertise.
package advertise

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"kedge/netstack/nd"
)

// Router is what one interface advertises.
type Router struct {
	Policy         Policy
	Prefixes       []netip.Prefix
	RouterLifetime time.Duration
	Valid          time.Duration
	Preferred      time.Duration
	// RetransTimer is the link's retransmission timer (RFC 4861 section 4.2); 0 leaves it to hosts.
	RetransTimer time.Duration
}

// Policy says when advertisements are sent.
type Policy struct {
	// MinInterval and MaxInterval bound the uniformly random time between unsolicited advertisements.
	MinInterval, MaxInterval time.Duration
	// MaxAnswerDelay bounds the uniformly random delay of the unicast answer to a solicitation.
	MaxAnswerDelay time.Duration
	// InitialInterval bounds the time between the first three advertisements.
	InitialInterval time.Duration
}

// Fast is allowed to access routers of mobile nodes: unsolicited advertisements every 30 to 70 ms (RFC 6275 section 7.5)
// and answers at once.
var Fast = Policy{MinInterval: 30 * time.Millisecond, MaxInterval: 70 * time.Millisecond, InitialInterval: 70 * time.Millisecond}

// RFC4861 has the defaults of RFC 4861 sections 6.2.1 and 10.
var RFC4861 = Policy{
	MinInterval:     200 * time.Second,
	MaxInterval:     600 * time.Second,
	MaxAnswerDelay:  500 * time.Millisecond,
	InitialInterval: 16 * time.Second,
}

// next is how long after the count-th unsolicited advertisement the next is sent (RFC 4861 section 6.2.4).
func (p Policy) next(random *rand.Rand, count int) time.Duration {
	wait := p.MinInterval + time.Duration(random.Float64()*float64(p.MaxInterval-p.MinInterval))
	if count < 3 {
		wait = min(wait, p.InitialInterval)
	}
	return wait
}

func (p Policy) answerDelay(random *rand.Rand) time.Duration {
	return time.Duration(random.Float64() * float64(p.MaxAnswerDelay))
}

func (r Router) message(mac [6]byte) *nd.RouterAdvertisement {
	m := &nd.RouterAdvertisement{
		CurHopLimit:    64,
		RouterLifetime: r.RouterLifetime,
		RetransTimer:   r.RetransTimer,
		Options:        nd.Options{nd.SourceLinkLayerAddress(mac)},
	}
	// The option has 32 bits of milliseconds and helps a mobile node only where advertisements are frequent.
	if r.Policy.MaxInterval < time.Minute {
		m.Options = append(m.Options, nd.AdvertisementInterval(r.Policy.MaxInterval))
	}
	for _, p := range r.Prefixes {
		m.Options = append(m.Options, nd.PrefixInformation{
			Prefix:            p.Masked(),
			OnLink:            true,
			Autonomous:        p.Bits() == 64,
			ValidLifetime:     r.Valid,
			PreferredLifetime: r.Preferred,
		})
	}
	return m
}
