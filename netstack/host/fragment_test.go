package host

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/faketime"
)

// fragment puts a Fragment header (RFC 8200 section 4.5) in front of a part of a payload.
func fragment(id uint32, next uint8, offset int, more bool, part []byte) []byte {
	b := []byte{next, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(offset))
	if more {
		b[3] |= 1
	}
	binary.BigEndian.PutUint32(b[4:], id)
	return ipv6Packet(theirs, ours, 44, append(b, part...))
}

// fragments cuts a payload into packets with size octets of it each.
func fragments(id uint32, next uint8, payload []byte, size int) [][]byte {
	var all [][]byte
	for offset := 0; offset < len(payload); offset += size {
		end := min(offset+size, len(payload))
		all = append(all, fragment(id, next, offset, end < len(payload), payload[offset:end]))
	}
	return all
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestFragmentsAreReassembled(t *testing.T) {
	h, r := start(t)
	inner := ipv6Packet(theirs, ours, 59, random(3000))
	message := random(2000)
	all := append(fragments(1, 41, inner, 1024), fragments(2, 135, message, 512)...)
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(len(all)) {
		deliver(t, h, all[i])
	}
	deliver(t, h, fragment(3, 41, 0, false, inner)) // atomic (RFC 6946)
	if len(r.tunneled) != 2 || !bytes.Equal(r.tunneled[0].payload, inner) || !bytes.Equal(r.tunneled[1].payload, inner) {
		t.Errorf("%d tunneled packets, want the inner one twice", len(r.tunneled))
	}
	if len(r.mobility) != 1 || !bytes.Equal(r.mobility[0].payload, message) || r.mobility[0].source != theirs {
		t.Errorf("%d mobility headers, want the one", len(r.mobility))
	}
	if output := r.take(); len(output) != 0 {
		t.Errorf("emitted %x", output)
	}
}

func TestLargestPacketIsReassembled(t *testing.T) {
	h, r := start(t)
	payload := random(65535)
	for _, f := range fragments(1, 41, payload, 1232) {
		deliver(t, h, f)
	}
	if len(r.tunneled) != 1 || !bytes.Equal(r.tunneled[0].payload, payload) {
		t.Fatalf("%d tunneled packets, want the one of 65535 octets", len(r.tunneled))
	}
	deliver(t, h, fragment(2, 41, 65528, false, make([]byte, 16)))
	if got := reply(t, r, 58); got[0] != 4 || got[1] != 0 || binary.BigEndian.Uint32(got[4:]) != 42 {
		t.Errorf("%x to a fragment beyond 65535, want Parameter Problem pointing to the offset (RFC 8200 section 4.5)", got[:8])
	}
}

func TestRFC5722OverlappingFragmentsAreDropped(t *testing.T) {
	payload := random(3000)
	for name, overlap := range map[string][]byte{
		"by an octet group": fragment(1, 41, 1016, true, payload[1016:2040]),
		"within":            fragment(1, 41, 256, true, payload[256:512]),
		"around":            fragment(1, 41, 0, true, payload[:2048]),
	} {
		t.Run(name, func(t *testing.T) {
			h, r := start(t)
			all := fragments(1, 41, payload, 1024)
			deliver(t, h, all[0])
			deliver(t, h, overlap)
			deliver(t, h, all[1])
			deliver(t, h, all[2])
			if len(r.tunneled) != 0 {
				t.Error("the packet was reassembled")
			}
			if output := r.take(); len(output) != 0 {
				t.Errorf("emitted %x", output)
			}
			if s := h.Statistics(); s.MalformedFragments == 0 {
				t.Error("not counted")
			}
		})
	}
}

func TestFragmentWithoutTheRestTimesOut(t *testing.T) {
	clock := faketime.NewManualClock()
	h, r := startWith(t, clock)
	all := fragments(1, 41, random(2000), 1024)
	deliver(t, h, all[0])
	clock.Advance(59 * time.Second)
	if output := r.take(); len(output) != 0 {
		t.Fatalf("emitted %x after 59 s", output)
	}
	clock.Advance(time.Second)
	if got := reply(t, r, 58); got[0] != 3 || got[1] != 1 || !bytes.Equal(got[8:8+48], all[0][:48]) {
		t.Errorf("%x, want Time Exceeded code 1 (RFC 8200 section 4.5)", got)
	}
	deliver(t, h, all[1])
	if len(r.tunneled) != 0 {
		t.Error("reassembled from a fragment that had timed out")
	}
}

// heapGrowth is by how many octets the heap grows while f runs and what it left is still in use.
func heapGrowth(f func()) int64 {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	f()
	return heap() - before
}

func TestIncompletePacketsDoNotGrowMemory(t *testing.T) {
	// gVisor holds back 4 MiB of packets by its own count, and about as much in overhead for large fragments, several
	// times as much for the smallest.
	for _, test := range []struct {
		name                 string
		senders, size, limit int
	}{
		{"large fragments", 12_000, 1024, 16 << 20},
		{"smallest fragments", 20_000, 8, 32 << 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, r := start(t)
			part := make([]byte, test.size)
			growth := heapGrowth(func() {
				for id := range test.senders {
					deliver(t, h, fragment(uint32(id), 41, 0, true, part))
				}
			})
			t.Logf("%d incomplete packets of %d octets hold %d KiB", test.senders, test.size, growth>>10)
			if growth > int64(test.limit) {
				t.Errorf("heap grew by %d KiB, want at most %d", growth>>10, test.limit>>10)
			}
			deliver(t, h, fragment(0, 41, test.size, false, part))
			deliver(t, h, fragment(uint32(test.senders-1), 41, test.size, false, part))
			if len(r.tunneled) != 1 {
				t.Errorf("%d packets were reassembled, want the newest and not the oldest", len(r.tunneled))
			}
		})
	}
}
