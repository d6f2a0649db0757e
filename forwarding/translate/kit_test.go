package translate

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

var (
	home = netip.MustParseAddr("2001:db8:100::7")
	lent = netip.MustParseAddr("2001:db8:d00d:1::abcd")
	peer = netip.MustParseAddr("2001:db8:c::99")
)

// slowSum is the Internet checksum written as RFC 1071 is.
func slowSum(parts ...[]byte) uint16 {
	sum := uint64(0)
	for _, b := range parts {
		for i, octet := range b {
			sum += uint64(octet) << (8 * (1 - i%2))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func pseudoHeader(source, destination netip.Addr, length int, protocol uint8) []byte {
	s, d := source.As16(), destination.As16()
	b := append(s[:], d[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(length))
	return append(b, 0, 0, 0, protocol)
}

// transport is a transport header with its payload, whose checksum is not filled in.
type transport struct {
	protocol uint8
	checksum int // where it is
	header   int // octets in front of the payload
	b        []byte
}

func fill(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomTransport(r *rand.Rand, payload int) transport {
	switch r.IntN(4) {
	case 0:
		return udp(r, payload)
	case 1:
		b := fill(r, echoHeaderLength+payload)
		b[0], b[1] = echoRequest+byte(r.IntN(2)), 0
		clear(b[2:4])
		return transport{ip6.ICMP, icmpChecksum, echoHeaderLength, b}
	}
	return tcp(r, payload)
}

func tcp(r *rand.Rand, payload int) transport {
	header := tcpHeaderLength + 4*r.IntN(11)
	b := fill(r, header+payload)
	b[12] = byte(header / 4 << 4)
	clear(b[16:18])
	return transport{ip6.TCP, tcpChecksum, header, b}
}

func udp(r *rand.Rand, payload int) transport {
	b := fill(r, udpHeaderLength+payload)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	clear(b[6:8])
	return transport{ip6.UDP, udpChecksum, udpHeaderLength, b}
}

// finish is the transport with its checksum between two addresses.
func (t transport) finish(source, destination netip.Addr) transport {
	t.b = bytes.Clone(t.b)
	sum := ^slowSum(pseudoHeader(source, destination, len(t.b), t.protocol), t.b)
	if sum == 0 && t.protocol == ip6.UDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(t.b[t.checksum:], sum)
	return t
}

// seed is the transport with a partial checksum between two addresses.
func (t transport) seed(source, destination netip.Addr) transport {
	t.b = bytes.Clone(t.b)
	binary.BigEndian.PutUint16(t.b[t.checksum:], slowSum(pseudoHeader(source, destination, len(t.b), t.protocol)))
	return t
}

// extensions are headers that translation goes past. They begin with one of the type that next is.
type extensions struct {
	next uint8
	b    []byte
}

// randomExtensions makes headers in front of one of the given type; their octets are valid options.
func randomExtensions(r *rand.Rand, to uint8) extensions {
	switch r.IntN(5) {
	case 0:
		return extensions{ip6.HopByHop, []byte{to, 0, 1, 4, 0, 0, 0, 0}}
	case 1:
		b := make([]byte, 16)
		b[0], b[1], b[2], b[3] = to, 1, 0x1e, 12 // RFC 4727 section 3.6: an experiment
		return extensions{ip6.DestinationOptions, b}
	case 2: // an atomic fragment, RFC 6946
		b := []byte{to, 0, 0, 0}
		return extensions{ip6.Fragment, append(b, fill(r, 4)...)}
	}
	return extensions{next: to}
}

func ipv6(source, destination netip.Addr, e extensions, payload []byte) []byte {
	b := make([]byte, ip6.HeaderLength, ip6.HeaderLength+len(e.b)+len(payload))
	ip6.PutHeader(b, 0x28, 0x12345, len(e.b)+len(payload), e.next, 61, source, destination)
	return append(append(b, e.b...), payload...)
}

func make1(t testing.TB, b []byte) (*packet.Packet, *ip6.Header) {
	t.Helper()
	p := packet.New(packet.MaxLength)
	if !p.Set(b) {
		t.Fatal("packet does not fit")
	}
	h := new(ip6.Header)
	if err := h.Parse(p.Bytes()); err != nil {
		t.Fatal(err)
	}
	return p, h
}

// parsed has b read again, to compare with what translation made of the header.
func parsed(t testing.TB, b []byte) ip6.Header {
	t.Helper()
	var h ip6.Header
	if err := h.Parse(b); err != nil {
		t.Fatal(err)
	}
	return h
}

// testRandom makes the random numbers of a test the same each time.
func testRandom() *rand.Rand { return rand.New(rand.NewPCG(6275, 1624)) }
