package homeagent

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// A mobile node behind a NAT, or where there is no IPv6, sends its Binding Updates in UDP datagrams (RFC 5555), over IPv4 as
// the RFC has it, or over IPv6, which is this project's own extension. The IPv6 packet inside has the home address for its
// source, and neither a Home Address option nor, in the answer, a type 2 routing header. The care-of address that the mobile
// node knows of comes in an option. Where the datagram came from is what the binding is made for: a NAT may have rewritten it,
// which is how one is detected (section 4.2).
//
// Hence nothing authenticates the care-of address of such a binding (section 5). Who can change the outer header of a Binding
// Update on its way, or hold it back and send it on from elsewhere while its timestamp is fresh, has the mobile node's packets
// sent to where he wants. That takes a place on the path, which is enough to read and to drop all those packets anyway. A
// copy of one that has arrived does nothing: its timestamp is not later than the last accepted one. And a Binding Update
// without datagram, whose care-of address is authenticated, cannot be made into one with it: flag F or the IPv4 Care-of Address
// option, which authentication covers, has to say that it was meant so.

const (
	// DefaultNATRefresh is NATKATIMEOUT (RFC 5555 section 6).
	DefaultNATRefresh = 110 * time.Second
	// MaxNATRefresh is more than any NAT waits for.
	MaxNATRefresh = 24 * time.Hour
)

// FitDatagram reports whether a message came in no datagram, or as a mobile node sends them: from an address that can be
// answered, and with neither Home Address option nor routing header.
func FitDatagram(r *signaling.Received) bool {
	if !r.Outer.IsValid() {
		return true
	}
	return mh.UDPReachable(r.Outer) && !r.HomeAddress.IsValid() && !r.RoutingHome.IsValid()
}

// ToldCareOf is the care-of address that the mobile node knows of, from the options of a message in a datagram; the invalid
// address if there is none. It is in an IPv4 Care-of Address option (RFC 5555 section 3.1.2), or in an Alternate Care-of
// Address option if it is an IPv6 address. Of two, it is the one of the family that the datagram came in.
func ToldCareOf(r *signaling.Received, options mh.Options) netip.Addr {
	v4, has4 := mh.Find[*mh.IPv4CareOfAddress](options)
	v6, has6 := mh.Find[*mh.AlternateCareOf](options)
	switch {
	case has4 && (r.Outer.Addr().Is4() || !has6):
		return v4.Address
	case has6:
		return v6.Address
	}
	return netip.Addr{}
}

// NATDetection is the option that answers a message in a datagram (RFC 5555 section 3.2.2): there is a NAT if told, the care-of
// address that the mobile node knows of, is not where the datagram came from; refresh is for that case. Flag F keeps both
// ends at UDP, NAT or not.
func NATDetection(r *signaling.Received, told netip.Addr, refresh time.Duration) *mh.NATDetection {
	if told == r.Outer.Addr() {
		return &mh.NATDetection{ForceUDP: true, NoKeepalive: true}
	}
	return &mh.NATDetection{ForceUDP: true, Refresh: refresh}
}

// datagram says that the request came in a UDP datagram.
func (q *request) datagram() bool { return q.received.Outer.IsValid() }

// authenticated is the care-of address that goes into the computation of RFC 4285 section 5.1.
func (q *request) authenticated() netip.Addr {
	if q.told.IsValid() {
		return q.told
	}
	return q.received.Source
}

// unlikeDatagram says what a registration in a datagram is missing; empty if nothing, or if it came in none.
func (q *request) unlikeDatagram() string {
	switch {
	case !q.datagram():
		return ""
	case !q.told.IsValid():
		return "there is no option with the care-of address (RFC 5555 section 4.2)"
	case q.told.Is6() && !q.update.ForceUDP:
		return "flag F is not set"
	}
	return ""
}

// appendIPv4Refusals answers the IPv4 Home Address options of a Binding Update that is accepted: there are no IPv4 home
// addresses here (RFC 5555 section 4.5).
func appendIPv4Refusals(ack, update mh.Options) mh.Options {
	for _, o := range update {
		h, ok := o.(*mh.IPv4HomeAddress)
		if !ok {
			continue
		}
		status := mh.IPv4Unspecified
		switch {
		case h.RequestPrefix:
			status = mh.IPv4PrefixAllocationNotAuthorized
		case h.Address.IsUnspecified():
			status = mh.IPv4DynamicAssignmentNotAvailable
		}
		ack = append(ack, &mh.IPv4AddressAcknowledgement{Status: status, Address: h.Address})
	}
	return ack
}
