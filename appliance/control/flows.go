package control

import (
	"net/netip"
	"time"
)

// Flow is one service flow of a mobile node.
type Flow struct {
	// Number names the flow for as long as it lasts; it is not used again before the node restarts.
	Number   uint64     `json:"number"`
	Protocol string     `json:"protocol"`
	Local    netip.Addr `json:"local"`
	// LocalPort is the identifier of an ICMPv6 echo.
	LocalPort  uint16     `json:"local_port"`
	Remote     netip.Addr `json:"remote"`
	RemotePort uint16     `json:"remote_port"`
	// Class is one of RFC 8653's: fixed, session-lasting, graceful-replacement, non-persistent. Rule gave it.
	Class string `json:"class"`
	Rule  string `json:"rule"`
	// Initiator is mobile-node, correspondent, or unknown for a flow that was under way when it was first seen.
	Initiator string `json:"initiator"`
	// State is holding, active or terminated.
	State string `json:"state"`
	// Address is what the correspondent knows the mobile node by, and Anchor who forwards for it.
	Address    netip.Addr `json:"address"`
	Anchor     netip.Addr `json:"anchor,omitzero"`
	Translated bool       `json:"translated"`
	// Mode is bidirectional-tunnel, route-optimization or native.
	Mode   string `json:"mode"`
	Uplink string `json:"uplink,omitempty"`
	// TCP is syn, established, closing or closed; empty for other protocols.
	TCP         string  `json:"tcp,omitempty"`
	AgeSeconds  float64 `json:"age_seconds"`
	IdleSeconds float64 `json:"idle_seconds"`
	PacketsOut  uint64  `json:"packets_out"`
	PacketsIn   uint64  `json:"packets_in"`
	OctetsOut   uint64  `json:"octets_out"`
	OctetsIn    uint64  `json:"octets_in"`
	// Decision is set where one flow is asked for.
	Decision *Decision `json:"decision,omitempty"`
}

// Decision is why a flow has its address.
type Decision struct {
	Number  uint32 `json:"number"`
	Profile string `json:"profile"`
	// Correspondent is whom it was made for; other flows to the same region may share it.
	Correspondent netip.Addr     `json:"correspondent"`
	Source        string         `json:"source,omitempty"`
	Candidates    []Candidate    `json:"candidates,omitempty"`
	Address       netip.Addr     `json:"address"`
	Anchor        netip.Addr     `json:"anchor,omitzero"`
	Reused        bool           `json:"reused,omitempty"`
	Outcome       string         `json:"outcome"`
	Steps         []DecisionStep `json:"steps"`
}

// Candidate is a Distributed Home-Proxy that was considered. Round trips are in milliseconds, below 0 if not known.
type Candidate struct {
	Address  netip.Addr   `json:"address"`
	Coverage netip.Prefix `json:"coverage"`
	// ToProxy is the mobile node's round trip to it, Measured or else assumed; ToCorrespondent is what it reports; Sum is
	// what they were compared by.
	ToProxyMilliseconds         float64 `json:"to_proxy_milliseconds"`
	Measured                    bool    `json:"measured"`
	ToCorrespondentMilliseconds float64 `json:"to_correspondent_milliseconds"`
	SumMilliseconds             float64 `json:"sum_milliseconds"`
	Preference                  uint8   `json:"preference"`
	LoadPercent                 uint8   `json:"load_percent"`
	Chosen                      bool    `json:"chosen"`
	// Reason says why it won or lost.
	Reason string `json:"reason"`
}

// DecisionStep is one of the steps that led to a decision, after the flow's first packet.
type DecisionStep struct {
	AfterMilliseconds float64   `json:"after_milliseconds"`
	Time              time.Time `json:"time"`
	Step              string    `json:"step"`
	Detail            string    `json:"detail,omitempty"`
}

// Anchor is one Distributed Home-Proxy whose addresses a mobile node holds.
type Anchor struct {
	Address      netip.Addr   `json:"address"`
	Proxy        netip.Addr   `json:"proxy"`
	Prefix       netip.Prefix `json:"prefix"`
	Use          string       `json:"use"` // translation or host
	State        string       `json:"state"`
	CareOf       netip.Addr   `json:"care_of,omitzero"`
	Uplink       string       `json:"uplink,omitempty"`
	Flows        int          `json:"flows"`
	RoundTrip    float64      `json:"round_trip_milliseconds"`
	Loss         float64      `json:"loss"`
	Lifetime     float64      `json:"lifetime_seconds"`
	TicketExpiry time.Time    `json:"ticket_expiry,omitzero"`
	Path
}
