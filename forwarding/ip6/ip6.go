// Package ip6 reads IPv6 headers: the fixed header, and the extension headers behind it with bounded work. It knows
// octets only.
package ip6

// The lengths of headers in octets, and the smallest MTU that a link may have (RFC 8200 section 5).
const (
	HeaderLength         = 40
	FragmentHeaderLength = 8
	MinimumMTU           = 1280
)

// Protocol numbers, as in the Next Header field.
const (
	HopByHop           = 0
	TCP                = 6
	UDP                = 17
	IPv6               = 41
	Routing            = 43
	Fragment           = 44
	Authentication     = 51
	ICMP               = 58
	NoNextHeader       = 59
	DestinationOptions = 60
	DCCP               = 33
	SCTP               = 132
	MobilityHeader     = 135
	UDPLite            = 136
)
