package mobilenode

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// network is what comes of a Binding Update sent at a time: its acknowledgement after so long; 0 if there is none.
type network func(kind PlaceKind, at time.Duration) time.Duration

const (
	ms        = time.Millisecond
	roundTrip = 20 * ms
)

func open(PlaceKind, time.Duration) time.Duration { return roundTrip }

func dead(PlaceKind, time.Duration) time.Duration { return 0 }

// filtered lets datagrams pass only.
func filtered(kind PlaceKind, _ time.Duration) time.Duration {
	if kind == OverNative {
		return 0
	}
	return roundTrip
}

// at is an event that comes so long after the beginning.
type at struct {
	after time.Duration
	event signaling.Event
}

var kindNames = map[PlaceKind]string{OverNative: "native", OverUDPv6: "UDPv6", OverUDPv4: "UDPv4"}

// play has time go by with these events, and returns what was sent and what forwarding was told, and when.
func (b *bench) play(d time.Duration, answers network, events ...at) (happened []string) {
	b.t.Helper()
	begin := b.now
	log := func(what string, kind PlaceKind) {
		happened = append(happened, fmt.Sprintf("%v %s %s", b.now.Sub(begin), what, kindNames[kind]))
	}
	kindOf := func(local netip.Addr, udp bool) PlaceKind {
		switch {
		case !udp:
			return OverNative
		case local.Is6():
			return OverUDPv6
		}
		return OverUDPv4
	}
	take := func(all effects) {
		for _, e := range all {
			switch x := e.(type) {
			case signaling.Bind:
				log("tunnel", kindOf(x.Local, x.RemotePort != 0))
			case signaling.Unbind:
				happened = append(happened, fmt.Sprintf("%v no tunnel", b.now.Sub(begin)))
			case signaling.Send:
				m, err := mh.Parse(x.Payload)
				bu, ok := m.(*mh.BindingUpdate)
				if err != nil || !ok || bu.ForceUDP != x.Outer.IsValid() {
					b.t.Fatalf("sent %+v", x)
				}
				kind := kindOf(x.OuterLocal, x.Outer.IsValid())
				log("update", kind)
				if after := answers(kind, b.now.Sub(begin)); after > 0 {
					change := nat(0)
					if kind == OverNative {
						change = func(*mh.BindingAcknowledgement) {}
					}
					events = append(events, at{b.now.Sub(begin) + after, b.answer(x, bu, change)})
				}
			}
		}
	}
	for {
		next := b.m.Next()
		slices.SortStableFunc(events, func(x, y at) int { return int(x.after - y.after) })
		due := len(events) > 0 && (next.IsZero() || !begin.Add(events[0].after).After(next))
		switch {
		case due && events[0].after <= d:
			b.now = begin.Add(events[0].after)
			e := events[0].event
			events = events[1:]
			take(b.do(e))
		case !due && !next.IsZero() && !next.After(begin.Add(d)):
			b.now = later(next, b.now)
			take(b.do(signaling.Tick{}))
		default:
			b.now = begin.Add(d)
			return happened
		}
		if len(happened) > 1000 {
			b.t.Fatalf("no end: %q", happened)
		}
	}
}

func (b *bench) plays(d time.Duration, answers network, events []at, want ...string) {
	b.t.Helper()
	if got := b.play(d, answers, events...); !slices.Equal(got, want) {
		b.t.Errorf("happened\n%q, want\n%q", got, want)
	}
}

var (
	everything = hosted(careOfA, hostA, hostIPv4A)
	hostOnly   = hosted(netip.Addr{}, hostA, hostIPv4A)
)

