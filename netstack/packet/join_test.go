package packet

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// join adds packets to one as long as they fit, and returns it and how many it holds.
func join(t testing.TB, room int, pkts [][]byte) (*Packet, int) {
	t.Helper()
	p := New(room)
	var j Joiner
	if !j.Begin(p, pkts[0]) {
		t.Fatal("the first does not fit")
	}
	n := 1
	for n < len(pkts) && j.SameFlow(pkts[n]) && j.Add(pkts[n]) {
		n++
	}
	j.Finish()
	return p, n
}

func octets(pkts []*Packet) (all [][]byte) {
	for _, p := range pkts {
		all = append(all, bytes.Clone(p.Bytes()))
	}
	return all
}

func TestJoinIsTheInverseOfSplit(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		s := super{kind: TCP, size: 1 + r.IntN(1400), options: 4 * r.IntN(11), flags: tcpACK}
		if r.IntN(2) == 0 {
			s.flags |= tcpPSH
		}
		if r.IntN(3) == 0 {
			s.kind, s.options, s.flags = UDP, 0, 0
		}
		s.payload = randomBytes(r, s.size+1+r.IntN(40*s.size))
		want := s.build()
		p, n := join(t, MaxLength, octets(segments(t, s)))
		if wanted := (len(s.payload) + s.size - 1) / s.size; n != wanted {
			t.Fatalf("%d packets, want %d", n, wanted)
		}
		if !bytes.Equal(p.Bytes(), want.Bytes()) || p.Offload != want.Offload {
			t.Fatalf("got %x %+v\nwant %x %+v", p.Bytes(), p.Offload, want.Bytes(), want.Offload)
		}
	}
}

func TestJoinStopsAtWhatDiffers(t *testing.T) {
	datagrams := super{kind: UDP, size: 100, payload: stream.payload}
	for name, c := range map[string]struct {
		s     super
		spoil func(b []byte) []byte // the third packet; its checksum is put right afterwards
		want  int
	}{
		"nothing":            {stream, func(b []byte) []byte { return b }, 6},
		"gap":                {stream, func(b []byte) []byte { b[47]++; return b }, 2},
		"congestion mark":    {stream, func(b []byte) []byte { b[1] |= 0x30; return b }, 2},
		"FIN":                {stream, func(b []byte) []byte { b[53] |= tcpFIN; return b }, 2},
		"push":               {stream, func(b []byte) []byte { b[53] |= tcpPSH; return b }, 3},
		"options":            {stream, func(b []byte) []byte { b[61]++; return b }, 2},
		"datagrams":          {datagrams, func(b []byte) []byte { return b }, 6},
		"datagrams' port":    {datagrams, func(b []byte) []byte { b[43]++; return b }, 2},
		"datagrams' class":   {datagrams, func(b []byte) []byte { b[1] |= 0x30; return b }, 2},
		"datagram's length":  {datagrams, func(b []byte) []byte { b[45]++; return b }, 2},
		"wrong checksum":     {stream, nil, 2},
		"datagram's as well": {datagrams, nil, 2},
	} {
		pkts := octets(segments(t, c.s))
		b := pkts[2]
		if c.spoil == nil {
			b[len(b)-1]++
		} else {
			pkts[2] = c.spoil(b)
			at := 56
			if c.s.kind == UDP {
				at = 46
			}
			b[at], b[at+1] = 0, 0
			putChecksum(b[at:], ^Sum(b[40:], pseudoSum(b)))
		}
		if _, n := join(t, MaxLength, pkts); n != c.want {
			t.Errorf("%s: %d joined, want %d", name, n, c.want)
		}
	}
}

func TestJoinDatagramsWithoutChecksum(t *testing.T) {
	pkts := octets(segments(t, super{kind: UDP, size: 100, payload: stream.payload}))
	for _, b := range pkts {
		b[46], b[47] = 0, 0
	}
	if p, n := join(t, MaxLength, pkts); n != 1 || !bytes.Equal(p.Bytes(), pkts[0]) || p.Offload != (Offload{}) {
		t.Errorf("%d joined: %x", n, p.Bytes())
	}
}

