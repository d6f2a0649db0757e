package routeoptimization

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// Both machines over a network that loses a fifth of everything, with moves, cancellations, returns home and restarts of the
// correspondent node. run checks at every step that nothing is sent that would be dropped, but for restarts; in the end both
// agree.
func TestRandomWalks(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(t)
		w.random = rand.New(rand.NewPCG(seed, 7))
		w.loss = 0.2
		w.request(home)
		for range 30 {
			switch w.random.IntN(10) {
			case 0:
				w.cancel()
			case 1:
				w.path(signaling.HomePath{Home: home, Link: "eth0", AtHome: true})
			case 2:
				w.path(signaling.HomePath{Home: home})
			case 3:
				w.request(dhoa)
			case 4, 5, 6:
				w.attach([]netip.Addr{coa, coa2}[w.random.IntN(2)])
			default:
				w.request(home)
			}
			w.run(time.Duration(w.random.IntN(60_000)) * time.Millisecond)
		}
		w.loss = 0
		w.attach(coa)
		w.request(home)
		w.run(20 * time.Minute)
		w.want(home, StateOptimized)
		w.cancel()
		w.run(time.Minute)
		if _, ok := w.cached[home]; ok || w.mobile[home].Home.IsValid() {
			t.Fatalf("seed %d: left %+v, %+v", seed, w.cached, w.mobile)
		}
	}
}

func FuzzHandle(f *testing.F) {
	for _, m := range []mh.Message{
		&mh.HomeTest{}, &mh.CareOfTest{}, &mh.BindingAcknowledgement{}, &mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home},
		&mh.BindingError{Status: mh.UnrecognizedType}, &mh.BindingRefreshRequest{},
	} {
		b, err := mh.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, routed bool) {
		w := newWorld(t)
		w.request(home)
		w.run(time.Second)
		w.attach(coa2)
		r := signaling.Received{Source: cn, Destination: home, Payload: b, Tunneled: true}
		if routed {
			r.Destination, r.RoutingHome, r.Tunneled = coa2, home, false
		}
		if len(b) >= 8 {
			mh.SetChecksum(b, cn, home)
		}
		w.mobileDoes(w.mn.Handle(w.now, r))
		w.mobileDoes(w.mn.Handle(w.now, signaling.ReceivedICMP{Source: cn, Destination: coa2, Payload: b}))
		w.run(time.Second)
		w.check()
		if len(w.mn.entries) != 1 {
			t.Errorf("%x made or ended an entry", b)
		}
	})
}
