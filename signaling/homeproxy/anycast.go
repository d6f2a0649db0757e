package homeproxy

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// query answers a DHP Query that was sent to the anycast address of a CN's /64, with this DHP's own information about the
// coverage prefix that the CN is in, if there is one.
//
// The answer is no more than a hint. Nothing in it is authenticated: whoever is on the path, or in a place from where the
// anycast address can be taken over, can claim to be a DHP. There is no ticket in it either, and no mobile node can use
// it before its home agent has issued one for that very address, which it does only for DHPs that it knows. Since anybody can
// ask in anybody's name, the answer is also no longer than the query, which therefore has to have, say, an authentication
// option besides one CN Address, and there are not many a second.
func (m *Machine) query(now time.Time, i incoming) {
	if !m.cfg.Anycast || i.Outer.IsValid() || i.Destination != discovery.ProxiesAnycast(i.Destination) || !mh.UnicastRoutable(i.Source) {
		m.counters.Discarded.NotForHomeProxy++
		return
	}
	m.counters.AnycastQueries++
	prefix := netip.PrefixFrom(i.Destination, 64).Masked()
	coverage := m.covering(i.message, prefix)
	if coverage == nil {
		m.counters.Discarded.NotCovered++
		return
	}
	// It holds until the next query might learn otherwise.
	lifetime := max(m.cfg.AdvertisementLifetime, time.Minute)
	payload, err := mh.Append(nil, &mh.DMIPv6{
		Subtype: mh.DHPQueryReply, Sequence: i.message.Sequence, Lifetime: lifetime,
		Options: m.cfg.information([]Coverage{*coverage}, lifetime, m.load(), m.probes),
	})
	if err != nil {
		return
	}
	if len(payload) > len(i.Payload) || !m.anycasts.Take(now) {
		m.counters.Throttled++
		return
	}
	mh.SetChecksum(payload, m.cfg.Address, i.Source)
	m.counters.AnycastReplies++
	m.do(
		signaling.Send{Source: m.cfg.Address, Destination: i.Source, Payload: payload},
		signaling.Report{
			Kind: DHPAnycastQueryAnswered, Peer: i.Source, Sequence: i.message.Sequence, Lifetime: lifetime,
			Detail: coverage.Prefix.String(),
		},
	)
}

// covering is the longest coverage prefix of a CN that is asked for and in prefix.
func (m *Machine) covering(query *mh.DMIPv6, prefix netip.Prefix) (best *Coverage) {
	for _, cn := range mh.FindAll[*mh.CNAddress](query.Options) {
		for i := range m.cfg.Coverage {
			v := &m.cfg.Coverage[i]
			if prefix.Contains(cn.Address) && v.Prefix.Contains(cn.Address) && (best == nil || v.Prefix.Bits() > best.Prefix.Bits()) {
				best = v
			}
		}
	}
	return best
}
