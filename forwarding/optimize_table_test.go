package forwarding

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestSetOptimizedErrors(t *testing.T) {
	e := New(Options{})
	none := netip.Addr{}
	for _, err := range []error{
		e.SetOptimized(none, cn, Optimized{}), e.SetOptimized(h1, none, Optimized{}), e.SetOptimized(h1, h1, Optimized{}),
		e.SetOptimized(h1, cn, Optimized{CareOf: addr("ff02::1")}), e.SetOptimized(h1, cn, Optimized{CareOf: h1}),
		e.SetOptimized(h1, cn, Optimized{CareOf: c1, NextHop: addr("::")}),
		e.SetCorrespondentBinding(h1, none, cn), e.SetCorrespondentBinding(h1, c1, h1), e.SetCorrespondentBinding(h1, cn, cn),
		e.SetCorrespondentBinding(none, c1, cn),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	e.RemoveOptimized(none, none)
	e.RemoveCorrespondentBinding(none, none)
	must(t, e.SetOptimized(h1, cn, Optimized{}))
	before := e.state.Load()
	must(t, e.SetOptimized(h1, cn, Optimized{}))
	e.RemoveOptimized(h2, cn)
	if e.state.Load() != before {
		t.Error("a change that is none makes workers forget")
	}
}

// The tables beside plain maps.
func TestOptimizedTablesOracle(t *testing.T) {
	e := New(Options{})
	random := rand.New(rand.NewPCG(1, 1))
	address := func(kind byte) netip.Addr {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, kind, 15: byte(random.IntN(6))})
	}
	optimizedMap, cachedMap := map[[2]netip.Addr]netip.Addr{}, map[[2]netip.Addr]netip.Addr{}
	for range 3000 {
		h, c, a := address(1), address(2), address(3)
		switch random.IntN(4) {
		case 0:
			must(t, e.SetOptimized(h, c, Optimized{CareOf: a}))
			optimizedMap[[2]netip.Addr{h, c}] = a
		case 1:
			e.RemoveOptimized(h, c)
			delete(optimizedMap, [2]netip.Addr{h, c})
		case 2:
			must(t, e.SetCorrespondentBinding(h, a, c))
			cachedMap[[2]netip.Addr{h, c}] = a
		case 3:
			e.RemoveCorrespondentBinding(h, c)
			delete(cachedMap, [2]netip.Addr{h, c})
		}
		s := e.state.Load()
		h, c = address(1), address(2)
		want, ok := optimizedMap[[2]netip.Addr{h, c}]
		if o := s.optimized(h, c); (o != nil) != ok || ok && o.CareOf != want {
			t.Fatalf("%v to %v: %+v, want %v", h, c, o, want)
		}
		want, ok = cachedMap[[2]netip.Addr{h, c}]
		if o := s.cached(h, c); (o != nil) != ok || ok && o.careOf != want {
			t.Fatalf("%v at %v: %+v, want %v", h, c, o, want)
		}
	}
}

// Every packet meets one whole state: it leaves by the tunnel or past the home agent, with the care-of address of one change.
func TestOptimizedChangesWhileProcessing(t *testing.T) {
	e, w := optimizing(t)
	must(t, e.SetLocal(c2, ethPort))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			switch i % 3 {
			case 0:
				e.RemoveOptimized(h1, cn)
			default:
				if err := e.SetOptimized(h1, cn, Optimized{CareOf: []netip.Addr{c1, c2}[i%2], Via: true, Port: ethPort, NextHop: router}); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	b := udp(h1, cn, 8)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		out := one(t, process(w, tunPort, b), ethPort)
		if out[6] != 41 && !bytes.Equal(out, optionOut(b)) && !bytes.Equal(out, with(b, c2, cn, 60, homeOption(17, h1))) {
			t.Fatalf("got %x", out)
		}
	}
}
