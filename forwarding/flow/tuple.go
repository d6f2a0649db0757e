package flow

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
)

// Key identifies a service flow as the programs of the host see it.
type Key struct {
	Local, Remote netip.Addr
	Protocol      uint8
	// LocalPort and RemotePort are 0 where the protocol has none that the table knows. The identifier of an ICMPv6 echo
	// stands in for the port of whoever asks, and the other one is 0: requests of both ends with the same identifier
	// are two flows.
	LocalPort, RemotePort uint16
}

// Tuple is a Key as the table keeps it.
type Tuple struct {
	localHigh, localLow, remoteHigh, remoteLow uint64
	// ports are the local one, in the high half, and the remote one.
	ports, protocol uint32
}

// Tuple packs the key.
func (k Key) Tuple() Tuple {
	t := Tuple{ports: uint32(k.LocalPort)<<16 | uint32(k.RemotePort), protocol: uint32(k.Protocol)}
	t.localHigh, t.localLow = halves(k.Local)
	t.remoteHigh, t.remoteLow = halves(k.Remote)
	return t
}

// Key unpacks the tuple.
func (t *Tuple) Key() Key {
	return Key{
		Local: t.Local(), Remote: join(t.remoteHigh, t.remoteLow), Protocol: uint8(t.protocol),
		LocalPort: uint16(t.ports >> 16), RemotePort: uint16(t.ports),
	}
}

// Local is the local address.
func (t *Tuple) Local() netip.Addr { return join(t.localHigh, t.localLow) }

// LocalHalves is the local address as two numbers.
func (t *Tuple) LocalHalves() (high, low uint64) { return t.localHigh, t.localLow }

// is compares in line, which a comparison of such a struct does not.
func (t *Tuple) is(u *Tuple) bool {
	return (t.localHigh^u.localHigh)|(t.localLow^u.localLow)|(t.remoteHigh^u.remoteHigh)|(t.remoteLow^u.remoteLow)|
		uint64(t.ports^u.ports)|uint64(t.protocol^u.protocol) == 0
}

// SetLocal replaces the local address: what came to a Distributed Home Address belongs to a flow of the home address.
func (t *Tuple) SetLocal(a netip.Addr) { t.localHigh, t.localLow = halves(a) }

// Protocol is the upper-layer protocol.
func (t *Tuple) Protocol() uint8 { return uint8(t.protocol) }

// Answers reports whether the tuple, read from a packet, is of an ICMPv6 echo that the correspondent asked for, and Asks
// whether it is of one that the host did.
func (t *Tuple) Answers() bool { return t.protocol == ip6.ICMP && t.ports>>16 == 0 && t.ports != 0 }

// Asks says what Answers does.
func (t *Tuple) Asks() bool { return t.protocol == ip6.ICMP && t.ports>>16 != 0 }

func halves(a netip.Addr) (high, low uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
}

func join(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// Kind says what a packet is to the flow table.
type Kind uint8

// The kinds of packets.
const (
	// Untracked belongs to no flow: signalling, and ICMPv6 that is neither an echo nor an error.
	Untracked Kind = iota
	// Tracked belongs to the flow that the tuple names.
	Tracked
	// LaterFragment does not show what it belongs to.
	LaterFragment
	// Error is an ICMPv6 error, which is about another packet.
	Error
)

// RFC 4443 section 4.
const (
	echoRequest = 128
	echoReply   = 129
)

// Outbound reads which flow a packet of the host belongs to; b is the packet and h its header.
func Outbound(b []byte, h *ip6.Header) (Tuple, Kind) { return read(b, h, true) }

// Inbound reads which flow a packet for the host belongs to.
func Inbound(b []byte, h *ip6.Header) (Tuple, Kind) { return read(b, h, false) }

func read(b []byte, h *ip6.Header, outbound bool) (t Tuple, kind Kind) {
	switch {
	case h.Mobile || h.Upper == ip6.MobilityHeader:
		return t, Untracked
	case h.Fragmented && !h.FirstFragment:
		return t, LaterFragment
	}
	at := h.UpperOffset
	var source, destination uint32
	switch h.Upper {
	case ip6.TCP, ip6.UDP, ip6.DCCP, ip6.SCTP, ip6.UDPLite:
		if at+4 > len(b) {
			return t, Untracked
		}
		source, destination = uint32(binary.BigEndian.Uint16(b[at:])), uint32(binary.BigEndian.Uint16(b[at+2:]))
	case ip6.ICMP:
		if at+icmp.HeaderLength > len(b) {
			return t, Untracked
		}
		switch b[at] {
		case echoRequest:
			source = uint32(binary.BigEndian.Uint16(b[at+4:]))
		case echoReply:
			destination = uint32(binary.BigEndian.Uint16(b[at+4:]))
		default:
			if b[at] < icmp.FirstInformational {
				return t, Error
			}
			return t, Untracked
		}
	}
	t.protocol = uint32(h.Upper)
	t.place(b, source, destination, outbound)
	return t, Tracked
}

// place takes the addresses out of the packet b, and the ports as the packet has them.
func (t *Tuple) place(b []byte, source, destination uint32, outbound bool) {
	b = b[:ip6.HeaderLength]
	if outbound {
		t.localHigh, t.localLow = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
		t.remoteHigh, t.remoteLow = binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])
		t.ports = source<<16 | destination
	} else {
		t.remoteHigh, t.remoteLow = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
		t.localHigh, t.localLow = binary.BigEndian.Uint64(b[24:]), binary.BigEndian.Uint64(b[32:])
		t.ports = destination<<16 | source
	}
}
