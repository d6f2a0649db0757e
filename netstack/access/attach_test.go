package access

import (
	"fmt"
	"testing"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// Whatever a host does first tells that it is there.
func TestAttachedByAnySign(t *testing.T) {
	group := nd.SolicitedNode(ll1)
	for want, show := range map[string]func(b *bench){
		"fe80::a1: router solicitation": func(b *bench) { b.receive(m1, ll1, nd.AllRouters, &nd.RouterSolicitation{}) },
		"invalid IP: router solicitation": func(b *bench) {
			b.receive(m1, any6, nd.AllRouters, &nd.RouterSolicitation{})
		},
		"fe80::a1: neighbour solicitation": func(b *bench) { // duplicate address detection
			b.receive(m1, any6, group, &nd.NeighborSolicitation{Target: ll1})
		},
		"fe80::a1: neighbour advertisement": func(b *bench) {
			b.receive(m1, ll1, nd.AllNodes, &nd.NeighborAdvertisement{Target: ll1, Override: true})
		},
		"fe80::a1: multicast listener report": func(b *bench) {
			b.receive(m1, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{
				Records: []nd.ListenerRecord{{Type: nd.ChangeToExcludeMode, Group: group}},
			})
		},
		"invalid IP: multicast listener report": func(b *bench) { // RFC 3590
			b.receive(m1, any6, group, &nd.ListenerReportV1{Group: group})
		},
		"invalid IP: data":    func(b *bench) { b.data(m1) },
		"invalid IP: link up": func(b *bench) { b.do(b.Seen(b.now, m1, LinkUp)) },
	} {
		t.Run(want, func(t *testing.T) {
			b := newBench(t, Config{})
			show(b)
			b.expect("0s attached m1 " + want)
			show(b)
			b.quiet()
		})
	}
}

// A host that was served before anything was heard of it, as after a restart, has attached when it shows itself, once.
func TestServedBeforeHeard(t *testing.T) {
	b := newBench(t, Config{IdleTime: time.Hour})
	b.serve(m1, r1)
	b.until(5 * time.Second)
	b.lines = nil
	b.data(m1)
	b.expect("5s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "5s attached m1 invalid IP: data")
	b.data(m1)
	b.quiet()
}

func TestNotAttachedBy(t *testing.T) {
	for what, show := range map[string]func(b *bench){
		"a router advertisement": func(b *bench) { b.receive(m1, ll1, nd.AllNodes, &nd.RouterAdvertisement{}) },
		"a query":                func(b *bench) { b.receive(m1, ll1, nd.AllNodes, &nd.ListenerQuery{Group: any6}) },
		"an invalid message":     func(b *bench) { b.do(b.Handle(b.now, make([]byte, 50), m1)) },
		"the interface itself":   func(b *bench) { b.receive(me, ll1, nd.AllRouters, &nd.RouterSolicitation{}) },
		"its data":               func(b *bench) { b.data(me) },
		"a group":                func(b *bench) { b.data(packet.LinkAddress{0x33, 0x33}) },
		"nobody":                 func(b *bench) { b.do(b.Seen(b.now, packet.LinkAddress{}, LinkUp)) },
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, Config{})
			show(b)
			b.quiet()
			if len(b.Hosts()) > 0 {
				t.Errorf("%+v", b.Hosts())
			}
		})
	}
}

// Repetitions wait until a second after the last report, then twice as long each time while nobody serves the host.
func TestRepetitionsAreDamped(t *testing.T) {
	b := newBench(t, Config{})
	for d := time.Duration(0); d < 20*time.Second; d += 100 * time.Millisecond {
		b.until(d)
		b.data(m1)
	}
	b.expect(
		"0s attached m1 invalid IP: data", "1s attached m1 invalid IP: data", "3s attached m1 invalid IP: data",
		"7s attached m1 invalid IP: data", "15s attached m1 invalid IP: data",
	)
	b.serve(m1, r1)
	b.lines = nil
	b.do(b.Withdraw(b.now, m1, p1, false))
	b.data(m1)
	b.expect("19.9s receive ", "19.9s attached m1 invalid IP: data")
	if b.Counters().Damped != 5 {
		t.Errorf("%+v", b.Counters())
	}
}

