package udp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// open makes a link at a loopback address, which all kernels have.
func open(t testing.TB, config Config) *Link {
	t.Helper()
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ends are the two ends of a link between which tests send.
func ends(t testing.TB, address string, config Config) (a, b *Link) {
	t.Helper()
	config.Listen = netip.AddrPortFrom(netip.MustParseAddr(address), 0)
	return open(t, config), open(t, config)
}

// receive reads until n packets have come, each as an ordinary one.
func receive(t testing.TB, l *Link, n int) [][]byte {
	t.Helper()
	late := time.AfterFunc(5*time.Second, func() { l.Close() })
	defer late.Stop()
	in := packet.NewBatch(64, packet.MaxLength)
	var got [][]byte
	for len(got) < n {
		count, err := l.Read(in)
		if err != nil {
			t.Fatalf("after %d packets of %d: %v; %+v", len(got), n, err, l.Counters())
		}
		for _, p := range in[:count] {
			var s packet.Segmenter
			if err := s.Start(p); err != nil {
				t.Fatal(err)
			}
			for s.Segments() > 0 {
				out := packet.New(packet.MaxLength)
				if _, err := s.Next(out); err != nil {
					t.Fatal(err)
				}
				got = append(got, bytes.Clone(out.Bytes()))
			}
		}
	}
	return got
}

var (
	source      = netip.MustParseAddr("2001:db8::1")
	destination = netip.MustParseAddr("2001:db8:1::2")
)

// super is a super-packet with a partial checksum.
func super(kind packet.Segmentation, port uint16, sequence uint32, payload []byte, size int) *packet.Packet {
	protocol, transport, offset := byte(6), 32, 16
	if kind == packet.UDP {
		protocol, transport, offset = 17, 8, 6
	}
	p := packet.New(packet.MaxLength)
	b := make([]byte, 40+transport, 40+transport+len(payload))
	b[0], b[6], b[7] = 0x60, protocol, 64
	binary.BigEndian.PutUint16(b[4:], uint16(transport+len(payload)))
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	binary.BigEndian.PutUint16(b[40:], port)
	binary.BigEndian.PutUint16(b[42:], 80)
	if kind == packet.UDP {
		binary.BigEndian.PutUint16(b[44:], uint16(8+len(payload)))
	} else {
		binary.BigEndian.PutUint32(b[44:], sequence)
		b[52], b[53], b[54] = 8<<4, 0x10, 1
		copy(b[60:], []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2})
	}
	binary.BigEndian.PutUint16(b[40+offset:], packet.PseudoHeaderSum(b[8:], b[24:], transport+len(payload), protocol))
	p.Set(append(b, payload...))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: uint16(offset)}
	if len(payload) > size {
		p.Offload.Segmentation, p.Offload.SegmentSize, p.Offload.HeaderLength = kind, uint16(size), uint16(len(b))
	}
	return p
}

// singles cuts packets up by the other way.
func singles(t testing.TB, pkts ...*packet.Packet) (all []*packet.Packet) {
	t.Helper()
	for _, p := range pkts {
		var s packet.Segmenter
		if err := s.Start(p); err != nil {
			t.Fatal(err)
		}
		for s.Segments() > 0 {
			out := packet.New(packet.MaxLength)
			if _, err := s.Next(out); err != nil {
				t.Fatal(err)
			}
			all = append(all, out)
		}
	}
	return all
}

func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * i >> 5)
	}
	return b
}

func TestSuperPacketsRoundTrip(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		for _, config := range []Config{{}, {Segment: true}, {Coalesce: true}, {Segment: true, Coalesce: true}} {
			for _, kind := range []packet.Segmentation{packet.TCP, packet.UDP} {
				a, b := ends(t, address, config)
				sent := []*packet.Packet{
					super(kind, 1, 0, payload(65000), 1388), super(kind, 1, 65000, payload(1388), 1388),
					super(kind, 2, 0, payload(5), 1388), super(kind, 1, 66388, payload(2000), 1000),
				}
				want := singles(t, sent...)
				for _, p := range sent {
					p.Peer = b.LocalAddrPort()
				}
				if n, err := a.Write(sent); n != len(sent) || err != nil {
					t.Fatalf("Write = %d, %v; %+v", n, err, a.Counters())
				}
				compare(t, receive(t, b, len(want)), want)
			}
		}
	}
}

// compare says whether each flow's packets are those sent, in order.
func compare(t testing.TB, got [][]byte, want []*packet.Packet) {
	t.Helper()
	flow := func(b []byte) string { return string(b[:min(len(b), 44)][6:]) }
	flows := map[string][][]byte{}
	for _, b := range got {
		flows[flow(b)] = append(flows[flow(b)], b)
	}
	for i, p := range want {
		f := flow(p.Bytes())
		if len(flows[f]) == 0 {
			t.Fatalf("packet %d is missing: %x", i, p.Bytes()[:60])
		}
		if !bytes.Equal(flows[f][0], p.Bytes()) {
			t.Fatalf("packet %d\n got %x\nwant %x", i, flows[f][0], p.Bytes())
		}
		flows[f] = flows[f][1:]
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
}
