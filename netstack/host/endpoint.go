package host

import (
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// endpoint is the stack's only interface. It has no link-layer addresses, so gVisor does not resolve neighbours on it.
type endpoint struct {
	mtu atomic.Uint32

	mu         sync.RWMutex // guards what follows; held for reading while output runs
	dispatcher stack.NetworkDispatcher
	output     func([]byte) // nil when muted
}

var _ stack.LinkEndpoint = (*endpoint)(nil)

func newEndpoint(mtu int, output func([]byte)) *endpoint {
	e := &endpoint{output: output}
	e.mtu.Store(uint32(mtu))
	return e
}

// inject hands the stack a packet, which becomes the stack's.
func (e *endpoint) inject(b buffer.Buffer) {
	e.mu.RLock()
	d := e.dispatcher
	e.mu.RUnlock()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: b})
	defer pkt.DecRef()
	if d != nil {
		d.DeliverNetworkPacket(header.IPv6ProtocolNumber, pkt)
	}
}

// WritePackets implements stack.LinkWriter.
func (e *endpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.output == nil {
		return 0, &tcpip.ErrClosedForSend{}
	}
	for _, pkt := range pkts.AsSlice() {
		view := pkt.ToView()
		if !isLinkManagement(view.AsSlice()) {
			e.output(view.AsSlice())
		}
		view.Release()
	}
	return pkts.Len(), nil
}

// mute waits until output does not run and sees to it that it never does again.
func (e *endpoint) mute() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.output = nil
}

// Attach implements stack.LinkEndpoint.
func (e *endpoint) Attach(d stack.NetworkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (e *endpoint) IsAttached() bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.dispatcher != nil
}

// MTU implements stack.LinkEndpoint.
func (e *endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (e *endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// MaxHeaderLength implements stack.LinkEndpoint.
func (e *endpoint) MaxHeaderLength() uint16 { return 0 }

// LinkAddress implements stack.LinkEndpoint.
func (e *endpoint) LinkAddress() tcpip.LinkAddress { return "" }

// SetLinkAddress implements stack.LinkEndpoint.
func (e *endpoint) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint.
func (e *endpoint) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityNone }

// Wait implements stack.LinkEndpoint.
func (e *endpoint) Wait() {}

// ARPHardwareType implements stack.LinkEndpoint.
func (e *endpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }

// AddHeader implements stack.LinkEndpoint.
func (e *endpoint) AddHeader(*stack.PacketBuffer) {}

// ParseHeader implements stack.LinkEndpoint.
func (e *endpoint) ParseHeader(*stack.PacketBuffer) bool { return true }

// Close implements stack.LinkEndpoint.
func (e *endpoint) Close() {}

// SetOnCloseAction implements stack.LinkEndpoint.
func (e *endpoint) SetOnCloseAction(func()) {}
