package dmipv6

import "kedge/signaling"

// The kinds of report. The first eight are the steps of a new flow.
const (
	FlowClassified        signaling.ReportKind = "flow-classified"
	FlowInitiator         signaling.ReportKind = "flow-initiator"
	DHPQuerySent          signaling.ReportKind = "dhp-query-sent"
	DHPQueryReplyReceived signaling.ReportKind = "dhp-query-reply-received"
	DHPSelected           signaling.ReportKind = "dhp-selected"
	DHoARequestSent       signaling.ReportKind = "dhoa-request-sent"
	DHoAResponseReceived  signaling.ReportKind = "dhoa-response-received"
	// FlowDecided tells the address and the communication mode.
	FlowDecided signaling.ReportKind = "flow-decided"

	// ReplyIgnored is of a reply that is not authentic, or answers nothing.
	ReplyIgnored signaling.ReportKind = "dmipv6-reply-ignored"
	// DirectoryUnusable is of a home agent that does not answer DHP Queries.
	DirectoryUnusable signaling.ReportKind = "dhp-directory-unusable"
	// DHPSkipped is of a DHP that is not asked for a while.
	DHPSkipped signaling.ReportKind = "dhp-skipped"
	// TicketReceived and TicketWanted are of a DHP's Key Ticket.
	TicketReceived signaling.ReportKind = "key-ticket-received"
	TicketWanted   signaling.ReportKind = "key-ticket-wanted"
	// DHoALent and DHoAReturned begin and end the possession of an address; DHoARestored takes it up after a restart.
	DHoALent     signaling.ReportKind = "dhoa-lent"
	DHoARestored signaling.ReportKind = "dhoa-restored"
	DHoAReturned signaling.ReportKind = "dhoa-returned"
	// DHoALost is of an address whose DHP has ended it, or is dead.
	DHoALost signaling.ReportKind = "dhoa-lost"
	// QualityJudged is of one profile on one anchor after a move.
	QualityJudged signaling.ReportKind = "quality-judged"
	// FlowsTerminated is of flows that cannot or must not go on.
	FlowsTerminated signaling.ReportKind = "flows-terminated"
	// AnchorSilent is of an anchor that missed a heartbeat.
	AnchorSilent signaling.ReportKind = "anchor-silent"
	// PathSwitched is of an operator's command.
	PathSwitched signaling.ReportKind = "path-switched"
	// StoreFailed is of a lease that could not be written or read.
	StoreFailed signaling.ReportKind = "lease-store-failed"
)
