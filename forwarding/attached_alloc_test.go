package forwarding

import (
	"sync"
	"testing"
	"time"

	"kedge/netstack/packet"
)

func TestAccessDoesNotAllocate(t *testing.T) {
	_, w := accessRouter(t)
	for _, c := range []struct {
		name string
		in   PortID
		b    []byte
	}{
		{"native up", access1, udp(within(local1), cn, 100)},
		{"native down", ethPort, udp(cn, within(local1), 100)},
		{"tunnelled up", access1, udp(within(earlier1), cn, 100)},
		{"tunnelled down", ethPort, tunnelled(0, previous, maar, udp(cn, within(earlier1), 100))},
		{"to each other", access1, udp(within(local1), within(local2), 100)},
		{"to another MAAR", access1, udp(within(local1), within(gone), 100)},
		{"packet too big", access1, udp(within(earlier1), cn, 1440)},
		{"stranger", access1, udp(within(gone), cn, 100)},
		{"spoofer", access1, udp(within(local2), cn, 100)},
		{"neighbour discovery", access1, icmp6(addr("fe80::5"), dlif1, 255, 135, 0, 0, dlif1.AsSlice())},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := start
			from, work, pkts := frame(c.b, mac1), packet.New(packet.MaxLength), make([]*packet.Packet, 1)
			run := func() {
				now = now.Add(time.Second) // so that every error and report is made
				work.CopyFrom(from)
				pkts[0] = work
				w.Process(now, c.in, pkts)
			}
			run()
			if n := testing.AllocsPerRun(200, run); n != 0 {
				t.Errorf("%v allocations per packet", n)
			}
		})
	}
}

// A mobile node comes, goes and is served by tunnel while workers process; and its use is read. Nothing of it goes where no
// state has it.
func TestAttachmentsChangeWhileProcessing(t *testing.T) {
	e, _ := accessRouter(t)
	stop := make(chan struct{})
	var control, workers sync.WaitGroup
	control.Add(1)
	go func() {
		defer control.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch i % 4 {
			case 0:
				must(t, e.BindAttached(local1, through(access1, mac1, previous)))
			case 1:
				e.UnbindAttached(local1)
				must(t, e.BindAnchored(local1, Tunnel{Local: maar, Remote: serving}))
			case 2:
				must(t, e.BindAttached(local1, here(access2, mac1)))
			case 3:
				e.UnbindAnchored(local1)
			}
			for _, u := range e.AttachedUses() {
				u.Last()
			}
		}
	}()
	for range 2 {
		w := e.NewWorker()
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range 2000 {
				now := start.Add(time.Duration(i) * time.Second)
				down := w.Process(now, ethPort, []*packet.Packet{pkt(udp(cn, within(local1), 9))})
				for _, b := range sent(down, ethPort) {
					if d := addrAt(b, 24); d != serving {
						t.Errorf("down to %v", d)
					}
				}
				up := w.Process(now, access2, []*packet.Packet{frame(udp(within(local1), cn, 9), mac1)})
				for _, b := range sent(up, ethPort) {
					if d := addrAt(b, 24); d != cn {
						t.Errorf("up to %v", d)
					}
				}
			}
		}()
	}
	workers.Wait()
	close(stop)
	control.Wait()
}
