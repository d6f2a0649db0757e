package directory

import (
	"maps"

	"kedge/signaling/mh"
)

// Counters count what a directory did since its start. They only grow.
type Counters struct {
	// Queries is how many arrived well formed; each is Answered, Refused or Discarded. NoDHPKnown are those of the Answered
	// that got status 240, and Tickets how many the others got.
	Queries    uint64 `json:"queries"`
	Answered   uint64 `json:"answered"`
	NoDHPKnown uint64 `json:"no_dhp_known"`
	Tickets    uint64 `json:"tickets"`
	// Advertisements is how many arrived well formed; each is Accepted, Refused or Discarded. Withdrawn are those of the
	// Accepted with a lifetime of 0.
	Advertisements uint64 `json:"advertisements"`
	Accepted       uint64 `json:"accepted"`
	Withdrawn      uint64 `json:"withdrawn"`
	// Expired counts coverage prefixes that were not advertised again in time.
	Expired   uint64    `json:"expired"`
	Refused   Refused   `json:"refused"`
	Discarded Discarded `json:"discarded"`
	// BindingErrors and ParameterProblems were sent; Throttled answers were not, by rate limit or because they would have
	// been longer than what they answer.
	BindingErrors     uint64 `json:"binding_errors"`
	ParameterProblems uint64 `json:"parameter_problems"`
	Throttled         uint64 `json:"throttled"`
}

// Refused counts refused queries and advertisements by status code.
type Refused map[mh.Status]uint64

// Discarded counts messages that went unanswered, by reason.
type Discarded struct {
	// BadChecksum, Malformed and UnknownType are RFC 6275 section 9.2's; Malformed has also what lacks an option that it
	// needs or has too many, UnknownType also other experiments' messages.
	BadChecksum uint64 `json:"bad_checksum"`
	Malformed   uint64 `json:"malformed"`
	UnknownType uint64 `json:"unknown_type"`
	// NotForDirectory are DMIPv6 messages that a directory has no use for.
	NotForDirectory uint64 `json:"not_for_directory"`
	// BadAddresses had a source or destination that they must not have, or a home address.
	BadAddresses uint64 `json:"bad_addresses"`
	// Unauthenticated had no authentication option, UnknownAssociation one with an SPI that is not the sender's, and
	// MisplacedAuthentication one that is not the last option (RFC 4285 section 5).
	Unauthenticated         uint64 `json:"unauthenticated"`
	UnknownAssociation      uint64 `json:"unknown_association"`
	MisplacedAuthentication uint64 `json:"misplaced_authentication"`
}

// Counters is a copy of the counters.
func (m *Machine) Counters() Counters {
	c := m.counters
	c.Refused = maps.Clone(m.counters.Refused)
	return c
}