func TestRFC5555_4_4_1_FallsBackAfterThreeAttempts(t *testing.T) {
	b := newBench(t, over(Auto))
	b.plays(60*time.Second, dead, []at{{0, everything}},
		"0s update native", "1.5s update UDPv6", "3s update UDPv4",
		"4.5s update native", "7.5s update UDPv6", "10.5s update UDPv4",
		"13.5s update native", "19.5s update UDPv6", "25.5s update UDPv4",
		// All have failed: anew, and slower.
		"31.5s update native", "34.5s update UDPv6", "37.5s update UDPv4",
		"40.5s update native", "46.5s update UDPv6", "52.5s update UDPv4", "58.5s update native")
	// With a binding they are three in a row.
	b = newBench(t, over(Auto))
	b.play(5*time.Second, open, at{0, hosted(careOfA, netip.Addr{}, hostIPv4A)})
	b.plays(5*time.Second, filtered, []at{{0, hosted(careOfB, netip.Addr{}, hostIPv4B)}},
		"0s update native", "0s tunnel native", "100ms update native", "300ms update native", "1.001s update UDPv4", "1.001s tunnel UDPv4")
}

// What passes in datagrams does not wait for the three attempts natively, which are still made: in the order in which the
// addresses come, and after as much loss as there may be.
func TestFirstBindingWhereNativeIsFiltered(t *testing.T) {
	natively := []string{"1.52s tunnel UDPv6", "1.52s update native", "1.62s update native", "2.501s update native", "2.901s update UDPv6"}
	b := newBench(t, over(Auto))
	b.plays(100*time.Second, filtered, []at{{0, everything}}, append([]string{"0s update native", "1.5s update UDPv6"}, append(natively,
		"50.901s update UDPv6", "1m38.901s update UDPv6")...)...)

	// Datagrams over IPv6 do not pass either.
	b = newBench(t, over(Auto))
	b.plays(30*time.Second, func(kind PlaceKind, _ time.Duration) time.Duration {
		if kind != OverUDPv4 {
			return 0
		}
		return roundTrip
	}, []at{{0, everything}}, "0s update native", "1.5s update UDPv6", "3s update UDPv4", "3.02s tunnel UDPv4",
		"3.02s update native", "3.12s update native", "4.001s update native",
		"4.401s update UDPv6", "4.501s update UDPv6", "5.002s update UDPv6", "5.402s update UDPv4")

	afterwards := []string{"20ms update native", "120ms update native", "1.001s update native", "1.401s update UDPv6"}
	b = newBench(t, over(Auto))
	b.plays(30*time.Second, filtered, []at{{0, hostOnly}, {10 * ms, everything}},
		append([]string{"0s update UDPv6", "20ms tunnel UDPv6"}, afterwards...)...)

	b = newBench(t, over(Auto))
	b.plays(30*time.Second, filtered, []at{{0, hosted(careOfA, netip.Addr{}, netip.Addr{})}, {10 * ms, everything}},
		append([]string{"0s update native", "1.5s update UDPv6"}, natively...)...)
}

// Where all ways have failed, with a binding, the home agent was away; those that get another chance do not take the tunnel
// with them before they are answered.
func TestSecondChanceDoesNotTakeTheTunnel(t *testing.T) {
	b := newBench(t, over(Auto))
	b.play(5*time.Second, open, at{0, everything})
	b.plays(15*time.Second, func(kind PlaceKind, at time.Duration) time.Duration {
		if kind != OverUDPv4 || at < 4*time.Second {
			return 0
		}
		return roundTrip
	}, []at{{0, hosted(careOfB, netip.MustParseAddr("2001:db8:b::5"), hostIPv4B)}},
		"0s update native", "0s tunnel native", "100ms update native", "300ms update native",
		"1.001s update UDPv6", "1.001s tunnel UDPv6", "1.101s update UDPv6", "1.301s update UDPv6",
		"2.002s update UDPv4", "2.002s tunnel UDPv4", "2.102s update UDPv4", "2.302s update UDPv4",
		"3.003s update native", "3.003s tunnel native", "3.203s update native", "3.603s update native",
		"4.403s update UDPv6", "4.403s tunnel UDPv6", "4.603s update UDPv6", "5.003s update UDPv6",
		"5.803s update UDPv4", "5.803s tunnel UDPv4",
		"5.823s update native", "6.004s update native", "6.804s update native",
		"7.204s update UDPv6", "7.304s update UDPv6", "7.805s update UDPv6", "8.205s update UDPv4")
	b.wantState(StateRegistered)
}

