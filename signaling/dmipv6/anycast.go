package dmipv6

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// The DHPs of a correspondent's own network can be asked by anycast where the home agent knows of none. Nobody vouches for
// the answer, so that it is a hint only: the home agent is asked for a ticket for that DHP, and no flow uses it before.

const (
	// anycastWait is how long hints are waited for, and then for the home agent's confirmation of them.
	anycastWait = 3 * time.Second
	// maxHints bounds the correspondents that are asked for so at a time.
	maxHints = 16
)

// anycast is what was asked by anycast.
type anycast struct {
	asked []anycastQuery
	// until is when what is not confirmed is forgotten; zero if there is nothing.
	until time.Time
}

type anycastQuery struct {
	correspondent, anycast netip.Addr
	sequence               uint16
	careOf                 netip.Addr
	// hint is what was answered; nil if nothing was yet.
	hint *mh.DHPInformation
}

// askAnycast asks in the correspondent's network, once: nothing waits for it.
func (m *Machine) askAnycast(now time.Time, correspondent netip.Addr) {
	c := &m.anycast
	to := discovery.ProxiesAnycast(correspondent)
	if !m.cfg.Anycast || len(c.asked) >= maxHints || slices.ContainsFunc(c.asked, func(q anycastQuery) bool { return q.anycast == to }) {
		return
	}
	// Only natively: nobody knows where a datagram to such an address would have to go.
	u := m.uplink()
	if u == nil || !mh.UnicastRoutable(u.CareOf) {
		return
	}
	place := first(mobilenode.Places(mobilenode.Native, nil, u))
	x := exchange{peer: &peer{address: to}, sequence: m.random()}
	message := &mh.DMIPv6{Subtype: mh.DHPQuery}
	// The same address again and again: a DHP sends somebody it does not know no more octets than it got.
	for range 4 {
		message.Options = append(message.Options, &mh.CNAddress{Address: correspondent})
	}
	if err := m.send(now, &x, &place, message, nil, 0); err != nil {
		return
	}
	m.counters.QueriesSent++
	c.asked = append(c.asked, anycastQuery{correspondent: correspondent, anycast: to, sequence: x.sequence, careOf: place.CareOf})
	c.until = now.Add(anycastWait)
	m.report(signaling.Report{Kind: DHPQuerySent, CareOf: place.CareOf, Peer: to, Sequence: x.sequence, Detail: "by anycast"})
}

// hintReceived takes the answer to an anycast query, and asks the home agent for a ticket for the DHP.
func (m *Machine) hintReceived(now time.Time, r *signaling.Received, reply *mh.DMIPv6) {
	c := &m.anycast
	i := slices.IndexFunc(c.asked, func(q anycastQuery) bool {
		return q.sequence == reply.Sequence && q.careOf == r.Destination && q.hint == nil
	})
	if i < 0 {
		m.counters.Unmatched++
		return
	}
	q := &c.asked[i]
	for _, o := range mh.FindAll[*mh.DHPInformation](reply.Options) {
		if o.Address != r.Source && q.anycast != r.Source || !mh.UnicastRoutable(o.Address) || o.Lifetime <= 0 || !o.Coverage.Contains(q.correspondent) {
			continue
		}
		q.hint = o
		c.until = now.Add(anycastWait)
		m.report(signaling.Report{Kind: DHPQueryReplyReceived, CareOf: r.Destination, Peer: r.Source, Sequence: reply.Sequence,
			Detail: "a hint, by anycast"})
		m.proxy(o.Address)
		m.ask(wish{address: o.Address, renewal: true})
		m.reconsider = true
		return
	}
	m.counters.Ignored++
}

// hintsConfirmed takes up the hints whose DHPs the home agent has issued tickets for, for the correspondent's network only:
// the home agent vouches for the DHP and not for what it says that it covers.
func (m *Machine) hintsConfirmed(now time.Time, answered *query) {
	for i := 0; i < len(m.anycast.asked); i++ {
		q := &m.anycast.asked[i]
		if q.hint == nil || !slices.ContainsFunc(answered.wishes, func(w wish) bool { return w.address == q.hint.Address }) {
			continue
		}
		o := *q.hint
		o.Coverage, _ = q.correspondent.Prefix(64)
		if m.proxy(o.Address).association(now) != nil {
			m.learn(now, &o, FromAnycast)
		}
		m.anycast.asked = slices.Delete(m.anycast.asked, i, i+1)
		i--
	}
}

func (m *Machine) tickAnycast(now time.Time) {
	if c := &m.anycast; !c.until.IsZero() && !now.Before(c.until) {
		*c = anycast{}
	}
}
