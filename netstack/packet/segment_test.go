package packet

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// super describes a super-packet, for tests.
type super struct {
	kind    Segmentation
	tunnels int  // IPv6 headers in front of the innermost
	home    bool // a Home Address option and a type 2 routing header behind the innermost
	options int  // octets of TCP options
	flags   byte
	size    int
	payload []byte
}

var (
	testSource = netip.MustParseAddr("2001:db8::1")
	testHome   = netip.MustParseAddr("2001:db8:77::1")
	testPeer   = netip.MustParseAddr("2001:db8:1::2")
	testFinal  = netip.MustParseAddr("2001:db8:78::2")
)

func ipv6Header(b []byte, next byte, source, destination netip.Addr) []byte {
	b = append(b, 0x60, 0, 0, 0, 0, 0, next, 64)
	b = append(b, source.AsSlice()...)
	return append(b, destination.AsSlice()...)
}

// build makes the super-packet's octets and its offload state.
func (s super) build() *Packet {
	protocol := byte(protocolTCP)
	if s.kind == UDP {
		protocol = protocolUDP
	}
	var b []byte
	for range s.tunnels {
		b = ipv6Header(b, protocolIPv6, testPeer, testSource)
	}
	pseudoSource, pseudoDestination := testSource, testPeer
	if s.home {
		pseudoSource, pseudoDestination = testHome, testFinal
		b = ipv6Header(b, protocolDestination, testSource, testPeer)
		b = append(b, protocolRouting, 2, 1, 2, 0, 0, 0xc9, 16) // RFC 6275 section 6.3
		b = append(b, testHome.AsSlice()...)
		b = append(b, protocol, 2, 2, 1, 0, 0, 0, 0) // RFC 6275 section 6.4
		b = append(b, testFinal.AsSlice()...)
	} else {
		b = ipv6Header(b, protocol, testSource, testPeer)
	}
	o := Offload{Segmentation: s.kind, SegmentSize: uint16(s.size), NeedsChecksum: true, ChecksumStart: uint16(len(b))}
	if s.kind == TCP {
		b = append(b, 0x04, 0xd2, 0, 80, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 9, byte(20+s.options)<<2, s.flags, 1, 0, 0, 0, 0, 0)
		b = append(b, bytes.Repeat([]byte{1}, s.options)...)
		o.ChecksumOffset = 16
	} else {
		b = append(b, 0x04, 0xd2, 0, 80, 0, 0, 0, 0)
		o.ChecksumOffset = 6
	}
	o.HeaderLength = uint16(len(b))
	b = append(b, s.payload...)
	if s.kind == UDP {
		binary.BigEndian.PutUint16(b[o.ChecksumStart+4:], uint16(len(b))-o.ChecksumStart)
	}
	for i := range s.tunnels + 1 {
		binary.BigEndian.PutUint16(b[i*40+4:], uint16(len(b)-i*40-40))
	}
	source, destination := pseudoSource.As16(), pseudoDestination.As16()
	binary.BigEndian.PutUint16(b[o.ChecksumStart+o.ChecksumOffset:],
		PseudoHeaderSum(source[:], destination[:], len(b)-int(o.ChecksumStart), protocol))
	p := New(MaxLength)
	p.Set(b)
	p.Offload = o
	return p
}

// split is the oracle: it builds every segment from the description.
func (s super) split() [][]byte {
	var out [][]byte
	for at := 0; at < len(s.payload); at += s.size {
		end := min(at+s.size, len(s.payload))
		one := s
		one.payload = s.payload[at:end]
		if end < len(s.payload) {
			one.flags &^= tcpFIN | tcpPSH
		}
		if at > 0 {
			one.flags &^= tcpCWR
		}
		p := one.build()
		b := bytes.Clone(p.Bytes())
		transport := b[p.Offload.ChecksumStart:]
		if s.kind == TCP {
			binary.BigEndian.PutUint32(transport[4:], binary.BigEndian.Uint32(transport[4:])+uint32(at))
		}
		check := ^slowSum(transport, 0)
		if check == 0 {
			check = 0xffff
		}
		binary.BigEndian.PutUint16(transport[p.Offload.ChecksumOffset:], check)
		out = append(out, b)
	}
	return out
}

