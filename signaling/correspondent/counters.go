package correspondent

import "kedge/signaling"

// The kinds of report.
const (
	BindingUpdateReceived signaling.ReportKind = "correspondent-binding-update-received"
	// BindingCreated is of a new binding, and of one with a new care-of address.
	BindingCreated       signaling.ReportKind = "correspondent-binding-created"
	BindingDeleted       signaling.ReportKind = "correspondent-binding-deleted"
	BindingExpired       signaling.ReportKind = "correspondent-binding-expired"
	BindingUpdateRefused signaling.ReportKind = "correspondent-binding-update-refused"
	RefreshRequested     signaling.ReportKind = "correspondent-binding-refresh-requested"
)

// Counters count what a correspondent node did since its start. They only grow.
type Counters struct {
	// Tests are Home Test and Care-of Test messages sent.
	Tests uint64 `json:"tests"`
	// BindingUpdates is how many were authentic.
	BindingUpdates   uint64 `json:"binding_updates"`
	Registered       uint64 `json:"registered"`
	Deregistered     uint64 `json:"deregistered"`
	Refused          uint64 `json:"refused"`
	Acknowledgements uint64 `json:"acknowledgements"`
	Expired          uint64 `json:"expired"`
	RefreshRequests  uint64 `json:"refresh_requests"`
	BindingErrors    uint64 `json:"binding_errors"`
	// Unauthentic Binding Updates had a wrong authenticator, or none; Discarded ones failed another test of RFC 6275 section
	// 9.5.1 that asks for silence.
	Unauthentic uint64 `json:"unauthentic"`
	Discarded   uint64 `json:"discarded"`
	// Malformed messages could not be read, Ignored ones do not concern this role, Limited ones were one too many.
	Malformed uint64 `json:"malformed"`
	Ignored   uint64 `json:"ignored"`
	Limited   uint64 `json:"limited"`
}
