package packet

import (
	"encoding/binary"
	"errors"
	"math/bits"
)

// ErrOffload means that the offload state of a packet does not fit its octets.
var ErrOffload = errors.New("offload state does not fit the packet")

// block is what the vectorised loops take at once, in octets.
const block = 64

// Sum is the one's complement sum (RFC 1071) of b and of initial, not complemented. It may be continued by passing the
// result as the next initial, as long as every part but the last has an even number of octets.
func Sum(b []byte, initial uint16) uint16 {
	if !vectors || len(b) < 2*block {
		return sumWords(b, uint64(bits.ReverseBytes16(initial)))
	}
	n := len(b) / block
	return sumWords(b[n*block:], uint64(bits.ReverseBytes16(initial))+sumBlocks(&b[0], n))
}

// copySum copies b to the beginning of to, which is as long at least, and returns Sum(b, initial).
func copySum(to, b []byte, initial uint16) uint16 {
	if !vectors || len(b) < 2*block {
		copy(to, b)
		return sumWords(b, uint64(bits.ReverseBytes16(initial)))
	}
	n := len(b) / block
	to = to[:len(b)]
	sum := uint64(bits.ReverseBytes16(initial)) + copySumBlocks(&to[0], &b[0], n)
	b = b[n*block:]
	copy(to[n*block:], b)
	return sumWords(b, sum)
}

// sumWords adds b to a sum of little-endian words, at most 2^56, and folds that. The sum is the same in either order of octets,
// but for the order of the result (RFC 1071 section 2 (B)). Words of 32 bits need no carries.
func sumWords(b []byte, sum uint64) uint16 {
	for len(b) >= 32 {
		v0, v1 := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		v2, v3 := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
		low := v0&0xffffffff + v1&0xffffffff + v2&0xffffffff + v3&0xffffffff
		sum += v0>>32 + v1>>32 + v2>>32 + v3>>32 + low
		b = b[32:]
	}
	for len(b) >= 4 {
		sum += uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	switch len(b) {
	case 3:
		sum += uint64(b[2])<<16 + uint64(b[1])<<8 + uint64(b[0])
	case 2:
		sum += uint64(b[1])<<8 + uint64(b[0])
	case 1:
		sum += uint64(b[0])
	}
	return bits.ReverseBytes16(fold(sum))
}

func fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum)
}

// PseudoHeaderSum is the sum of the IPv6 pseudo-header (RFC 8200 section 8.1), not complemented: what the checksum field
// of a packet with NeedsChecksum holds. Source and destination are 16 octets each; the destination is the final one and,
// where there is a Home Address option, the source is the home address (RFC 6275 section 6.3). Length counts the upper-layer
// header and its data.
func PseudoHeaderSum(source, destination []byte, length int, protocol uint8) uint16 {
	return Sum(destination[:16], Sum(source[:16], fold(uint64(length)+uint64(protocol))))
}

// UpdateChecksum is the checksum field after one 16-bit word that it covers has changed (RFC 1624 section 3, equation 3).
func UpdateChecksum(checksum, before, after uint16) uint16 {
	return ^fold(uint64(^checksum) + uint64(^before) + uint64(after))
}

// UpdateChecksumOver is UpdateChecksum for octets that have changed from before to after, such as an address. Both are
// equally long, an even number of octets, and begin at an even place.
func UpdateChecksumOver(checksum uint16, before, after []byte) uint16 {
	return ^fold(uint64(^checksum) + uint64(^Sum(before, 0)) + uint64(Sum(after, 0)))
}

// FinishChecksum completes the checksum of an ordinary packet that its sender left partial; it does nothing to others. It
// returns ErrOffload for a super-packet, whose checksums Split makes, and where the field lies outside the packet.
func FinishChecksum(p *Packet) error {
	o := &p.Offload
	if o.Segmentation != NotSegmented {
		return ErrOffload
	}
	if !o.NeedsChecksum {
		return nil
	}
	b := p.Bytes()
	start := int(o.ChecksumStart)
	field := start + int(o.ChecksumOffset)
	if start >= len(b) || field+2 > len(b) {
		return ErrOffload
	}
	putChecksum(b[field:], ^Sum(b[start:], 0))
	o.NeedsChecksum, o.ChecksumStart, o.ChecksumOffset = false, 0, 0
	return nil
}

// putChecksum stores a checksum, the field of which was part of the sum. Zero means "none" in UDP (RFC 8200 section 8.1)
// and equals all ones everywhere else.
func putChecksum(field []byte, checksum uint16) {
	if checksum == 0 {
		checksum = 0xffff
	}
	binary.BigEndian.PutUint16(field, checksum)
}