func TestSplitGolden(t *testing.T) {
	// 5 octets of payload in segments of 2; checksums from an implementation in another language.
	p := super{kind: TCP, flags: tcpFIN | tcpPSH | tcpCWR | 0x10, size: 2, payload: []byte("abcde")}.build()
	ip := func(length string) string {
		return "60000000" + length + "0640" + "20010db8000000000000000000000001" + "20010db8000100000000000000000002"
	}
	want := []string{
		ip("0016") + "04d20050fffffff0" + "00000009" + "50900100" + "ec5e0000" + "6162",
		ip("0016") + "04d20050fffffff2" + "00000009" + "50100100" + "eada0000" + "6364",
		ip("0015") + "04d20050fffffff4" + "00000009" + "50190100" + "e9340000" + "65",
	}
	out := NewBatch(3, SmallLength)
	n, err := Split(p, out)
	if err != nil || n != 3 {
		t.Fatalf("Split = %d, %v", n, err)
	}
	for i := range want {
		if got := hex.EncodeToString(out[i].Bytes()); got != want[i] {
			t.Errorf("segment %d\n got %s\nwant %s", i, got, want[i])
		}
	}
}

func TestSplitOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	out := NewBatch(200, SmallLength)
	for range 400 {
		s := super{
			kind: Segmentation(1 + r.IntN(2)), tunnels: r.IntN(maxNesting), home: r.IntN(2) == 0, options: 4 * r.IntN(11),
			flags: byte(r.Uint32()), size: 1 + r.IntN(1400), payload: randomBytes(r, 1+r.IntN(20000)),
		}
		s.size = max(s.size, len(s.payload)/len(out)+1)
		p := s.build()
		p.NextHop, p.Group, p.Neighbor = testPeer, true, LinkAddress{1}
		n, err := Split(p, out)
		want := s.split()
		if err != nil || n != len(want) {
			t.Fatalf("%+v: Split = %d, %v, want %d", s, n, err, len(want))
		}
		for i := range want {
			if !bytes.Equal(out[i].Bytes(), want[i]) {
				t.Fatalf("%+v: segment %d\n got %x\nwant %x", s, i, out[i].Bytes(), want[i])
			}
			if o := out[i]; o.NextHop != testPeer || !o.Group || o.Neighbor != p.Neighbor || o.Offload != (Offload{}) {
				t.Fatalf("segment %d lost its facts: %+v", i, o)
			}
		}
		if tunnelled, err := p.Tunnelled(); err != nil || tunnelled != (s.tunnels > 0) {
			t.Fatalf("Tunnelled = %v, %v", tunnelled, err)
		}
	}
}

func TestSplitOrdinary(t *testing.T) {
	s := super{kind: UDP, size: 100, payload: []byte("hello")}
	p := s.build()
	p.Offload.Segmentation, p.Offload.SegmentSize, p.Offload.HeaderLength = NotSegmented, 0, 0
	out := NewBatch(1, SmallLength)
	if n, err := Split(p, out); n != 1 || err != nil {
		t.Fatalf("Split = %d, %v", n, err)
	}
	if want := s.split()[0]; !bytes.Equal(out[0].Bytes(), want) {
		t.Errorf("got %x, want %x", out[0].Bytes(), want)
	}
}

func TestSplitRoom(t *testing.T) {
	p := super{kind: TCP, size: 1000, payload: make([]byte, 3000)}.build()
	for name, out := range map[string][]*Packet{
		"none": nil, "too few": NewBatch(2, SmallLength), "too small": NewBatch(3, 1059),
	} {
		if _, err := Split(p, out); !errors.Is(err, ErrRoom) {
			t.Errorf("%s: %v, want ErrRoom", name, err)
		}
	}
	if n, err := Split(p, NewBatch(3, 1060)); n != 3 || err != nil {
		t.Errorf("enough: %d, %v", n, err)
	}
}

