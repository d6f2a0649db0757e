package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"gvisor.dev/gvisor/pkg/tcpip"

	"kedge/netstack/packet"
)

// closedHost opens a host, leaves it an incomplete packet and a half-open connection attempt, and closes it.
func closedHost(t *testing.T) weak.Pointer[clock] {
	r := &recorder{}
	h, err := New(r.config(1500))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.AddAddress(ours); err != nil {
		t.Fatal(err)
	}
	deliver(t, h, fragment(1, 41, 0, true, make([]byte, 1024)))
	syn := []byte{0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 41, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0}
	deliver(t, h, ipv6Packet(theirs, ours, 6, withChecksum(6, 16, syn)))
	h.Close()
	h.Close()

	deliver(t, h, fragment(1, 41, 1024, false, make([]byte, 8)))
	if len(r.tunneled) != 0 {
		t.Error("a closed host reassembled a packet")
	}
	if err := h.AddAddress(ours); !errors.Is(err, ErrClosed) {
		t.Errorf("adding to a closed host: %v, want ErrClosed", err)
	}
	if err := h.RemoveAddress(ours); !errors.Is(err, ErrClosed) {
		t.Errorf("removing from a closed host: %v, want ErrClosed", err)
	}
	if s := h.Statistics(); s != (Statistics{}) {
		t.Errorf("statistics of a closed host: %+v", s)
	}
	return weak.Make(h.clock) // which the whole stack holds
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	var left []weak.Pointer[clock]
	for range 20 {
		left = append(left, closedHost(t))
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		runtime.GC()
		alive := 0
		for _, p := range left {
			if p.Value() != nil {
				alive++
			}
		}
		goroutines := runtime.NumGoroutine() - before
		if alive == 0 && goroutines <= 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after Close of 20 hosts %d are in memory and %d goroutines run", alive, goroutines)
		}
		runtime.Gosched()
	}
}

func TestDeliverWhileClosing(t *testing.T) {
	for range 10 {
		r := &recorder{}
		h, err := New(r.config(1500))
		if err != nil {
			t.Fatal(err)
		}
		if err := h.AddAddress(ours); err != nil {
			t.Fatal(err)
		}
		echo := ipv6Packet(theirs, ours, 58, withChecksum(58, 2, []byte{128, 0, 0, 0, 1, 2, 3, 4}))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 100 {
					deliver(t, h, echo)
					_ = h.AddAddress(theirs)
					_ = h.RemoveAddress(theirs)
				}
			})
		}
		h.Close()
		emitted := len(r.take())
		wg.Wait()
		if late := len(r.take()); late != 0 {
			t.Errorf("%d packets emitted after Close, %d before", late, emitted)
		}
	}
}

func TestStoppedClockFiresNoMore(t *testing.T) {
	c := newClock(tcpip.NewStdClock())
	left := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.timers)
	}
	fired := make(chan struct{}, 4)
	running := c.AfterFunc(0, func() { fired <- struct{}{} })
	<-fired
	pending := c.AfterFunc(time.Hour, func() { fired <- struct{}{} })
	c.stop()
	if left() != 0 || pending.Stop() || running.Stop() {
		t.Error("a timer was left")
	}
	running.Reset(0)
	late := c.AfterFunc(0, func() { fired <- struct{}{} })
	if late.Stop() {
		t.Error("a timer of a stopped clock was running")
	}
	if left() != 0 || len(fired) != 0 {
		t.Error("a stopped clock fired")
	}
}

func TestPartialChecksumIsFinished(t *testing.T) {
	h, r := start(t)
	// The sender left the sum of the pseudo-header in the checksum field.
	echo := []byte{128, 0, 0, 0, 1, 2, 3, 4, 5}
	binary.BigEndian.PutUint16(echo[2:], ^sum(theirs, ours, 58, nil)+uint16(len(echo)))
	p := packet.New(2048)
	p.Set(ipv6Packet(theirs, ours, 58, echo))
	p.Offload = packet.Offload{NeedsChecksum: true, ChecksumStart: 40, ChecksumOffset: 2}
	h.Deliver(p)
	if got := reply(t, r, 58); got[0] != 129 {
		t.Errorf("reply %x", got)
	}
	p.Offload.ChecksumStart, p.Offload.ChecksumOffset = 60000, 65535
	h.Deliver(p)
	if output := r.take(); len(output) != 0 {
		t.Errorf("emitted %x", output)
	}
}

