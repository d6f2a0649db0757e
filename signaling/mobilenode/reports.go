package mobilenode

import "kedge/signaling"

// The kinds of report.
const (
	BindingUpdateSent              signaling.ReportKind = "binding-update-sent"
	BindingAcknowledgementReceived signaling.ReportKind = "binding-acknowledgement-received"
	// BindingAcknowledgementIgnored is of one that does not authenticate.
	BindingAcknowledgementIgnored signaling.ReportKind = "binding-acknowledgement-ignored"
	// BindingRegistered is of a care-of address that the home agent has accepted and did not have before.
	BindingRegistered signaling.ReportKind = "binding-registered"
	BindingRefused    signaling.ReportKind = "binding-refused"
	// BindingLost is of a binding that ran out, or that the home agent says it does not have.
	BindingLost  signaling.ReportKind = "binding-lost"
	ReturnedHome signaling.ReportKind = "returned-home"
	LeftHome     signaling.ReportKind = "left-home"
	Deregistered signaling.ReportKind = "deregistered"
	// Unattached is of the loss of the last uplink.
	Unattached signaling.ReportKind = "unattached"
	// ICMPError is of an ICMPv6 error about this node's signalling or tunnel.
	ICMPError signaling.ReportKind = "icmp-error"
	// TypeUnsupported is of a Binding Error with status 2.
	TypeUnsupported signaling.ReportKind = "mobility-header-type-unsupported"
	// SequenceAdopted and ClockAdjusted are of statuses 135 and 144.
	SequenceAdopted signaling.ReportKind = "sequence-number-adopted"
	ClockAdjusted   signaling.ReportKind = "clock-adjusted"
	// TimestampOvertaken is of a status 144 that has other reasons than the clock.
	TimestampOvertaken signaling.ReportKind = "timestamp-overtaken"
	// HomeAgentDiscovered and HomeAgentNotFound are of dynamic home agent address discovery; HomeAgentChanged of trying
	// the next that it found.
	HomeAgentDiscovered signaling.ReportKind = "home-agent-discovered"
	HomeAgentNotFound   signaling.ReportKind = "home-agent-not-found"
	HomeAgentChanged    signaling.ReportKind = "home-agent-changed"
	// HomeAddressDuplicate is of a home address that another node holds.
	HomeAddressDuplicate signaling.ReportKind = "duplicate-home-address"
	// TransportChanged is of a way to the home agent that does not work, before the next is tried.
	TransportChanged signaling.ReportKind = "transport-changed"
	// PrefixAdvertised is of an unsolicited Mobile Prefix Advertisement, which is not acted on.
	PrefixAdvertised signaling.ReportKind = "mobile-prefix-advertisement"
)
