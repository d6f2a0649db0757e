// Package host is kedge as an IPv6 host: a gVisor stack that owns kedge's addresses. It answers echo requests to them,
// refuses datagrams and connections to closed ports, reassembles fragments, and complains about next headers that it does
// not know (RFC 4443, RFC 8200 section 4).
//
// A packet comes in by Deliver when the forwarding engine found that it is addressed to the node itself and is nothing
// that the engine owns: Home Address options and type 2 routing headers have been taken off before. What the host has to
// say leaves by Config.Output, one IPv6 packet a call, and goes back through the forwarding engine, which finds the link
// and the neighbour. The host has one interface for all links and does no neighbour discovery: RFC 4861 and RFC 2710
// messages are neither read nor written. It therefore knows no zones: a link-local address must be unique among all the
// links, and the engine tells the link by the source address.
//
// Deliver may be called by many goroutines. Output is called on the goroutine of Deliver or on one of gVisor's; the
// callbacks must not block and must not call the host.
package host

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"kedge/netstack/packet"
)

// ErrClosed is what changes to a closed host return.
var ErrClosed = errors.New("host is closed")

// ErrAddress is what AddAddress and RemoveAddress return, wrapped, for an address that they cannot take.
var ErrAddress = errors.New("address cannot be used")

const nic tcpip.NICID = 1

// Config is what a host needs to know. Octets handed to a callback are its own only until it returns.
type Config struct {
	// MTU is the longest packet in octets that the host emits, 1280 to 65535.
	MTU int
	// Output gets each IPv6 packet that the host emits, checksum finished.
	Output func(packet []byte)
	// Tunneled gets the payload of each packet with next header 41, reassembled if it came in fragments (RFC 2473), with
	// the outer header's addresses and traffic class (of the first fragment), which RFC 6040 needs. The inner packet is
	// not looked at.
	Tunneled func(source, destination netip.Addr, trafficClass uint8, inner []byte)
	// MobilityHeader gets the payload of each packet with next header 135 (RFC 6275 section 6.1), reassembled if it came
	// in fragments. Neither its length nor its checksum is looked at.
	MobilityHeader func(source, destination netip.Addr, message []byte)
}

// Host is a gVisor stack with one interface.
type Host struct {
	clock *clock
	link  *endpoint

	mu    sync.RWMutex // held for reading while the stack is in use, for writing to close it
	stack *stack.Stack // nil when closed
}

// New makes a host without addresses.
func New(config Config) (*Host, error) {
	return newHost(config, tcpip.NewStdClock())
}

func newHost(config Config, base tcpip.Clock) (*Host, error) {
	if err := checkMTU(config.MTU); err != nil {
		return nil, err
	}
	if config.Output == nil || config.Tunneled == nil || config.MobilityHeader == nil {
		return nil, errors.New("host needs all of Output, Tunneled and MobilityHeader")
	}
	h := &Host{clock: newClock(base), link: newEndpoint(config.MTU, config.Output)}
	h.stack = stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{ipv6.NewProtocolWithOptions(ipv6.Options{
			NDPConfigs: ipv6.NDPConfigurations{HandleRAs: ipv6.HandlingRAsDisabled},
			DADConfigs: stack.DADConfigurations{DupAddrDetectTransmits: 0},
		})},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol6,
			newPayloadProtocol(protocolIPv6, func(pkt arrived) {
				config.Tunneled(pkt.source, pkt.destination, pkt.trafficClass, pkt.payload)
			}),
			newPayloadProtocol(protocolMobilityHeader, func(pkt arrived) {
				config.MobilityHeader(pkt.source, pkt.destination, pkt.payload)
			}),
		},
		Clock: h.clock,
	})
	if err := h.stack.CreateNIC(nic, h.link); err != nil {
		h.Close()
		return nil, fmt.Errorf("gVisor interface: %s", err)
	}
	h.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv6EmptySubnet, NIC: nic}})
	return h, nil
}

func checkMTU(mtu int) error {
	if mtu < header.IPv6MinimumMTU || mtu > 65535 {
		return fmt.Errorf("MTU %d of the host is not within 1280 to 65535", mtu)
	}
	return nil
}

// SetMTU changes the length of the longest packet that the host emits, 1280 to 65535 octets.
func (h *Host) SetMTU(mtu int) error {
	if err := checkMTU(mtu); err != nil {
		return err
	}
	h.link.SetMTU(uint32(mtu))
	return nil
}

// AddAddress makes a unicast address the host's, at once and without duplicate address detection, which is done
// elsewhere. An address that it has already is no error.
func (h *Host) AddAddress(address netip.Addr) error {
	if !address.Is6() || address.Is4In6() || address.IsMulticast() || address.IsUnspecified() || address.IsLoopback() {
		return fmt.Errorf("%w: %s is not an IPv6 unicast address", ErrAddress, address)
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.stack == nil {
		return ErrClosed
	}
	err := h.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{
		Protocol:          ipv6.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom16(address.As16()).WithPrefix(),
	}, stack.AddressProperties{})
	if _, duplicate := err.(*tcpip.ErrDuplicateAddress); err != nil && !duplicate {
		return fmt.Errorf("%w: %s: %s", ErrAddress, address, err)
	}
	return nil
}

// RemoveAddress takes an address from the host. An address that it does not have is no error.
func (h *Host) RemoveAddress(address netip.Addr) error {
	if !address.Is6() {
		return fmt.Errorf("%w: %s is not an IPv6 address", ErrAddress, address)
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.stack == nil {
		return ErrClosed
	}
	err := h.stack.RemoveAddress(nic, tcpip.AddrFrom16(address.As16()))
	if _, unknown := err.(*tcpip.ErrBadLocalAddress); err != nil && !unknown {
		return fmt.Errorf("%w: %s: %s", ErrAddress, address, err)
	}
	return nil
}

// Deliver hands the host a packet that is addressed to the node, in whatever offload state. The host copies what it
// keeps; the packet is not changed. Packets that are no IPv6, not for an address of the host, or part of neighbour or
// multicast listener discovery are dropped.
func (h *Host) Deliver(p *packet.Packet) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.stack == nil || isLinkManagement(p.Bytes()) {
		return
	}
	eachSegment(p, func(segment []byte) {
		h.link.inject(buffer.MakeWithData(segment))
	})
}

// Statistics are counts since New.
type Statistics struct {
	// Received counts packets that reached the stack, Delivered those that reached a transport.
	Received, Delivered uint64
	// Malformed counts packets with damaged headers, MalformedFragments fragments that were overlapping, out of place or
	// too long, NotOwned packets for addresses that the host does not have.
	Malformed, MalformedFragments, NotOwned uint64
}

// Statistics returns the host's counts; all are 0 once it is closed.
func (h *Host) Statistics() Statistics {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.stack == nil {
		return Statistics{}
	}
	ip := h.stack.Stats().IP
	return Statistics{
		Received:           ip.PacketsReceived.Value(),
		Delivered:          ip.PacketsDelivered.Value(),
		Malformed:          ip.MalformedPacketsReceived.Value(),
		MalformedFragments: ip.MalformedFragmentsReceived.Value(),
		NotOwned:           ip.InvalidDestinationAddressesReceived.Value(),
	}
}

// Close stops the host and frees what it holds, incomplete packets included. When it returns, no callback runs or will
// run. Closing twice is allowed.
func (h *Host) Close() {
	h.mu.Lock()
	s := h.stack
	h.stack = nil
	h.mu.Unlock()
	if s == nil {
		return
	}
	s.Destroy()
	h.clock.stop()
	h.link.mute()
}
