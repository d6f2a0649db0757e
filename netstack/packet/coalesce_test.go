package packet

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// segments is a super-packet's segments, with finished checksums.
func segments(t *testing.T, s super) []*Packet {
	t.Helper()
	out := NewBatch(100, SmallLength)
	n, err := Split(s.build(), out)
	if err != nil {
		t.Fatal(err)
	}
	return out[:n]
}

func rechecksum(b []byte) {
	b[56], b[57] = 0, 0
	binary.BigEndian.PutUint16(b[56:], ^Sum(b[40:], PseudoHeaderSum(b[8:], b[24:], len(b)-40, protocolTCP)))
}

var stream = super{kind: TCP, size: 100, options: 12, flags: tcpACK | tcpPSH, payload: bytes.Repeat([]byte("0123456789"), 55)}

func TestCoalesceIsTheInverseOfSplit(t *testing.T) {
	pkts := segments(t, stream)
	if n := Coalesce(pkts, SegmentTCP|SegmentUDP); n != 6 {
		t.Fatalf("Coalesce = %d, want 6", n)
	}
	var got []byte
	for _, p := range pkts {
		got = append(got, p.Bytes()...)
	}
	want := stream.build()
	if !bytes.Equal(got, want.Bytes()) || pkts[0].Offload != want.Offload {
		t.Errorf("got %x %+v\nwant %x %+v", got, pkts[0].Offload, want.Bytes(), want.Offload)
	}
}

func TestCoalesceStopsAtWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *Packet, b []byte) // the third packet
		want  int
	}{
		"nothing":         {func(*Packet, []byte) {}, 6},
		"gap":             {func(_ *Packet, b []byte) { b[47]++ }, 2},
		"flow label":      {func(_ *Packet, b []byte) { b[3]++ }, 2},
		"congestion mark": {func(_ *Packet, b []byte) { b[1] |= 0x30 }, 2},
		"hop limit":       {func(_ *Packet, b []byte) { b[7]++ }, 2},
		"source":          {func(_ *Packet, b []byte) { b[23]++ }, 2},
		"destination":     {func(_ *Packet, b []byte) { b[39]++ }, 2},
		"port":            {func(_ *Packet, b []byte) { b[43]++ }, 2},
		"acknowledgement": {func(_ *Packet, b []byte) { b[51]++ }, 2},
		"window":          {func(_ *Packet, b []byte) { b[55]++ }, 2},
		"options":         {func(_ *Packet, b []byte) { b[61]++ }, 2},
		"FIN":             {func(_ *Packet, b []byte) { b[53] |= tcpFIN }, 2},
		"CWR":             {func(_ *Packet, b []byte) { b[53] |= tcpCWR }, 2},
		"no ACK":          {func(_ *Packet, b []byte) { b[53] = 0 }, 2},
		"push":            {func(_ *Packet, b []byte) { b[53] |= tcpPSH }, 3},
		"UDP":             {func(_ *Packet, b []byte) { b[6] = protocolUDP }, 2},
		"offload":         {func(p *Packet, _ []byte) { p.Offload.NeedsChecksum = true }, 2},
		"next hop":        {func(p *Packet, _ []byte) { p.NextHop = testPeer }, 2},
		"payload length":  {func(_ *Packet, b []byte) { b[5]-- }, 2},
		"shorter": {func(p *Packet, b []byte) {
			p.SetLen(p.Len() - 1)
			b[5]--
			rechecksum(p.Bytes())
		}, 3},
	} {
		pkts := segments(t, stream)
		b := pkts[2].Bytes()
		c.spoil(pkts[2], b)
		if name != "shorter" {
			rechecksum(b)
		}
		if n := Coalesce(pkts, SegmentTCP|SegmentUDP); n != c.want {
			t.Errorf("%s: Coalesce = %d, want %d", name, n, c.want)
		}
	}
}

func TestCoalesceDoesNotHideWrongChecksums(t *testing.T) {
	for spoilt, want := range []int{1, 1, 2, 3} {
		pkts := segments(t, stream)
		pkts[spoilt].Bytes()[80]++
		before := bytes.Clone(pkts[0].Bytes())
		if n := Coalesce(pkts, SegmentTCP|SegmentUDP); n != want {
			t.Errorf("packet %d: Coalesce = %d, want %d", spoilt, n, want)
		} else if n == 1 && !bytes.Equal(before, pkts[0].Bytes()) {
			t.Errorf("packet %d: changed a packet that it did not join", spoilt)
		}
	}
}

func TestCoalesceBounds(t *testing.T) {
	s := stream
	s.size, s.payload = 1, bytes.Repeat([]byte("x"), 90)
	if n := Coalesce(segments(t, s), SegmentTCP|SegmentUDP); n != MaxRun {
		t.Errorf("Coalesce = %d, want %d", n, MaxRun)
	}
	s.size, s.payload = 1500, make([]byte, 60000)
	pkts := append(segments(t, s), segments(t, s)...)
	for i, p := range pkts {
		b := p.Bytes()
		binary.BigEndian.PutUint32(b[44:], uint32(i*1500))
		b[53] = tcpACK
		rechecksum(b)
	}
	// The headers' 32 octets count in the payload length of at most 65535.
	if n := Coalesce(pkts, SegmentTCP|SegmentUDP); n != (65535-32)/1500 {
		t.Errorf("Coalesce = %d, want %d", n, (65535-32)/1500)
	}
}

func TestCoalesceDoesNotAllocate(t *testing.T) {
	pkts, work := segments(t, stream), NewBatch(6, SmallLength)
	if n := testing.AllocsPerRun(50, func() {
		for i := range work {
			work[i].CopyFrom(pkts[i])
		}
		if Coalesce(work, SegmentTCP|SegmentUDP) != 6 {
			t.Fatal("not joined")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCoalesce(f *testing.F) {
	for _, p := range []super{{kind: TCP, size: 4, flags: tcpACK, payload: []byte("12345678")}, {kind: UDP, size: 4, payload: []byte("12345678")}} {
		out := NewBatch(2, SmallLength)
		if _, err := Split(p.build(), out); err != nil {
			f.Fatal(err)
		}
		f.Add(out[0].Bytes(), out[1].Bytes())
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		pkts := []*Packet{New(len(a)), New(len(b))}
		pkts[0].Set(a)
		pkts[1].Set(b)
		if Coalesce(pkts, SegmentTCP|SegmentUDP) == 1 {
			return
		}
		whole := New(len(a) + len(b))
		whole.Set(append(bytes.Clone(pkts[0].Bytes()), pkts[1].Bytes()...))
		whole.Offload = pkts[0].Offload
		out := []*Packet{New(len(a)), New(len(b))}
		if n, err := Split(whole, out); n != 2 || err != nil || !bytes.Equal(out[0].Bytes(), a) || !bytes.Equal(out[1].Bytes(), b) {
			t.Fatalf("%x + %x came back as %x + %x (%d, %v)", a, b, out[0].Bytes(), out[1].Bytes(), n, err)
		}
	})
}