// What waits for a registration does not wait for the native way either.
func TestRegisteredOverUDPWhileTheNativeWayIsTried(t *testing.T) {
	b := newBench(t, over(Auto))
	b.play(1600*ms, filtered, at{0, everything})
	if s := b.m.Status(b.now); s.State != StateRegistered || s.Transport != UDP || s.CareOf != hostA || s.Endpoint != endpoint6 ||
		s.Uplink != "eth0" || b.m.place.UDP() {
		t.Errorf("status %+v", s)
	}
	// An address that has been away may be another network's.
	b = newBench(t, over(Auto))
	v4 := hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)
	b.play(5*time.Second, open, at{0, v4})
	b.plays(50*ms, dead, []at{{0, attachment(netip.Addr{})}, {10 * ms, hosted(careOfA, netip.Addr{}, hostIPv4A)}}, "10ms update native")
	b.wantState(StateRegistering)
	// The answer comes late, but by the way that is tried.
	b = newBench(t, over(Auto))
	b.plays(4*time.Second, func(kind PlaceKind, at time.Duration) time.Duration {
		switch {
		case kind != OverNative:
			return roundTrip
		case at == 0:
			return 0
		}
		return time.Second
	}, []at{{0, everything}}, "0s update native", "1.5s update UDPv6", "1.52s tunnel UDPv6", "1.52s update native", "1.62s update native",
		"2.501s update native", "2.52s tunnel native")
	if s := b.m.Status(b.now); s.State != StateRegistered || s.Transport != Native || s.CareOf != careOfA {
		t.Errorf("status %+v", s)
	}
}

// What passes natively does not wait for datagrams.
func TestFirstBindingWhereDatagramsAreFiltered(t *testing.T) {
	for name, c := range map[string]struct {
		events []at
		answer func(at time.Duration) time.Duration
		want   []string
	}{
		"native first": {[]at{{0, everything}}, func(time.Duration) time.Duration { return roundTrip },
			[]string{"0s update native", "20ms tunnel native"}},
		"host first": {[]at{{0, hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)}, {100 * ms, hosted(careOfA, netip.Addr{}, hostIPv4A)}},
			func(time.Duration) time.Duration { return roundTrip },
			[]string{"0s update UDPv4", "1.5s update native", "1.52s tunnel native"}},
		"first update lost": {[]at{{0, hosted(careOfA, netip.Addr{}, hostIPv4A)}}, func(at time.Duration) time.Duration {
			if at == 0 {
				return 0
			}
			return roundTrip
		}, []string{"0s update native", "1.5s update UDPv4", "3s update native", "3.02s tunnel native"}},
	} {
		t.Run(name, func(t *testing.T) {
			newBench(t, over(Auto)).plays(40*time.Second, func(kind PlaceKind, at time.Duration) time.Duration {
				if kind != OverNative {
					return 0
				}
				return c.answer(at)
			}, c.events, c.want...)
		})
	}
}

// Where both pass, the binding ends natively, soon, after a few updates.
func TestFirstBindingEndsNatively(t *testing.T) {
	late := func(first, after time.Duration) network {
		return func(_ PlaceKind, at time.Duration) time.Duration {
			if at < 1500*ms {
				return first
			}
			return after
		}
	}
	v4 := hosted(careOfA, netip.Addr{}, hostIPv4A)
	for name, c := range map[string]struct {
		answers network
		events  []at
		want    []string
	}{
		"first update lost": {late(0, roundTrip), []at{{0, v4}},
			[]string{"0s update native", "1.5s update UDPv4", "1.52s tunnel UDPv4", "1.52s update native", "1.54s tunnel native"}},
		"host first": {late(roundTrip, roundTrip), []at{{0, hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)}, {10 * ms, v4}},
			[]string{"0s update UDPv4", "20ms tunnel UDPv4", "20ms update native", "40ms tunnel native"}},
		// Duplicate address detection for 1 s and 600 ms on the way: the answer takes effect, and since the home agent has
		// turned to UDP in between, an update turns it back.
		"late": {late(1600*ms, 600*ms), []at{{0, v4}},
			[]string{"0s update native", "1.5s update UDPv4", "1.6s tunnel native", "1.6s update native"}},
		"late with the host first": {late(1600*ms, 600*ms), []at{{0, hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)}, {100 * ms, v4}},
			[]string{"0s update UDPv4", "1.5s update native", "1.6s tunnel UDPv4", "1.6s update native", "2.2s tunnel native"}},
		// 2 s there and back, always.
		"always late": {late(2*time.Second, 2*time.Second), []at{{0, v4}},
			[]string{"0s update native", "1.5s update UDPv4", "2s tunnel native", "2s update native", "3s update native"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, over(Auto))
			b.plays(30*time.Second, c.answers, c.events, c.want...)
			b.wantState(StateRegistered)
		})
	}
}

