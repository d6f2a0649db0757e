package forwarding

import (
	"encoding/binary"
	"math/bits"

	"kedge/forwarding/ip6"
)

// flowLabel is the flow label of the tunnel packet for the packet b with header h: a keyed hash of its addresses,
// protocol and ports (RFC 6438 section 3), the same at every worker. Where the ports are not in sight, as in fragments
// and ESP, the inner flow label stands in for them. It is never 0, which means unlabelled (RFC 6437 section 2).
func (e *Engine) flowLabel(b []byte, h *ip6.Header) uint32 {
	var last uint64
	if !h.Fragmented { // later fragments do not know what the first one's upper layer is
		last = uint64(h.Upper) << 32
	}
	if h.HasPorts(len(b)) {
		last |= uint64(binary.LittleEndian.Uint32(b[h.UpperOffset:]))
	} else {
		last |= uint64(h.FlowLabel)
	}
	return e.labelOf(b, last)
}

// plainLabel is flowLabel for TCP and UDP directly behind the IPv6 header.
func (e *Engine) plainLabel(b []byte) uint32 {
	return e.labelOf(b, uint64(b[6])<<32|uint64(binary.LittleEndian.Uint32(b[ip6.HeaderLength:])))
}

func (e *Engine) labelOf(b []byte, last uint64) uint32 {
	x := mix(binary.LittleEndian.Uint64(b[8:])^e.flowSeed[0], binary.LittleEndian.Uint64(b[16:])^0x9e3779b97f4a7c15)
	y := mix(binary.LittleEndian.Uint64(b[24:])^e.flowSeed[1], binary.LittleEndian.Uint64(b[32:])^0xd1b54a32d192ed03)
	z := mix(x^last, y^e.flowSeed[0])
	if label := uint32(z^z>>20^z>>40) & 0xfffff; label != 0 {
		return label
	}
	return 1
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
