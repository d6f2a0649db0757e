package forwarding

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// Bindings, routes, addresses and path MTUs change while workers process: every packet meets one whole state, so that
// nothing comes out but what one of the states allows.
func TestChangesWhileProcessing(t *testing.T) {
	e, _ := anchor(t)
	stop := make(chan struct{})
	var control, workers sync.WaitGroup
	change := func(f func(i int)) {
		control.Add(1)
		go func() {
			defer control.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		}()
	}
	change(func(i int) {
		remote := []netip.Addr{c1, c2}[i%2]
		if i%5 == 4 {
			e.UnbindAnchored(host(h1))
		} else if err := e.BindAnchored(host(h1), Tunnel{Local: ha, Remote: remote}); err != nil {
			t.Error(err)
		}
	})
	change(func(i int) {
		next := []netip.Addr{router, addr("fe80::2")}[i%2]
		if err := e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, next); err != nil {
			t.Error(err)
		}
		e.SetPathMTU(c1, 1300+i%200, start.Add(time.Duration(i)*time.Minute))
		e.Counters()
	})
	change(func(i int) {
		if i%2 == 0 {
			e.RemovePort(7)
		} else if err := e.SetPort(Port{ID: 7, MTU: 1500}); err != nil {
			t.Error(err)
		}
		w := e.NewWorker()
		w.Process(start, ethPort, []*packet.Packet{pkt(udp(cn, h2, 1))})
		w.Close()
	})
	for range 2 {
		w := e.NewWorker()
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range 2000 {
				r := w.Process(start.Add(time.Duration(i)*time.Second), ethPort,
					[]*packet.Packet{pkt(udp(cn, h1, i%1400)), pkt(tunnelled(0, c1, ha, udp(h1, cn, 9)))})
				for _, b := range sent(r, ethPort) {
					if d := addrAt(b, 24); d != c1 && d != c2 && d != cn {
						t.Errorf("out to %v", d)
					}
				}
			}
		}()
	}
	workers.Wait()
	close(stop)
	control.Wait()
}
