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

// slowSum is RFC 1071 as written.
func slowSum(b []byte, initial uint16) uint16 {
	sum := uint32(initial)
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		sum += word
		if sum > 0xffff {
			sum = sum - 0x10000 + 1
		}
	}
	return uint16(sum)
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// same compares one's complement numbers, which have two zeros.
func same(a, b uint16) bool { return a == b || a == 0 && b == 0xffff || a == 0xffff && b == 0 }

func TestSumGolden(t *testing.T) {
	// The example of RFC 1071 section 3.
	if got := Sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}, 0); got != 0xddf2 {
		t.Errorf("Sum = %#04x, want 0xddf2", got)
	}
	if got := Sum(nil, 0x1234); got != 0x1234 {
		t.Errorf("Sum of nothing = %#04x, want its initial", got)
	}
}

func TestSumOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		b := randomBytes(r, r.IntN(300))
		if r.IntN(4) == 0 { // carries everywhere
			for i := range b {
				b[i] = 0xff
			}
		}
		initial := uint16(r.Uint32())
		if got, want := Sum(b, initial), slowSum(b, initial); !same(got, want) {
			t.Fatalf("Sum(%x, %#x) = %#x, want %#x", b, initial, got, want)
		}
	}
}

func TestPseudoHeaderSum(t *testing.T) {
	source, destination := netip.MustParseAddr("2001:db8::1").As16(), netip.MustParseAddr("2001:db8:1::2").As16()
	header := append(append([]byte{}, source[:]...), destination[:]...)
	header = append(header, 0, 1, 0x23, 0x45, 0, 0, 0, 17)
	if got, want := PseudoHeaderSum(source[:], destination[:], 0x12345, 17), slowSum(header, 0); got != want {
		t.Errorf("PseudoHeaderSum = %#x, want %#x", got, want)
	}
}

func TestUpdateChecksum(t *testing.T) {
	// The example of RFC 1624 section 4, where the older formula fails.
	if got := UpdateChecksum(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("UpdateChecksum = %#04x, want 0x0000", got)
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		b := randomBytes(r, 64)
		check := ^slowSum(b, 0)
		before := binary.BigEndian.Uint16(b[10:])
		binary.BigEndian.PutUint16(b[10:], uint16(r.Uint32()))
		check = UpdateChecksum(check, before, binary.BigEndian.Uint16(b[10:]))
		address := bytes.Clone(b[16:32])
		copy(b[16:32], randomBytes(r, 16))
		check = UpdateChecksumOver(check, address, b[16:32])
		if want := ^slowSum(b, 0); !same(check, want) {
			t.Fatalf("updated checksum %#x, want %#x", check, want)
		}
	}
}

func TestFinishChecksum(t *testing.T) {
	p := New(SmallLength)
	golden, _ := hex.DecodeString("6000000000091140" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" +
		"04d20050" + "0009" + "0000" + "61")
	p.Set(golden)
	b := p.Bytes()
	binary.BigEndian.PutUint16(b[46:], PseudoHeaderSum(b[8:24], b[24:40], 9, 17))
	p.Offload = Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 6}
	if err := FinishChecksum(p); err != nil {
		t.Fatal(err)
	}
	if got := b[46:48]; !bytes.Equal(got, []byte{0x3e, 0x45}) {
		t.Errorf("checksum %x, want 3e45", got)
	}
	if p.Offload != (Offload{}) {
		t.Errorf("offload state left: %+v", p.Offload)
	}
	for name, o := range map[string]Offload{
		"super-packet":           {Segmentation: UDP},
		"start behind the end":   {NeedsChecksum: true, ChecksumStart: 49},
		"field over the end":     {NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 8},
		"field far behind":       {NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 0xffff},
		"start is the last word": {NeedsChecksum: true, ChecksumStart: 0xffff, ChecksumOffset: 0xffff},
	} {
		p.Offload = o
		if err := FinishChecksum(p); !errors.Is(err, ErrOffload) {
			t.Errorf("%s: %v, want ErrOffload", name, err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, length := range []int{64, 1400, 65536} {
		from, to := make([]byte, length), make([]byte, length)
		b.Run(fmt.Sprintf("Sum/%d", length), func(b *testing.B) {
			b.SetBytes(int64(length))
			for b.Loop() {
				Sum(from, 0)
			}
		})
		b.Run(fmt.Sprintf("copySum/%d", length), func(b *testing.B) {
			b.SetBytes(int64(length))
			for b.Loop() {
				copySum(to, from, 0)
			}
		})
		b.Run(fmt.Sprintf("copy/%d", length), func(b *testing.B) {
			b.SetBytes(int64(length))
			for b.Loop() {
				copy(to, from)
			}
		})
	}
}
