package signaling

import (
	"net/netip"
	"time"
)

// FlowKey identifies a service flow as the host's programs see it: Local is a home address, or a Distributed Home Address
// that the host itself holds.
type FlowKey struct {
	Local, Remote netip.Addr
	Protocol      uint8
	// LocalPort is the identifier, and RemotePort 0, of an ICMPv6 echo; both are 0 where there are neither.
	LocalPort, RemotePort uint16
}

// FlowHeld is a new service flow whose first packets wait for the choice of its anchor. A Decide ends the wait.
type FlowHeld struct {
	// Flow is forwarding's number for it.
	Flow uint64
	Key  FlowKey
	// Profile is the number of the flow's Profile; Since is when its first packet came.
	Profile int
	Since   time.Time
}

// AddressUse says how many flows use an address of this mobile node. It is handed over whenever that becomes zero, or
// ceases to be.
type AddressUse struct {
	Address netip.Addr
	Flows   int
}

// HomeRegistration says whether this mobile node is registered with its home agent, which bears out nothing else of
// DMIPv6: a query is only sent after registering. It is handed over whenever any of it changes.
type HomeRegistration struct {
	HomeAgent  netip.Addr
	Registered bool
	// AtHome says that the node is on its home link, where flows need no anchor.
	AtHome bool
	CareOf netip.Addr
	Uplink string
	// Endpoint, if valid, is where the home agent is reached in UDP datagrams (RFC 5555) from CareOf, an address of the
	// host's.
	Endpoint netip.AddrPort
	// RoundTrip is to the home agent; 0 if not measured.
	RoundTrip time.Duration
}

// EchoReply is an ICMPv6 Echo Reply (RFC 4443 section 4.2) to a SendEcho.
type EchoReply struct {
	Source, Destination  netip.Addr
	Identifier, Sequence uint16
}

func (FlowHeld) event()         {}
func (AddressUse) event()       {}
func (HomeRegistration) event() {}
func (EchoReply) event()        {}

// Decide ends the wait of a held flow: it leaves with Address as its source for its whole life. Address is the flow's own
// Local if nothing is to be translated.
type Decide struct {
	Flow    uint64
	Address netip.Addr
	// Decision numbers the explanation that its maker keeps.
	Decision uint32
}

// Choose has new flows of a profile to Prefix leave with Address as their source without being held. The longest prefix
// wins. Address is the home address if they are to stay with it.
type Choose struct {
	Profile  int
	Prefix   netip.Prefix
	Address  netip.Addr
	Decision uint32
}

// Unchoose takes a Choose back; flows under way keep what they have.
type Unchoose struct {
	Profile int
	Prefix  netip.Prefix
}

// Terminate ends the flows that use Address: their programs are told, and late packets are dropped. Profile bounds it to
// the flows of one profile, -1 takes all.
type Terminate struct {
	Address netip.Addr
	Profile int
	// Detail is for people: why.
	Detail string
}

// Hint has the host hold Address, and programs that connect to Prefix use it unless they bind another one.
type Hint struct {
	Address netip.Addr
	Prefix  netip.Prefix
}

// Unhint takes a Hint back. The host holds Address until the last of its hints is gone and Release says so.
type Unhint struct {
	Address netip.Addr
	Prefix  netip.Prefix
}

// Release says that this mobile node does not hold Address any more, nor does its host.
type Release struct{ Address netip.Addr }

// SendEcho sends an ICMPv6 Echo Request (RFC 4443 section 4.1) without data, by Link to Router if there is one.
type SendEcho struct {
	Source, Destination  netip.Addr
	Identifier, Sequence uint16
	Link                 string
	Router               netip.Addr
	// Tunnel, if valid, is the address of this node's whose tunnel carries it: Source is that address too, and the reply
	// comes back through the tunnel.
	Tunnel netip.Addr
}

func (Decide) effect()    {}
func (Choose) effect()    {}
func (Unchoose) effect()  {}
func (Terminate) effect() {}
func (Hint) effect()      {}
func (Unhint) effect()    {}
func (Release) effect()   {}
func (SendEcho) effect()  {}
