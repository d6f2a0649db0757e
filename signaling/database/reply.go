package database

import (
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// answer is what a PBA needs to know of its PBU. It shares nothing with what was received.
type answer struct {
	router      uint16
	sequence    uint16
	messageID   mh.NTPTime
	distributed bool
	// id is the mobile node's key; empty if the PBU had no usable MN-ID.
	id        string
	indicator mh.Handoff
	access    mh.AccessTechnology
	timestamp *mh.Timestamp
	linkLayer *mh.LinkLayerIdentifier
	linkLocal *mh.LinkLocalAddress
	// groups are its prefixes.
	groups []group
	// limit is how long a PBA may be; 0 if as long as it gets.
	limit int
}

// unassigned is ALL_ZERO in a prefix option.
var unassigned = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// send sends the PBA (RFC 5213 section 5.3.6) with these prefix options, and others at the end.
func (m *Machine) send(now time.Time, a *answer, status mh.Status, lifetime time.Duration, prefixes, others mh.Options) {
	options := make(mh.Options, 0, 8+len(prefixes)+len(others))
	identifier := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI}
	if a.id != "" {
		identifier = option(a.id)
	}
	options = append(append(options, identifier), prefixes...)
	options = append(options, &mh.HandoffIndicator{Indicator: a.indicator}, &mh.AccessTechnologyType{Technology: a.access})
	if a.timestamp != nil {
		options = append(options, a.timestamp)
	}
	if a.linkLayer != nil {
		options = append(options, a.linkLayer)
	}
	if a.linkLocal != nil {
		options = append(options, a.linkLocal)
	}
	pba := &mh.BindingAcknowledgement{
		Status: status, ProxyRegistration: true, Distributed: a.distributed && m.cfg.Mode != PlainOnly,
		Sequence: a.sequence, Lifetime: lifetime, Options: append(options, others...),
	}
	r := &m.routers[a.router]
	payload := m.sign(r, pba, r.Address, a.messageID)
	if payload == nil || a.limit > 0 && len(payload) > a.limit {
		m.counters.Throttled++
		return
	}
	m.counters.AcknowledgementsSent++
	m.do(signaling.Send{Source: m.cfg.Address, Destination: r.Address, Payload: payload})
	m.do(signaling.Report{
		Kind: AcknowledgementSent, Peer: r.Address, Sequence: a.sequence, Lifetime: lifetime, Status: uint8(status), Detail: a.text(),
	})
}

// sign encodes a message to r, without its Local Prefix options if it is too long with them; nil if it is too long even so.
func (m *Machine) sign(r *router, message mh.Message, careOf netip.Addr, messageID mh.NTPTime) []byte {
	payload, err := auth.Sign(message, r.association, careOf, home, messageID)
	if err != nil {
		list := message.OptionList()
		*list = slices.DeleteFunc(*list, func(o mh.Option) bool { return o.OptionType() == mh.OptionLocalPrefix })
		if payload, err = auth.Sign(message, r.association, careOf, home, messageID); err != nil {
			return nil
		}
	}
	mh.SetChecksum(payload, m.cfg.Address, r.Address)
	return payload
}

func (a *answer) text() string {
	if a.id == "" {
		return "(no identifier)"
	}
	return text(a.id)
}

// refuse answers q with a status of 128 or more, and what it had as it was (RFC 5213 section 5.3.6).
func (m *Machine) refuse(now time.Time, q *request, status mh.Status) {
	m.counters.Refused[status]++
	m.send(now, &q.answer, status, 0, q.requested(), nil)
}

// requested are the prefix options of q, one of ::/0 if it has none.
func (q *request) requested() mh.Options {
	var list mh.Options
	for i := range q.groups {
		list = append(list, q.groups[i].option())
	}
	for _, p := range q.previous {
		list = append(list, p)
	}
	if len(list) == 0 {
		g := group{prefix: unassigned, home: !q.distributed}
		list = append(list, g.option())
	}
	return list
}

// option is the group's prefix option.
func (g *group) option() mh.Option {
	if g.home {
		return &mh.HomeNetworkPrefix{Prefix: g.prefix}
	}
	return &mh.AnchoredPrefix{Prefix: g.prefix}
}

// listed are the groups of the PBU's own prefixes as they are stored in s.
func (a *answer) listed(s *session) mh.Options {
	var list mh.Options
	for i := range a.groups {
		if p, ok := prefixOf(a.groups[i].prefix); ok {
			if at := s.find(p); at >= 0 {
				list = s.anchors[at].options(list, a.groups[i].option())
			}
		}
	}
	return list
}

// has reports whether the PBU listed prefix.
func (a *answer) has(prefix uint64) bool {
	for i := range a.groups {
		if p, _ := prefixOf(a.groups[i].prefix); p == prefix {
			return true
		}
	}
	return false
}

// previousOptions are the groups of those prefixes of s that the PBU did not list and that which chooses.
func (m *Machine) previousOptions(s *session, a *answer, which func(*anchor) bool) mh.Options {
	var list mh.Options
	for i := range s.anchors {
		if p := &s.anchors[i]; !a.has(p.prefix) && which(p) {
			list = p.options(list, &mh.PreviousMAAR{Address: m.address(p.router), Prefix: prefixFrom(p.prefix)})
		}
	}
	return list
}

// accept answers the S-MAAR's PBU with those P-MAARs that which chooses.
func (m *Machine) accept(now time.Time, s *session, a *answer, which func(*anchor) bool) {
	m.send(now, a, mh.StatusAccepted, s.left(m.at(now)), a.listed(s), m.previousOptions(s, a, which))
}

func confirmed(a *anchor) bool { return a.confirmed }

func every(*anchor) bool { return true }

func none(*anchor) bool { return false }