// An answer over UDP that comes after its turn is as good.
func TestLateAnswerOverUDPWhereNativeIsFiltered(t *testing.T) {
	b := newBench(t, over(Auto))
	b.plays(30*time.Second, func(kind PlaceKind, at time.Duration) time.Duration {
		switch {
		case kind == OverNative:
			return 0
		case at == 1500*ms:
			return 1600 * ms
		}
		return 600 * ms
	}, []at{{0, hosted(careOfA, netip.Addr{}, hostIPv4A)}},
		"0s update native", "1.5s update UDPv4", "3s update native", "3.1s tunnel UDPv4",
		"3.1s update native", "4.1s update native", "6.1s update native", "10.1s update UDPv4")
	b.wantState(StateRegistered)
}

// The answer to a turn that is over is judged as any other, and only while there is no binding.
func TestLateAnswerThatIsNotTaken(t *testing.T) {
	for name, change := range map[string]func(*signaling.Received){
		"by another way":       func(r *signaling.Received) { r.Outer, r.RoutingHome, r.Destination = endpoint6, netip.Addr{}, home },
		"not authentic":        func(r *signaling.Received) { r.Payload[len(r.Payload)-3] ^= 1; mh.SetChecksum(r.Payload, agent, home) },
		"of another home":      func(r *signaling.Received) { r.RoutingHome = careOfB },
		"from another":         func(r *signaling.Received) { r.Source = careOfB },
		"with a false payload": func(r *signaling.Received) { r.Payload[len(r.Payload)-3] ^= 1 },
	} {
		b := newBench(t, over(Auto))
		send, bu := b.update(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
		r := b.answer(send, bu)
		change(&r)
		b.next()
		if out := b.do(r); len(out.sends()) != 0 || b.state() != StateRegistering || !b.m.place.UDP() {
			t.Errorf("%s:\n%s", name, out)
		}
	}
	b := newBench(t, over(Auto))
	first, bu := b.update(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
	old := b.answer(first, bu)
	send, bu, _ := b.next()
	b.do(b.answer(send, bu, nat(0)))
	if out := b.do(old); len(out) != 0 || b.m.counters.Unmatched != 1 {
		t.Errorf("with a binding:\n%s", out)
	}
	// Nor after the link was gone.
	b = newBench(t, over(Auto))
	first, bu = b.update(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
	old = b.answer(first, bu)
	b.next()
	b.do(attachment(netip.Addr{}))
	b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	if b.do(old); b.state() != StateRegistering {
		t.Errorf("after the link was gone: %s", b.state())
	}
}

// A refusal that comes after its turn is one, too.
func TestLateRefusal(t *testing.T) {
	b := newBench(t, over(Auto))
	send, bu := b.update(b.do(hosted(careOfA, netip.Addr{}, hostIPv4A)))
	b.next()
	b.do(b.answer(send, bu, status(mh.StatusDuplicateAddress)))
	b.wantState(StateRefused)
	// A sequence number that is not the home agent's is answered on the way that asks.
	b = newBench(t, over(Auto))
	b.do(hosted(careOfA, netip.Addr{}, hostIPv4A))
	send, bu, _ = b.next()
	b.now = b.now.Add(roundTrip)
	send, bu = b.update(b.do(b.answer(send, bu, status(mh.StatusSequenceOutOfWindow), func(ba *mh.BindingAcknowledgement) { ba.Sequence = 4711 })))
	if !send.Outer.IsValid() || bu.Sequence != 4712 {
		t.Errorf("sent %+v with %d", send, bu.Sequence)
	}
	// What has answered keeps three attempts.
	for range 2 {
		if send, _, _ = b.next(); !send.Outer.IsValid() {
			t.Errorf("sent %+v", send)
		}
	}
	if send, _, _ = b.next(); send.Outer.IsValid() {
		t.Errorf("sent %+v", send)
	}
}

func TestFilteredNetworkIsRemembered(t *testing.T) {
	b := newBench(t, over(Auto))
	b.play(30*time.Second, filtered, at{0, everything})
	elsewhere := hosted(careOfB, netip.MustParseAddr("2001:db8:b::5"), hostIPv4B)
	b.plays(30*time.Second, open, []at{{0, elsewhere}}, "0s update native", "0s tunnel native")
	// Back: it was another network, of which nothing is known; with a binding, three attempts take no time.
	b.plays(30*time.Second, filtered, []at{{0, everything}}, "0s update native", "0s tunnel native", "100ms update native",
		"300ms update native", "1.001s update UDPv6", "1.001s tunnel UDPv6")
	// The carrier goes, and nothing is tried again in the same network, even if the binding has ended.
	b.plays(90*time.Second, filtered, []at{{0, attachment(netip.Addr{})}}, "31.001s no tunnel")
	b.plays(30*time.Second, filtered, []at{{0, everything}}, "0s update UDPv6", "20ms tunnel UDPv6")
}

func TestAdoptedInFilteredNetworkKeepsItsWay(t *testing.T) {
	b := newBench(t, over(Auto))
	b.m.Adopt(b.now, Registration{CareOf: hostA, Endpoint: endpoint6, Uplink: "eth0", Keepalive: 110 * time.Second, Since: b.now, Lifetime: time.Minute}, nil)
	b.plays(40*time.Second, filtered, []at{{0, everything}}, "0s update UDPv6", "0s tunnel UDPv6")
	// So does one that was over when the program came back.
	b = newBench(t, over(Auto))
	b.m.Adopt(b.now, Registration{CareOf: hostA, Endpoint: endpoint6, Uplink: "eth0", Since: b.now.Add(-time.Hour), Lifetime: time.Minute}, nil)
	b.plays(40*time.Second, filtered, []at{{0, everything}}, "0s update UDPv6", "20ms tunnel UDPv6")
}

// The other transports, coming home, deregistering and another network know no turns.
func TestTurnsOnlyWhereThereIsAChoice(t *testing.T) {
	newBench(t, over(Native)).plays(20*time.Second, dead, []at{{0, everything}},
		"0s update native", "1.5s update native", "4.5s update native", "10.5s update native")
	newBench(t, over(UDP)).plays(20*time.Second, dead, []at{{0, everything}},
		"0s update UDPv6", "1.5s update UDPv6", "4.5s update UDPv6", "10.5s update UDPv4", "12s update UDPv4", "15s update UDPv4")
	newBench(t, over(UDP)).plays(1400*ms, dead, []at{{0, hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)}, {100 * ms, everything}},
		"0s update UDPv4", "100ms update UDPv6")
	newBench(t, over(Auto)).plays(20*time.Second, dead, []at{{0, attachment(careOfA)}},
		"0s update native", "1.5s update native", "4.5s update native", "10.5s update native")
	newBench(t, over(Auto)).plays(20*time.Second, dead, []at{{0, hostOnly}},
		"0s update UDPv6", "1.5s update UDPv6", "4.5s update UDPv6", "10.5s update UDPv4", "12s update UDPv4", "15s update UDPv4")
	home := atHome()
	home.HostIPv4 = hostIPv4A
	b := newBench(t, over(Auto))
	b.plays(5*time.Second, dead, []at{{0, home}}, "0s update native", "1.5s update native", "4.5s update native")
	b = newBench(t, over(Auto))
	b.plays(6*time.Second, dead, []at{{0, everything}, {2 * time.Second, signaling.Shutdown{}}},
		"0s update native", "1.5s update UDPv6", "2s update UDPv6", "3.5s update UDPv6")
	b = newBench(t, over(Auto))
	b.plays(3*time.Second, dead, []at{{0, everything}, {2 * time.Second, hosted(careOfB, netip.Addr{}, hostIPv4B)}},
		"0s update native", "1.5s update UDPv6", "2s update native")
}
