// Package fault is how every Mobile IPv6 node answers Mobility Header messages that it cannot take (RFC 6275 section 9.2), and
// how often (RFC 4443 section 2.4 f).
package fault

import (
	"errors"
	"net/netip"
	"slices"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// Answer is what the error err of mh.Parse calls for, to be carried out if a Bucket allows it: a Binding Error for an unknown
// MH Type, a Parameter Problem for a Payload Proto or Header Len that cannot be; nil for what is dropped in silence.
//
// What came in a UDP datagram (RFC 5555), whose source nobody vouches for, is answered by another one and with no more octets
// than it has. That leaves Parameter Problems out, which quote the whole packet.
func Answer(r *signaling.Received, err error) signaling.Effect {
	var unknown *mh.UnknownTypeError
	var header *mh.HeaderError
	switch {
	case !Answerable(r.Source), r.Outer.IsValid() && !mh.UDPReachable(r.Outer):
	case errors.As(err, &unknown):
		s := BindingError(mh.UnrecognizedType, r.Source, r.Destination, r.HomeAddress)
		s.Outer, s.OuterLocal = r.Outer, r.OuterLocal
		if !r.Outer.IsValid() || len(s.Payload) <= len(r.Payload) {
			return s
		}
	case errors.As(err, &header) && !r.Outer.IsValid():
		about := *r
		about.Payload = slices.Clone(r.Payload)
		return signaling.SendParameterProblem{InReplyTo: about, Pointer: header.Pointer}
	}
	return nil
}

// BindingError is a Binding Error to the source of a packet, from its destination (RFC 6275 section 9.3.3). home is what its
// Home Address option said; invalid if it had none.
func BindingError(status mh.BindingErrorStatus, source, destination, home netip.Addr) signaling.Send {
	payload, err := mh.Append(nil, &mh.BindingError{Status: status, HomeAddress: home})
	if err != nil {
		panic(err) // it has no options, and home is an IPv6 address or none
	}
	mh.SetChecksum(payload, destination, source)
	return signaling.Send{Source: destination, Destination: source, Payload: payload}
}

// Answerable reports whether a packet from source may be answered at all (RFC 4443 section 2.4 e.6).
func Answerable(source netip.Addr) bool {
	return source.Is6() && !source.Is4In6() && !source.IsMulticast() && !source.IsUnspecified() && !source.IsLoopback()
}