// A host that is served is not reported again for what it does all the time, but for what follows a change of link.
func TestServedHostAttachesAgain(t *testing.T) {
	b := attached(t, Config{IdleTime: time.Hour}, r1)
	b.receive(m1, ll1, r1.LinkLocal, &nd.NeighborSolicitation{Target: r1.LinkLocal}) // unreachability detection
	b.data(m1)
	b.expect("0s d1>m1 fe80::d1 > fe80::a1 NA fe80::d1 [RSO] d1")
	b.at(2 * time.Second)
	report := func() { b.receive(m1, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{}) }
	report()
	b.at(4 * time.Second)
	b.data(m1)
	b.at(8 * time.Second)
	report() // not silent: there was data
	b.quiet()
	b.at(11 * time.Second)
	report()
	b.expect(
		"11s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"11s attached m1 fe80::a1: multicast listener report",
	)
	b.until(12500 * time.Millisecond)
	b.lines = nil
	b.do(b.Seen(b.now, m1, LinkUp)) // whoever says that knows
	b.expect("12.5s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "12.5s attached m1 fe80::a1: link up")
}

func TestCarrier(t *testing.T) {
	b := attached(t, Config{}, r1)
	b.serve(m2, r2)
	b.lines = nil
	b.do(b.Carrier(b.now, false))
	b.expect("0s departed m1: carrier lost", "0s departed m2: carrier lost")
	b.until(time.Minute)
	b.quiet()
	if to, _, known := b.LinkAddresses(addr("2001:db8:1::1")); to != m1 || !known {
		t.Error("what is served is forgotten")
	}
	b.do(b.Carrier(b.now, true))
	b.data(m1)
	b.expect("1m0s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "1m0s attached m1 fe80::a1: data")
	// m2 says nothing, and may not have noticed: it is asked, by a query since no address of it is known.
	b.until(64 * time.Second)
	b.expect(
		"1m0.25s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"1m0.5s d2>m2 fe80::d2 > ff02::1 query 500ms",
		"1m1s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"1m1.5s d2>m2 fe80::d2 > ff02::1 query 500ms",
		"1m2.5s d2>m2 fe80::d2 > ff02::1 query 500ms",
		"1m3s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
	)
	b.do(b.Withdraw(b.now, m2, p2, true))
	b.expect("1m4s receive d1")
	if len(b.Hosts()) != 1 {
		t.Errorf("%+v", b.Hosts())
	}
}

// Silence is looked into, and concluded from after three questions.
func TestDeparture(t *testing.T) {
	b := attached(t, Config{Interval: time.Hour}, r1)
	b.until(1800 * time.Millisecond)
	b.lines = nil
	b.data(m1)
	b.until(22 * time.Second) // the host was there at 1.8 s, noticed at 2 s
	b.expect(
		"12s d1>m1 fe80::d1 > fe80::a1 NS fe80::a1",
		"13s d1>m1 fe80::d1 > fe80::a1 NS fe80::a1",
		"14s d1>m1 fe80::d1 > fe80::a1 NS fe80::a1", "14s d1>m1 fe80::d1 > ff02::1 query 500ms",
		"15s departed m1: unreachable",
	)
	b.receive(m1, ll1, nd.AllMLDv2Routers, &nd.ListenerReport{})
	b.expect(
		"22s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s",
		"22s attached m1 fe80::a1: multicast listener report",
	)
	b.do(b.Forget(b.now, m1))
	b.do(b.Forget(b.now, m1))
	b.do(b.Forget(b.now, m2))
	b.expect("22s departed m1: link down")
	b.until(time.Hour)
	b.quiet()
}

func TestAnswersKeepAHost(t *testing.T) {
	b := attached(t, Config{Interval: time.Hour}, r1)
	global := addr("2001:db8:1::77")
	b.receive(m1, global, nd.SolicitedNode(r1.LinkLocal), &nd.NeighborSolicitation{Target: r1.LinkLocal})
	b.until(5 * time.Second)
	b.lines = nil
	for i := range 10 {
		b.until(time.Duration(i)*11*time.Second + 11*time.Second)
		// It may answer from any address, to the second question too.
		b.receive(m1, global, r1.LinkLocal, &nd.NeighborAdvertisement{Target: ll1, Solicited: true})
	}
	for _, line := range b.lines {
		if line[len(line)-len("NS fe80::a1"):] != "NS fe80::a1" {
			t.Error(line)
		}
	}
	if h := b.Hosts(); len(h) != 1 || !h[0].Present || fmt.Sprint(h[0].Addresses) != "[2001:db8:1::77 fe80::a1]" {
		t.Errorf("%+v", h)
	}
}

// Hosts that nobody serves are forgotten.
func TestStrangersAreForgotten(t *testing.T) {
	b := newBench(t, Config{})
	b.receive(m1, ll1, nd.AllRouters, &nd.RouterSolicitation{})
	b.until(29 * time.Second)
	b.expect("0s attached m1 fe80::a1: router solicitation")
	b.until(31 * time.Second)
	b.expect("30s departed m1: unreachable")
	if len(b.Hosts()) > 0 || len(b.queue) > 0 || len(b.owners) > 0 {
		t.Errorf("%+v", b.Hosts())
	}
}

// A flood of made-up link-layer addresses is cut short, and harms neither hosts that are served nor the memory.
func TestStrangersAreLimited(t *testing.T) {
	b := attached(t, Config{MaxStrangers: 50, StrangerRate: 20, IdleTime: time.Hour}, r1)
	made := func(i int) packet.LinkAddress { return packet.LinkAddress{2, 0xff, 0, 0, byte(i >> 8), byte(i)} }
	for i := range 5000 {
		b.at(time.Duration(i) * time.Millisecond)
		b.data(made(i))
	}
	if got := len(b.lines); got < 110 || got > 130 { // 20 at once and 20 a second
		t.Errorf("%d hosts reported in 5 s", got)
	}
	if c := b.Counters(); c.Unreported < 4800 || c.Evicted < 60 || c.Refused != 0 {
		t.Errorf("%+v", c)
	}
	if len(b.hosts) != 51 {
		t.Errorf("%d hosts", len(b.hosts))
	}
	b.lines = nil
	b.receive(m1, ll1, nd.AllRouters, &nd.RouterSolicitation{})
	b.expect("4.999s d1>m1 fe80::d1 > ff02::1 RA 30m0s 2001:db8:1::/64 1h0m0s", "4.999s attached m1 fe80::a1: router solicitation")

	full := attached(t, Config{MaxHosts: 1}, r1)
	full.data(m2)
	full.quiet()
	if full.Counters().Refused != 1 {
		t.Errorf("%+v", full.Counters())
	}
}

func TestCauses(t *testing.T) {
	for c, want := range map[Cause]string{RouterSolicitation: "router solicitation", LinkDown: "link down", 0: "cause 0", 99: "cause 99"} {
		if c.String() != want {
			t.Errorf("%v, want %s", c, want)
		}
	}
}
