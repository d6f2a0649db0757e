package forwarding

import (
	"net/netip"

	"kedge/netstack/packet"
)

// Result says where packets go. It, its slices and the packets in it that were not the caller's are the worker's and
// are valid until the worker's next call. The packets that were handed in are the caller's again then, wherever they
// appear here: write Outputs and finish with the rest, or copy it, before reading into them again.
type Result struct {
	// Outputs has one entry for each port that has packets to send, in the order in which they are to leave.
	Outputs []Output
	// ToHost are packets for this node's own addresses that are neither tunnels nor signalling: echo requests, packets
	// of its own transports, fragments, ICMPv6 errors about the host's own packets. Their offload state is untouched.
	ToHost []*packet.Packet
	// Signals are for the protocol roles.
	Signals []Signal
	// Neighbor are neighbour discovery and multicast listener messages.
	Neighbor []NeighborMessage
	// Strangers sent data on access ports from addresses that are not attached, or not with them. There are few in a
	// batch, and one of each a second.
	Strangers []Stranger
	// Early are tunnel packets that signalling has to be asked about first. There are few.
	Early []Early
	// News says that Engine.TakeNews has something to tell of flows.
	News bool
	// More says that Release is to be called again, once this has been written.
	More bool
}

// Output is what leaves by one port. Each packet's NextHop is set and its offload state is what the port takes.
type Output struct {
	Port    PortID
	Packets []*packet.Packet
}

// SignalKind says why a packet went to signalling.
type SignalKind uint8

// The kinds of signals.
const (
	// MobilityHeader is a packet with a Mobility Header; its checksum has not been looked at.
	MobilityHeader SignalKind = iota
	// MobileICMP is an ICMPv6 message of type 144 to 147 (RFC 6275 sections 6.5 to 6.8), checksum verified.
	MobileICMP
	// SignalingError is an ICMPv6 error about a Mobility Header, a message of type 144 to 147, or a packet with a Home
	// Address option or type 2 routing header that this node sent; checksum verified.
	SignalingError
	// TunnelError is an ICMPv6 error, other than Packet Too Big, about a tunnel packet that this node sent within a
	// current binding; checksum verified. It has been relayed to the inner source as far as RFC 2473 section 8 asks.
	TunnelError
	// EchoReply is an ICMPv6 Echo Reply (RFC 4443 section 4.2), checksum verified.
	EchoReply
	// RouteOptimized is any other packet with a Home Address option or type 2 routing header: data sent past the home
	// agent. PayloadOffset is that of its upper-layer header.
	RouteOptimized
)

var signalKindNames = [...]string{"mobility-header", "mobile-icmp", "signaling-error", "tunnel-error", "echo-reply", "route-optimized"}

func (k SignalKind) String() string { return signalKindNames[k] }

// Signal is a packet for the protocol roles. Its destination is one of this node's own addresses, or one that it holds as
// a mobile node.
type Signal struct {
	Packet *packet.Packet
	Kind   SignalKind
	// Source and Destination are those of the IPv6 header.
	Source, Destination netip.Addr
	// HomeAddress is that of the Home Address option (RFC 6275 section 6.3), and RoutingHome that in the type 2 routing
	// header (section 6.4); invalid if there was none. Whether they fit a binding has not been looked at.
	HomeAddress, RoutingHome netip.Addr
	// Upper is the upper-layer protocol, and PayloadOffset where in Packet.Bytes() it begins.
	Upper         uint8
	PayloadOffset int
	// In is the port that it came in by; Tunneled says that it came in a tunnel of a current binding.
	In       PortID
	Tunneled bool
	// Outer is where the UDP datagram came from that carried it, and OuterLocal where it was sent to; invalid if there was
	// none.
	Outer      netip.AddrPort
	OuterLocal netip.Addr
}

// Payload is the upper-layer header and what follows it.
func (s *Signal) Payload() []byte { return s.Packet.Bytes()[s.PayloadOffset:] }

// NeighborMessage is an ICMPv6 message of neighbour discovery (133 to 137; hop limit 255 and checksum verified) or
// multicast listener discovery (130 to 132, 143; checksum verified) that came in on a port that is not a Host port,
// whatever its destination.
type NeighborMessage struct {
	Packet              *packet.Packet
	Source, Destination netip.Addr
	// Type is the ICMPv6 type, and PayloadOffset where in Packet.Bytes() the ICMPv6 header begins.
	Type          uint8
	PayloadOffset int
	In            PortID
	// LinkSource is the link-layer address of its sender.
	LinkSource packet.LinkAddress
}

// Payload is the ICMPv6 message.
func (m *NeighborMessage) Payload() []byte { return m.Packet.Bytes()[m.PayloadOffset:] }
