package homeagent

import "kedge/signaling/mh"

// Counters count what a home agent did since its start. They only grow.
type Counters struct {
	// BindingUpdates is how many arrived well formed. Each is Registered, Deregistered, Refused, Discarded, Superseded by
	// a newer one while it waited for duplicate address detection, or still waits.
	BindingUpdates uint64    `json:"binding_updates"`
	Registered     uint64    `json:"registered"`
	Deregistered   uint64    `json:"deregistered"`
	Refused        Refused   `json:"refused"`
	Discarded      Discarded `json:"discarded"`
	Superseded     uint64    `json:"superseded"`
	// Expired bindings were not refreshed in time, Removed ones were taken away by Remove.
	Expired         uint64 `json:"expired"`
	Removed         uint64 `json:"removed"`
	RefreshRequests uint64 `json:"refresh_requests"`
	// BindingErrors and ParameterProblems were sent; Throttled answers were not, by rate limit or because they would have
	// been longer than what they answer.
	BindingErrors     uint64 `json:"binding_errors"`
	ParameterProblems uint64 `json:"parameter_problems"`
	Throttled         uint64 `json:"throttled"`
	// Discoveries and PrefixAdvertisements are answers to home agent address and mobile prefix discovery.
	Discoveries          uint64 `json:"discoveries"`
	PrefixAdvertisements uint64 `json:"prefix_advertisements"`
	// StoreErrors are bindings that were made, changed or deleted without the store taking note.
	StoreErrors uint64 `json:"store_errors"`
}

// Refused counts refused Binding Updates by status code.
type Refused map[mh.Status]uint64

// Discarded counts messages that went unanswered, by reason.
type Discarded struct {
	// BadChecksum, Malformed and UnknownType are RFC 6275 section 9.2's.
	BadChecksum uint64 `json:"bad_checksum"`
	Malformed   uint64 `json:"malformed"`
	UnknownType uint64 `json:"unknown_type"`
	// NotForHomeAgent are messages of types that a home agent has no use for.
	NotForHomeAgent uint64 `json:"not_for_home_agent"`
	// BadAddresses had a source, destination, home address or care-of address that they must not have.
	BadAddresses uint64 `json:"bad_addresses"`
	// NoHomeAddressOption are registrations without a Home Address option (section 10.3.1).
	NoHomeAddressOption uint64 `json:"no_home_address_option"`
	// NotHomeRegistration are Binding Updates for a correspondent node (section 9.5.1).
	NotHomeRegistration uint64 `json:"not_home_registration"`
	// NonceIndices came with a home registration (section 9.5.1).
	NonceIndices uint64 `json:"nonce_indices"`
	// Unauthenticated had no authentication option, UnknownAssociation one with an SPI that is not the mobile node's, and
	// MisplacedAuthentication one that is not the last option (RFC 4285 section 5).
	Unauthenticated         uint64 `json:"unauthenticated"`
	UnknownAssociation      uint64 `json:"unknown_association"`
	MisplacedAuthentication uint64 `json:"misplaced_authentication"`
	// UnverifiedHomeAddress are packets with a Home Address option that no binding bears out (section 9.3.1).
	UnverifiedHomeAddress uint64 `json:"unverified_home_address"`
	// Discovery are ICMPv6 messages that could not be answered.
	Discovery uint64 `json:"discovery"`
}