func TestJoinKeepsTheFirstAsItIsIfAlone(t *testing.T) {
	pkts := octets(segments(t, stream))
	for _, first := range [][]byte{pkts[0], pkts[5], {0x60}, {}, bytes.Repeat([]byte{6}, 60)} {
		p, _ := join(t, 200, [][]byte{first})
		if !bytes.Equal(p.Bytes(), first) || p.Offload != (Offload{}) {
			t.Errorf("%x became %x %+v", first, p.Bytes(), p.Offload)
		}
	}
}

func TestJoinBounds(t *testing.T) {
	s := stream
	s.size, s.payload = 1400, make([]byte, MaxLength-72)
	s.flags = tcpACK
	pkts := octets(segments(t, s))
	if p, n := join(t, MaxLength, pkts); n != len(pkts) || p.Len() != MaxLength {
		t.Errorf("%d octets of %d packets, want all", p.Len(), n)
	}
	if p, n := join(t, 72+3*1400, pkts); n != 3 {
		t.Errorf("%d octets of %d packets, want 3", p.Len(), n)
	}
	var j Joiner
	if j.Begin(New(1471), pkts[0]) {
		t.Error("a packet of 1472 octets fitted in 1471")
	}
	if j.Add(pkts[1]) {
		t.Error("joined to nothing")
	}
}

func TestJoinDoesNotAllocate(t *testing.T) {
	pkts, p := octets(segments(t, stream)), New(MaxLength)
	var j Joiner
	if n := testing.AllocsPerRun(50, func() {
		j.Begin(p, pkts[0])
		for _, b := range pkts[1:] {
			if !j.SameFlow(b) || !j.Add(b) {
				t.Fatal("not joined")
			}
		}
		j.Finish()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Coalesce and Joiner do the same under the same conditions.
func TestCoalesceDatagrams(t *testing.T) {
	s := super{kind: UDP, size: 100, payload: stream.payload}
	if n := Coalesce(segments(t, s), SegmentTCP); n != 1 {
		t.Errorf("Coalesce = %d for a taker that does not segment UDP", n)
	}
	if n := Coalesce(segments(t, stream), SegmentUDP); n != 1 {
		t.Errorf("Coalesce = %d for a taker that does not segment TCP", n)
	}
	pkts := segments(t, s)
	if n := Coalesce(pkts, SegmentUDP); n != 6 {
		t.Fatalf("Coalesce = %d, want 6", n)
	}
	var got []byte
	for _, p := range pkts {
		got = append(got, p.Bytes()...)
	}
	if want := s.build(); !bytes.Equal(got, want.Bytes()) || pkts[0].Offload != want.Offload {
		t.Errorf("got %x %+v\nwant %x %+v", got, pkts[0].Offload, want.Bytes(), want.Offload)
	}
}

func TestSumOfEveryLength(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	data, to := randomBytes(r, 700), make([]byte, 701)
	for n := range 700 {
		at := r.IntN(len(data) - n + 1)
		b := data[at : at+n]
		initial := uint16(r.Uint32())
		want := slowSum(b, initial)
		to[n] = 0xaa
		got, copied := Sum(b, initial), copySum(to, b, initial)
		if got != want || copied != want || !bytes.Equal(to[:n], b) || to[n] != 0xaa {
			t.Fatalf("%d octets: Sum %#x, copySum %#x, want %#x", n, got, copied, want)
		}
	}
	ones := bytes.Repeat([]byte{0xff}, 1<<16)
	if got, copied := Sum(ones, 0xffff), copySum(make([]byte, len(ones)), ones, 0xffff); got != 0xffff || copied != 0xffff {
		t.Errorf("all ones: Sum %#x, copySum %#x", got, copied)
	}
}
