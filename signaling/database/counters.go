package database

import (
	"maps"

	"kedge/signaling/mh"
)

// Counters count what a database did since its start. They only grow.
type Counters struct {
	// Updates is how many PBUs arrived well formed and for this database. Each is a Registration (a new session), Handoff,
	// Refresh, Deregistration, CleanUp or Renewal (of a P-MAAR that wanted to de-register), is Refused, or Discarded.
	Updates         uint64 `json:"updates"`
	Registrations   uint64 `json:"registrations"`
	Handoffs        uint64 `json:"handoffs"`
	Refreshes       uint64 `json:"refreshes"`
	Deregistrations uint64 `json:"deregistrations"`
	CleanUps        uint64 `json:"clean_ups"`
	Renewals        uint64 `json:"renewals"`
	// Plain is how many of the accepted had no flag D.
	Plain   uint64  `json:"plain"`
	Refused Refused `json:"refused"`
	// Expired and Removed are sessions that ended for want of refreshing, and by an operator.
	Expired uint64 `json:"expired"`
	Removed uint64 `json:"removed"`
	// UpdatesSent are PBUs to P-MAARs, Retransmissions those of them sent before.
	UpdatesSent     uint64 `json:"updates_sent"`
	Retransmissions uint64 `json:"retransmissions"`
	// RateLimited PBUs were put off because their P-MAAR got three about the mobile node within a second.
	RateLimited uint64 `json:"rate_limited"`
	// Acknowledgements are PBAs that P-MAARs were asked for; Late are those of them that came after the S-MAAR was answered,
	// in relay mode; Declined those that end a prefix.
	Acknowledgements uint64 `json:"acknowledgements"`
	Late             uint64 `json:"late"`
	Declined         uint64 `json:"declined"`
	// Unanswered is how often a P-MAAR was given up.
	Unanswered uint64 `json:"unanswered"`
	// AcknowledgementsSent are PBAs sent, refusals too.
	AcknowledgementsSent uint64 `json:"acknowledgements_sent"`
	// Dropped are prefixes that left a session because it had too many.
	Dropped   uint64    `json:"dropped"`
	Discarded Discarded `json:"discarded"`
	// BindingErrors and ParameterProblems were sent; Throttled answers were not, by rate limit or because they would have been
	// longer than what they answer.
	BindingErrors     uint64 `json:"binding_errors"`
	ParameterProblems uint64 `json:"parameter_problems"`
	Throttled         uint64 `json:"throttled"`
	// StoreErrors is how often the session store failed.
	StoreErrors uint64 `json:"store_errors"`
}

// Refused counts refused PBUs by status code.
type Refused map[mh.Status]uint64

// Discarded counts messages that went unanswered, by reason.
type Discarded struct {
	// BadChecksum and Malformed are RFC 6275 section 9.2's; Malformed has also repeated options that must be alone.
	BadChecksum uint64 `json:"bad_checksum"`
	Malformed   uint64 `json:"malformed"`
	// BadAddresses had a source or destination that they must not have, or a home address.
	BadAddresses uint64 `json:"bad_addresses"`
	// Strangers are not among the routers; Unauthenticated had no authentication option, UnknownAssociation one with an SPI
	// that is not the sender's, MisplacedAuthentication one that is not the last option, and BadAuthenticator is of PBAs,
	// which nobody answers.
	Strangers               uint64 `json:"strangers"`
	Unauthenticated         uint64 `json:"unauthenticated"`
	UnknownAssociation      uint64 `json:"unknown_association"`
	MisplacedAuthentication uint64 `json:"misplaced_authentication"`
	BadAuthenticator        uint64 `json:"bad_authenticator"`
	// Copies are of a PBU that was the latest.
	Copies uint64 `json:"copies"`
	// Unasked are PBAs to no PBU that waits for one, or that name another S-MAAR.
	Unasked uint64 `json:"unasked"`
	// NoSession are de-registrations without flag D of what there is not, or is another gateway's (RFC 5213 section 5.3.5).
	NoSession uint64 `json:"no_session"`
}

// Counters is a copy of the counters.
func (m *Machine) Counters() Counters {
	c := m.counters
	c.Refused = maps.Clone(m.counters.Refused)
	return c
}