func TestDatagramsOfASuperPacketAreTakenApart(t *testing.T) {
	payload := random(2500)
	headers := append(ipv6Packet(theirs, ours, 60, []byte{17, 0, 1, 4, 0, 0, 0, 0}), 0x30, 0x39, 0, 53, 0, 0, 0, 0)
	p := packet.New(4096)
	p.Set(append(headers, payload...))
	p.Offload = packet.Offload{Segmentation: packet.UDP, SegmentSize: 1000, HeaderLength: 56, NeedsChecksum: true, ChecksumStart: 48, ChecksumOffset: 6}
	var got []byte
	var sizes []int
	eachSegment(p, func(b []byte) {
		udp := b[48:]
		if int(binary.BigEndian.Uint16(b[4:]))+40 != len(b) || int(binary.BigEndian.Uint16(udp[4:])) != len(udp) || sum(theirs, ours, 17, udp) != 0 {
			t.Errorf("lengths or checksum of %x", b[:56])
		}
		sizes = append(sizes, len(udp)-8)
		got = append(got, udp[8:]...)
	})
	if !bytes.Equal(got, payload) || len(sizes) != 3 || sizes[0] != 1000 || sizes[2] != 500 {
		t.Errorf("datagrams of %v octets", sizes)
	}
	for _, o := range []packet.Offload{
		{Segmentation: packet.UDP, SegmentSize: 0, HeaderLength: 56},
		{Segmentation: packet.UDP, SegmentSize: 10, HeaderLength: 60000},
		{Segmentation: packet.UDP, SegmentSize: 10, HeaderLength: 8},
	} {
		p.Offload = o
		eachSegment(p, func(b []byte) { t.Errorf("%+v: a datagram of %d octets", o, len(b)) })
	}
}

func FuzzDeliver(f *testing.F) {
	f.Add(ipv6Packet(theirs, ours, 58, withChecksum(58, 2, []byte{128, 0, 0, 0, 1, 2, 3, 4})), uint16(0), uint16(0))
	f.Add(ipv6Packet(theirs, ours, 17, withChecksum(17, 6, []byte{0x30, 0x39, 0, 53, 0, 9, 0, 0, 1})), uint16(0), uint16(0))
	f.Add(ipv6Packet(theirs, ours, 6, make([]byte, 20)), uint16(40), uint16(16))
	f.Add(ipv6Packet(theirs, ours, 135, []byte{59, 0, 5, 0, 0, 0, 0, 0}), uint16(0), uint16(0))
	f.Add(ipv6Packet(theirs, ours, 41, ipv6Packet(ours, theirs, 59, nil)), uint16(0), uint16(0))
	f.Add(ipv6Packet(theirs, ours, 0, []byte{60, 0, 5, 2, 0, 0, 1, 0, 43, 0, 1, 4, 0, 0, 0, 0, 59, 0, 0, 0, 0, 0, 0, 0}), uint16(0), uint16(0))
	f.Add(fragment(1, 41, 0, true, make([]byte, 16)), uint16(0), uint16(0))
	f.Add(fragment(1, 41, 16, false, make([]byte, 5)), uint16(0), uint16(0))
	f.Add([]byte{}, uint16(0), uint16(0))
	h, err := New(Config{
		MTU:            1280,
		Output:         func(b []byte) {},
		Tunneled:       func(netip.Addr, netip.Addr, uint8, []byte) {},
		MobilityHeader: func(netip.Addr, netip.Addr, []byte) {},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(h.Close)
	if err := h.AddAddress(ours); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, start, size uint16) {
		p := packet.New(len(b))
		if len(b) > packet.MaxLength || !p.Set(b) {
			return
		}
		p.Offload = packet.Offload{NeedsChecksum: start != 0, ChecksumStart: start, ChecksumOffset: size}
		h.Deliver(p)
		if size != 0 {
			p.Offload = packet.Offload{Segmentation: packet.UDP, SegmentSize: size, HeaderLength: start}
			h.Deliver(p)
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	h, err := New(Config{
		MTU:            1500,
		Output:         func([]byte) {},
		Tunneled:       func(netip.Addr, netip.Addr, uint8, []byte) {},
		MobilityHeader: func(netip.Addr, netip.Addr, []byte) {},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	if err := h.AddAddress(ours); err != nil {
		b.Fatal(err)
	}
	p := packet.New(2048)
	p.Set(ipv6Packet(theirs, ours, 58, withChecksum(58, 2, append([]byte{128, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 56)...))))
	b.ReportAllocs()
	for b.Loop() {
		h.Deliver(p)
	}
}
