package homeproxy

import (
	"maps"

	"kedge/signaling/homeagent"
)

// Counters count what a DHP did since its start. They only grow.
type Counters struct {
	// HomeAgent counts Binding Updates, and whatever is not DMIPv6.
	HomeAgent homeagent.Counters `json:"home_agent"`
	// Requests is how many DHoA Requests arrived well formed. Each is Lent a new address, has Renewed one that it held, has
	// Returned one, repeats one that did, is Refused or Discarded.
	Requests uint64 `json:"requests"`
	Lent     uint64 `json:"lent"`
	Renewed  uint64 `json:"renewed"`
	Returned uint64 `json:"returned"`
	// Repeated were known as retransmissions; those that had lent are Renewed too.
	Repeated uint64 `json:"repeated"`
	// Refused counts DHoA Requests by status code.
	Refused   homeagent.Refused `json:"refused"`
	Discarded Discarded         `json:"discarded"`
	// Throttled answers were not sent, by rate limit or because they would have been longer than what they answer.
	Throttled        uint64 `json:"throttled"`
	Advertisements   uint64 `json:"advertisements"`
	Acknowledgements uint64 `json:"acknowledgements"`
	Probes           uint64 `json:"probes"`
	ProbesLost       uint64 `json:"probes_lost"`
	AnycastQueries   uint64 `json:"anycast_queries"`
	AnycastReplies   uint64 `json:"anycast_replies"`
}

// Discarded counts DMIPv6 messages that went unanswered, by reason.
type Discarded struct {
	// BadAddresses had a source or destination that they must not have, or a home address.
	BadAddresses uint64 `json:"bad_addresses"`
	// Unauthenticated had no authentication option, UnknownAssociation one without the ticket and MN-ID that go with it or of
	// an unknown home agent, and MisplacedAuthentication one that is not the last option (RFC 4285 section 5).
	Unauthenticated         uint64 `json:"unauthenticated"`
	UnknownAssociation      uint64 `json:"unknown_association"`
	MisplacedAuthentication uint64 `json:"misplaced_authentication"`
	// Forged acknowledgements did not verify, Unmatched ones are of no advertisement that waits for one.
	Forged    uint64 `json:"forged"`
	Unmatched uint64 `json:"unmatched"`
	// NotForHomeProxy are messages of subtypes that a DHP has no use for, NotCovered anycast queries for other CNs.
	NotForHomeProxy uint64 `json:"not_for_home_proxy"`
	NotCovered      uint64 `json:"not_covered"`
}

// Counters is a copy of the counters.
func (m *Machine) Counters() Counters {
	c := m.counters
	c.HomeAgent = m.inner.Counters()
	c.Refused = maps.Clone(c.Refused)
	return c
}
