// Package capture keeps what crosses a node's interfaces, one pcapng file a node. It reads memory-mapped rings that the
// kernel fills, twenty times a second, so that capturing costs the measured traffic next to nothing.
package capture

import (
	"encoding/binary"
	"io"
)

// Link types of pcapng interfaces (https://www.tcpdump.org/linktypes.html).
const (
	linkTypeEthernet = 1
	linkTypeRaw      = 101
)

// Blocks of pcapng (draft-ietf-opsawg-pcapng): little-endian, lengths multiples of 4, total length at both ends.
const (
	sectionHeaderBlock        = 0x0a0d0d0a
	interfaceDescriptionBlock = 1
	enhancedPacketBlock       = 6
	byteOrderMagic            = 0x1a2b3c4d

	optionInterfaceName = 2
	optionTimeUnit      = 9
	optionApplication   = 4
	timeUnitNanoseconds = 9
)

// pcapng writes a file to w; the first error sticks.
type pcapng struct {
	w          io.Writer
	err        error
	written    int64
	interfaces uint32
	block      []byte
}

func newPcapng(w io.Writer) *pcapng {
	p := &pcapng{w: w}
	b := p.begin(sectionHeaderBlock)
	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = append(b, 1, 0, 0, 0)                           // version 1.0
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // section length not stated
	b = appendOption(b, optionApplication, []byte("kedge lab"))
	p.end(appendOption(b, 0, nil))
	return p
}

// addInterface returns the interface's number for packet.
func (p *pcapng) addInterface(name string, linkType uint16, snapLength int) uint32 {
	b := p.begin(interfaceDescriptionBlock)
	b = binary.LittleEndian.AppendUint16(b, linkType)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(snapLength))
	b = appendOption(b, optionInterfaceName, []byte(name))
	b = appendOption(b, optionTimeUnit, []byte{timeUnitNanoseconds})
	p.end(appendOption(b, 0, nil))
	p.interfaces++
	return p.interfaces - 1
}

// packet writes a packet of length octets, of which data was kept, seen at time nanoseconds since 1970.
func (p *pcapng) packet(iface uint32, time int64, data []byte, length int) {
	b := p.begin(enhancedPacketBlock)
	b = binary.LittleEndian.AppendUint32(b, iface)
	b = binary.LittleEndian.AppendUint32(b, uint32(uint64(time)>>32))
	b = binary.LittleEndian.AppendUint32(b, uint32(time))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	p.end(pad(append(b, data...)))
}

func (p *pcapng) begin(kind uint32) []byte {
	b := binary.LittleEndian.AppendUint32(p.block[:0], kind)
	return append(b, 0, 0, 0, 0)
}

func (p *pcapng) end(b []byte) {
	total := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], total)
	p.block = binary.LittleEndian.AppendUint32(b, total)
	if p.err == nil {
		_, p.err = p.w.Write(p.block)
		p.written += int64(total)
	}
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
