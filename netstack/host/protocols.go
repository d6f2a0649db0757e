package host

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Next headers that the host hands back.
const (
	protocolIPv6           tcpip.TransportProtocolNumber = 41
	protocolMobilityHeader tcpip.TransportProtocolNumber = 135
)

// arrived is a packet of a payloadProtocol.
type arrived struct {
	source, destination netip.Addr
	trafficClass        uint8
	payload             []byte
}

// payloadProtocol is a gVisor transport protocol whose packets are handed out whole. Being registered it keeps the stack
// from answering its number with an ICMPv6 Parameter Problem, and it sees packets after reassembly.
type payloadProtocol struct {
	number  tcpip.TransportProtocolNumber
	deliver func(arrived)
}

var _ stack.TransportProtocol = (*payloadProtocol)(nil)

func newPayloadProtocol(number tcpip.TransportProtocolNumber, deliver func(arrived)) stack.TransportProtocolFactory {
	return func(*stack.Stack) stack.TransportProtocol {
		return &payloadProtocol{number: number, deliver: deliver}
	}
}

// Number implements stack.TransportProtocol.
func (p *payloadProtocol) Number() tcpip.TransportProtocolNumber { return p.number }

// MinimumPacketSize implements stack.TransportProtocol. gVisor wants a transport header of at least an octet.
func (p *payloadProtocol) MinimumPacketSize() int { return 1 }

// Parse implements stack.TransportProtocol.
func (p *payloadProtocol) Parse(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.TransportHeader().Consume(p.MinimumPacketSize())
	return ok
}

// ParsePorts implements stack.TransportProtocol.
func (p *payloadProtocol) ParsePorts([]byte) (src, dst uint16, err tcpip.Error) { return 0, 0, nil }

// HandleUnknownDestinationPacket implements stack.TransportProtocol: every packet comes here, since there are no endpoints.
func (p *payloadProtocol) HandleUnknownDestinationPacket(_ stack.TransportEndpointID, pkt *stack.PacketBuffer) stack.UnknownDestinationPacketDisposition {
	ip := header.IPv6(pkt.NetworkHeader().Slice())
	trafficClass, _ := ip.TOS()
	payload := append(pkt.TransportHeader().Slice(), pkt.Data().AsRange().ToSlice()...)
	p.deliver(arrived{
		source:       netip.AddrFrom16(ip.SourceAddress().As16()),
		destination:  netip.AddrFrom16(ip.DestinationAddress().As16()),
		trafficClass: trafficClass,
		payload:      payload,
	})
	return stack.UnknownDestinationPacketHandled
}

// NewEndpoint implements stack.TransportProtocol.
func (p *payloadProtocol) NewEndpoint(tcpip.NetworkProtocolNumber, *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return nil, &tcpip.ErrNotSupported{}
}

// NewRawEndpoint implements stack.TransportProtocol.
func (p *payloadProtocol) NewRawEndpoint(tcpip.NetworkProtocolNumber, *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return nil, &tcpip.ErrNotSupported{}
}

// SetOption implements stack.TransportProtocol.
func (p *payloadProtocol) SetOption(tcpip.SettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}

// Option implements stack.TransportProtocol.
func (p *payloadProtocol) Option(tcpip.GettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}

// Close implements stack.TransportProtocol.
func (p *payloadProtocol) Close() {}

// Wait implements stack.TransportProtocol.
func (p *payloadProtocol) Wait() {}

// Pause implements stack.TransportProtocol.
func (p *payloadProtocol) Pause() {}

// Resume implements stack.TransportProtocol.
func (p *payloadProtocol) Resume() {}

// Restore implements stack.TransportProtocol.
func (p *payloadProtocol) Restore() {}
