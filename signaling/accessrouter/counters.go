package accessrouter

import (
	"maps"

	"kedge/signaling/mh"
)

// Counters count what a MAAR did since its start. They only grow.
type Counters struct {
	// Attachments and Detachments are signs of it that changed something. NotAuthorized attached and may not, NoRoom found
	// MaxNodes reached, and PoolExhausted no prefix left.
	Attachments   uint64 `json:"attachments"`
	Detachments   uint64 `json:"detachments"`
	NotAuthorized uint64 `json:"not_authorized"`
	NoRoom        uint64 `json:"no_room"`
	PoolExhausted uint64 `json:"pool_exhausted"`
	// Contended are attachments that were put off, because others kept taking the mobile node over.
	Contended uint64 `json:"contended"`
	// LocalService is how often a mobile node was served before the CMD answered.
	LocalService uint64 `json:"local_service"`
	// UpdatesSent are PBUs, Retransmissions those of them sent again; AcknowledgementsSent are PBAs, and PeerAcknowledgements
	// those of them to serving MAARs.
	UpdatesSent          uint64 `json:"updates_sent"`
	Retransmissions      uint64 `json:"retransmissions"`
	AcknowledgementsSent uint64 `json:"acknowledgements_sent"`
	PeerAcknowledgements uint64 `json:"peer_acknowledgements"`
	// Updates and Acknowledgements were received and taken.
	Updates          uint64 `json:"updates"`
	Acknowledgements uint64 `json:"acknowledgements"`
	// OctetsSent are those of Mobility Headers.
	OctetsSent uint64 `json:"octets_sent"`
	// Handovers is how often another MAAR took a mobile node over; Cleanups how often an idle prefix was given up.
	Handovers uint64 `json:"handovers"`
	Cleanups  uint64 `json:"cleanups"`
	// Refused counts the PBUs that were refused by status code, RefusedByControl the PBAs that refused.
	Refused          Refused   `json:"refused"`
	RefusedByControl Refused   `json:"refused_by_control"`
	Discarded        Discarded `json:"discarded"`
	// BadAnchors are previous MAARs in acknowledgements that could not be: their prefix is this MAAR's or another mobile
	// node's, or their address or that of their DLIF is none.
	BadAnchors uint64 `json:"bad_anchors"`
}

// Refused counts by status code.
type Refused map[mh.Status]uint64

// Discarded counts messages that went unanswered, by reason.
type Discarded struct {
	BadChecksum  uint64 `json:"bad_checksum"`
	Malformed    uint64 `json:"malformed"`
	BadAddresses uint64 `json:"bad_addresses"`
	// Stranger messages came from nobody who may say such a thing, Unauthenticated ones had no authentication or a wrong
	// one, Replayed ones an RFC 4285 timestamp that is not fresh.
	Stranger        uint64 `json:"stranger"`
	Unauthenticated uint64 `json:"unauthenticated"`
	Replayed        uint64 `json:"replayed"`
	// Unmatched acknowledgements answer nothing that was sent lately, Mismatched ones do not repeat what they have to
	// (RFC 5213 section 6.9.1.2). WrongProtocol had or had not flags P and D.
	Unmatched     uint64 `json:"unmatched"`
	Mismatched    uint64 `json:"mismatched"`
	WrongProtocol uint64 `json:"wrong_protocol"`
	// Outdated updates were sent before this MAAR registered the mobile node.
	Outdated uint64 `json:"outdated"`
	Full     uint64 `json:"full"`
}

// Counters is a copy of the counters.
func (m *Machine) Counters() Counters {
	c := m.counters
	c.Refused = maps.Clone(c.Refused)
	c.RefusedByControl = maps.Clone(c.RefusedByControl)
	return c
}