func TestSplitRefusesBadState(t *testing.T) {
	good := super{kind: TCP, tunnels: 1, home: true, size: 10, payload: make([]byte, 100)}
	for name, spoil := range map[string]func(p *Packet){
		"no size":               func(p *Packet) { p.Offload.SegmentSize = 0 },
		"finished checksum":     func(p *Packet) { p.Offload.NeedsChecksum = false },
		"transport too early":   func(p *Packet) { p.Offload.ChecksumStart -= 8 },
		"transport too late":    func(p *Packet) { p.Offload.ChecksumStart += 8 },
		"transport past end":    func(p *Packet) { p.Offload.ChecksumStart = 0xffff },
		"transport at zero":     func(p *Packet) { p.Offload.ChecksumStart = 0 },
		"other offset":          func(p *Packet) { p.Offload.ChecksumOffset = 6 },
		"other kind":            func(p *Packet) { p.Offload.Segmentation = UDP },
		"unknown kind":          func(p *Packet) { p.Offload.Segmentation = 9 },
		"IPv4":                  func(p *Packet) { p.Bytes()[0] = 0x45 },
		"outer length":          func(p *Packet) { p.Bytes()[5]++ },
		"inner length":          func(p *Packet) { p.Bytes()[45]++ },
		"inner IPv4":            func(p *Packet) { p.Bytes()[40] = 0x45 },
		"short data offset":     func(p *Packet) { p.Bytes()[p.Offload.ChecksumStart+12] = 0x40 },
		"unknown header":        func(p *Packet) { p.Bytes()[46] = 200 },
		"extension too long":    func(p *Packet) { p.Bytes()[81] = 255 },
		"no payload left":       func(p *Packet) { p.SetLen(int(p.Offload.HeaderLength)) },
		"shorter than a header": func(p *Packet) { p.SetLen(39) },
		"empty":                 func(p *Packet) { p.SetLen(0) },
	} {
		p := good.build()
		spoil(p)
		if n, err := Split(p, NewBatch(10, SmallLength)); !errors.Is(err, ErrOffload) || n != 0 {
			t.Errorf("%s: %d, %v, want ErrOffload", name, n, err)
		}
	}
}

func TestVirtioHeaderRoundTrip(t *testing.T) {
	for _, s := range []super{
		{kind: TCP, size: 1000, payload: make([]byte, 5000), options: 12, flags: tcpCWR},
		{kind: TCP, size: 1000, payload: make([]byte, 5000), tunnels: 2},
		{kind: UDP, size: 1000, payload: make([]byte, 5000), home: true},
	} {
		p := s.build()
		var header [VirtioHeaderLength]byte
		p.PutVirtioHeader(header[:], 14)
		want := p.Offload
		if err := p.SetVirtioHeader(header[:], 14); err != nil || p.Offload != want {
			t.Errorf("%+v: %v, got %+v, want %+v", s, err, p.Offload, want)
		}
		if got := header[1]&virtioGSOECN != 0; got != (s.flags&tcpCWR != 0) {
			t.Errorf("ECN flag %v", got)
		}
	}
}

func TestVirtioHeaderGolden(t *testing.T) {
	p := super{kind: TCP, size: 0x1234, payload: make([]byte, 0x2000)}.build()
	var header [VirtioHeaderLength]byte
	p.PutVirtioHeader(header[:], 14)
	want := []byte{1, 4}
	for _, v := range []uint16{74, 0x1234, 54, 16} {
		want = binary.NativeEndian.AppendUint16(want, v)
	}
	if !bytes.Equal(header[:], want) {
		t.Errorf("got %x, want %x", header, want)
	}
}

// A card that merges packets itself hands over a super-packet with a finished checksum.
func TestVirtioHeaderFinishedChecksum(t *testing.T) {
	s := super{kind: TCP, size: 100, payload: make([]byte, 300), tunnels: 1}
	p := s.build()
	want := bytes.Clone(p.Bytes())
	header := [VirtioHeaderLength]byte{1: virtioGSOTCPv6}
	binary.NativeEndian.PutUint16(header[4:], 100)
	binary.BigEndian.PutUint16(p.Bytes()[80+16:], 0xbeef)
	if err := p.SetVirtioHeader(header[:], 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Bytes(), want) {
		t.Errorf("got %x, want %x", p.Bytes(), want)
	}
	home := super{kind: TCP, size: 100, payload: make([]byte, 300), home: true}.build()
	if err := home.SetVirtioHeader(header[:], 0); !errors.Is(err, ErrOffload) {
		t.Errorf("with a Home Address option: %v, want ErrOffload", err)
	}
}

func TestVirtioHeaderRefuses(t *testing.T) {
	p := super{kind: TCP, size: 100, payload: make([]byte, 300)}.build()
	var good [VirtioHeaderLength]byte
	p.PutVirtioHeader(good[:], 0)
	for name, c := range map[string]struct {
		spoil func(h []byte)
		want  error
	}{
		"IPv4 super-packet":  {func(h []byte) { h[1] = virtioGSOTCPv4 }, ErrNotIPv6},
		"unknown kind":       {func(h []byte) { h[1] = 3 }, ErrOffload},
		"start in header":    {func(h []byte) { binary.NativeEndian.PutUint16(h[6:], 39) }, ErrOffload},
		"field past the end": {func(h []byte) { binary.NativeEndian.PutUint16(h[8:], 400) }, ErrOffload},
		"no segment size":    {func(h []byte) { binary.NativeEndian.PutUint16(h[4:], 0) }, ErrOffload},
	} {
		header := good
		c.spoil(header[:])
		if err := p.SetVirtioHeader(header[:], 0); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	p.Set([]byte{0x45, 0, 0, 20})
	if err := p.SetVirtioHeader(good[:], 0); !errors.Is(err, ErrNotIPv6) {
		t.Errorf("IPv4: %v, want ErrNotIPv6", err)
	}
}

func TestSplitDoesNotAllocate(t *testing.T) {
	p := super{kind: TCP, tunnels: 1, size: 1380, payload: make([]byte, 60000)}.build()
	out := NewBatch(64, SmallLength)
	var header [VirtioHeaderLength]byte
	if n := testing.AllocsPerRun(50, func() {
		p.PutVirtioHeader(header[:], 0)
		if err := p.SetVirtioHeader(header[:], 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Split(p, out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzVirtioSplit feeds any virtio header with any octets: what SetVirtioHeader accepts can be split, and the segments carry
// exactly the payload.
func FuzzVirtioSplit(f *testing.F) {
	for _, s := range []super{
		{kind: TCP, size: 3, payload: []byte("payload"), flags: 0xff},
		{kind: UDP, size: 3, payload: []byte("payload"), tunnels: 1},
		{kind: TCP, size: 3, payload: []byte("payload"), tunnels: 1, home: true, options: 4},
	} {
		p := s.build()
		var header [VirtioHeaderLength]byte
		p.PutVirtioHeader(header[:], 0)
		f.Add(header[:], p.Bytes())
	}
	f.Fuzz(func(t *testing.T, header, b []byte) {
		if len(header) < VirtioHeaderLength {
			return
		}
		p, out := New(len(b)), New(len(b))
		p.Set(b)
		if p.SetVirtioHeader(header, 0) != nil {
			return
		}
		if p.Offload.Segmentation == NotSegmented {
			if err := FinishChecksum(p); err != nil {
				t.Fatalf("accepted, but %v", err)
			}
			return
		}
		var s Segmenter
		if err := s.Start(p); err != nil {
			t.Fatalf("accepted, but %v", err)
		}
		count, length := s.Segments(), int(p.Offload.HeaderLength)
		var payload []byte
		for {
			more, err := s.Next(out)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			count--
			if want := int(binary.BigEndian.Uint16(out.Bytes()[4:])) + 40; want != out.Len() {
				t.Fatalf("payload length says %d, packet has %d", want, out.Len())
			}
			payload = append(payload, out.Bytes()[length:]...)
		}
		if count != 0 || !bytes.Equal(payload, p.Bytes()[length:]) {
			t.Fatalf("%d segments too many or few, payload %x", count, payload)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	for _, tunnels := range []int{0, 1} {
		p := super{kind: TCP, tunnels: tunnels, size: 1380, payload: make([]byte, 60000), options: 12}.build()
		out := NewBatch(64, SmallLength)
		b.Run(fmt.Sprintf("tunnels=%d", tunnels), func(b *testing.B) {
			b.SetBytes(60000)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				k, err := Split(p, out)
				if err != nil {
					b.Fatal(err)
				}
				n += k
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/segment")
		})
	}
}
