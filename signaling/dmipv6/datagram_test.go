package dmipv6

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mobilenode"
)

var (
	hostA      = netip.MustParseAddr("2001:db8:aa::5")
	privateA   = netip.MustParseAddr("192.168.1.5")
	privateB   = netip.MustParseAddr("10.0.0.7")
	natA       = netip.MustParseAddrPort("203.0.113.1:50001")
	natB       = netip.MustParseAddrPort("203.0.113.2:50002")
	agentIPv4  = netip.MustParseAddrPort("198.51.100.1:4191")
	kernelPort = uint16(40000)
)

// endpointOf is where the i-th DHP is reached over UDP and IPv4, endpoint6Of over IPv6.
func endpointOf(i int) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("198.51.100.%d:4191", 10+i))
}
func endpoint6Of(i int) netip.AddrPort {
	return netip.MustParseAddrPort(fmt.Sprintf("[2001:db8:d%02x::4191]:4191", i))
}

// peerAt is whose address it is.
func (w *world) peerAt(a netip.Addr) netip.Addr {
	if a == agentIPv4.Addr() {
		return agent
	}
	for i := range 8 {
		if a == endpointOf(i).Addr() || a == endpoint6Of(i).Addr() {
			return proxyAddr(i)
		}
	}
	return a
}

// outside is what datagrams of the host's address come from.
func (w *world) outside(local netip.Addr) netip.AddrPort {
	if local.Is4() && w.nat.IsValid() {
		return w.nat
	}
	return netip.AddrPortFrom(local, kernelPort)
}

func (w *world) hosts(a netip.Addr) bool { return a.IsValid() && (a == w.host || a == w.hostIPv4) }

func (w *world) sendDatagram(e signaling.Send) {
	if !w.held[e.Source] || e.HomeAddress.IsValid() || e.Tunnel.IsValid() {
		w.t.Fatalf("%v: sent %+v in a datagram", w.now, e)
	}
	if !w.hosts(e.OuterLocal) || w.peerAt(e.Outer.Addr()) != e.Destination || w.lost(e.OuterLocal, e.Destination, e.Payload) {
		return
	}
	r := signaling.Received{Source: e.Source, Destination: e.Destination, Outer: w.outside(e.OuterLocal), OuterLocal: e.Outer.Addr(), Payload: e.Payload}
	w.after(w.oneWay(e.OuterLocal, e.Destination), func() {
		if e.Destination == agent {
			w.fromAgent(w.ha.Handle(w.time(), r))
		} else if w.proxies[e.Destination] != nil {
			w.toProxy(e.Destination, r)
		}
	})
}

// datagramToMobile carries a message to the mobile node, if the address and port that it is for still are its own.
func (w *world) datagramToMobile(s signaling.Send) {
	if w.lost(s.Source, s.Outer.Addr(), s.Payload) {
		return
	}
	local := w.hostIPv4
	if s.Outer.Addr().Is6() {
		local = w.host
	}
	r := signaling.Received{Source: s.Source, Destination: s.Destination, RoutingHome: s.RoutingHome, OuterLocal: local,
		Outer: netip.AddrPortFrom(s.OuterLocal, 4191), Payload: s.Payload}
	w.after(w.oneWay(local, s.Source), func() {
		if w.hosts(local) && w.outside(local) == s.Outer {
			w.handle(r)
		}
	})
}

func (w *world) echoInTunnel(e signaling.SendEcho) {
	b := w.bound[netip.PrefixFrom(e.Tunnel, 128)]
	if e.Tunnel == home {
		b = signaling.Bind{Local: w.hostIPv4, Remote: agentIPv4.Addr(), RemotePort: 4191}
	}
	if e.Source != e.Tunnel || !w.held[e.Source] || b.RemotePort == 0 || w.peerAt(b.Remote) != e.Destination {
		w.t.Fatalf("%v: %+v through the tunnel %+v", w.now, e, b)
	}
	if !w.hosts(b.Local) || w.lost(b.Local, e.Destination, nil) {
		return
	}
	w.after(2*w.oneWay(b.Local, e.Destination), func() {
		if w.hosts(b.Local) {
			w.handle(signaling.EchoReply{Source: e.Destination, Destination: e.Source, Identifier: e.Identifier, Sequence: e.Sequence})
		}
	})
}

// behind takes the mobile node to a network without IPv6, behind a NAT.
func (w *world) behind(private netip.Addr, nat netip.AddrPort) []signaling.Effect {
	w.careOf, w.host, w.hostIPv4, w.nat = netip.Addr{}, netip.Addr{}, private, nat
	out := w.handle(signaling.Attachment{Uplink: "eth0", HostIPv4: private, MTU: 1500})
	w.after(2*w.oneWay(private, agent), func() {
		if w.hostIPv4 == private {
			r := registration(private)
			r.Endpoint = agentIPv4
			w.handle(r)
		}
	})
	return out
}

// dual takes it to a network with IPv6 too; if blocked, native packets do not get far there, nor is it registered so.
func (w *world) dual(careOf, host, private netip.Addr, blocked bool) {
	w.careOf, w.host, w.hostIPv4, w.nat = careOf, host, private, natA
	w.drop = func(from, to netip.Addr, _ []byte) bool { return blocked && (from == careOf || to == careOf) }
	w.handle(signaling.Attachment{Uplink: "eth0", CareOf: careOf, Router: router, Host: host, HostIPv4: private, MTU: 1500})
	if !blocked {
		w.after(2*w.oneWay(careOf, agent), func() { w.handle(registration(careOf)) })
	}
}

// overUDP has DHPs advertise endpoints, and be reached as transport says.
func overUDP(t testing.TB, n int, transport mobilenode.Transport, change ...func(*Config)) *world {
	w := newWorld(t, n, append([]func(*Config){func(c *Config) { c.Transport = transport }}, change...)...)
	for i := range n {
		w.addProxy(i, func(c *homeproxy.Config) { c.Endpoints = []netip.AddrPort{endpointOf(i), endpoint6Of(i)} })
	}
	w.run(time.Second)
	return w
}

func (w *world) bindOf(a netip.Addr) signaling.Bind { return w.bound[netip.PrefixFrom(a, 128)] }

func (w *world) wantTunnel(a, local netip.Addr, remote netip.AddrPort) {
	w.t.Helper()
	if b := w.bindOf(a); b.Local != local || b.Remote != remote.Addr() || b.RemotePort != remote.Port() {
		w.t.Errorf("%v: %s is bound %+v, want from %s to %s", w.now, a, b, local, remote)
	}
}

func TestRFC5555_4_2_DHPWithIPv4Only(t *testing.T) {
	for _, transport := range []mobilenode.Transport{mobilenode.UDP, mobilenode.Auto} {
		w := overUDP(t, 1, transport)
		w.behind(privateA, natA)
		w.run(time.Second)
		from := w.now
		address, took := w.settle(1, 0, cnOf(0, 1))
		// A Query to the home agent 40 ms away, and a Request to the DHP 5 ms away.
		if !poolOf(0).Contains(address) || took != 90*time.Millisecond {
			t.Fatalf("%s: decided %s after %v", transport, address, took)
		}
		w.wantTunnel(address, privateA, endpointOf(0))
		var sent []signaling.Send
		for _, s := range since[signaling.Send](w, from) {
			if sent = append(sent, s); s.Source != home || s.OuterLocal != privateA || s.Link != "eth0" {
				t.Errorf("%s: sent %+v", transport, s)
			}
		}
		if len(sent) != 2 || sent[0].Outer != agentIPv4 || sent[1].Outer != endpointOf(0) {
			t.Errorf("%s: sent %+v", transport, sent)
		}
		w.use(address, 1)
		// The DHP saw a NAT: the mapping is kept alive by the address's Binding Updates.
		from = w.now
		w.run(115 * time.Second)
		var at []time.Duration
		for _, e := range w.trace {
			if s, ok := e.effect.(signaling.Send); ok && e.at > from && s.Source == address {
				at = append(at, e.at)
			}
		}
		if len(at) != 1 || at[0]-from < 109*time.Second || at[0]-from > 110*time.Second {
			t.Errorf("%s: kept alive at %v", transport, at)
		}
		if a := w.m.Anchors(w.time())[0]; a.RoundTrip != 10*time.Millisecond || a.Registration.Transport != mobilenode.UDP ||
			!a.Registration.NATDetected || a.Registration.Keepalive != 110*time.Second {
			t.Errorf("%s: anchor %+v", transport, a)
		}
	}
}

func TestNativeDHPIsOutOfReachWithIPv4Only(t *testing.T) {
	w := overUDP(t, 1, mobilenode.Native)
	w.behind(privateA, natA)
	w.run(time.Second)
	if address, _ := w.settle(1, 0, cnOf(0, 1)); address != home {
		t.Errorf("decided %s", address)
	}
	if d, _ := w.m.Decision(w.decided[1].Decision); len(d.Candidates) == 0 || d.Candidates[0].Accepted {
		t.Errorf("decision %+v", d)
	}
}

func TestConfiguredDHPOverUDP(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) {
		c.Proxies = []Proxy{{Address: proxyAddr(0), Coverage: []netip.Prefix{coverageOf(0)}, Transport: mobilenode.UDP, Endpoints: []netip.AddrPort{endpointOf(0)}}}
	})
	// The home agent is reached natively, the DHP is not.
	w.dual(careOfA, netip.Addr{}, privateA, false)
	w.run(time.Second)
	address, _ := w.settle(1, 0, cnOf(0, 1))
	w.wantTunnel(address, privateA, endpointOf(0))
	if sent := since[signaling.Send](w, 0); sent[0].Source != careOfA || sent[0].Outer.IsValid() {
		t.Errorf("sent %+v", sent[0])
	}
}

func TestRFC5555_4_4_1_DHPFallsBackAfterThreeAttempts(t *testing.T) {
	w := overUDP(t, 1, mobilenode.Auto)
	w.dual(careOfA, hostA, privateA, false)
	w.run(time.Second)
	// Native packets to the DHP are lost, those to the home agent are not.
	w.drop = func(from, to netip.Addr, _ []byte) bool { return from == careOfA && to == proxyAddr(0) }
	from := w.now
	if address, took := w.settle(1, 0, cnOf(0, 1)); address != home || took != defaultHoldTime {
		t.Errorf("decided %s after %v", address, took)
	}
	w.run(5 * time.Second)
	var native, datagrams []time.Duration
	for _, e := range w.trace {
		switch s, ok := e.effect.(signaling.Send); {
		case !ok || e.at < from || s.Destination != proxyAddr(0):
		case s.Outer == endpoint6Of(0):
			datagrams = append(datagrams, e.at-from)
		default:
			native = append(native, e.at-from)
		}
	}
	ms := time.Millisecond
	// The DHP's round trip is not known: the home agent's counts, 80 ms.
	if want := []time.Duration{80 * ms, 240 * ms, 560 * ms}; !slices.Equal(native, want) || len(datagrams) == 0 || datagrams[0] != 1200*ms {
		t.Errorf("sent natively at %v and over UDP at %v", native, datagrams)
	}
	// Later flows go by it, and nothing is tried again in this network.
	from = w.now
	address, took := w.settle(2, 0, cnOf(0, 1))
	if !poolOf(0).Contains(address) || took != 0 || w.count(DHPSkipped, 0) != 0 {
		t.Errorf("decided %s after %v", address, took)
	}
	w.wantTunnel(address, hostA, endpoint6Of(0))
	w.use(address, 1)
	w.run(5 * time.Minute)
	for _, s := range since[signaling.Send](w, from) {
		if s.Destination == proxyAddr(0) && !s.Outer.IsValid() {
			t.Errorf("sent %+v", s)
		}
	}
}

func TestDHPFollowsTheHomeAgentsTransport(t *testing.T) {
	w := overUDP(t, 1, mobilenode.Auto)
	w.dual(careOfA, netip.Addr{}, privateA, true)
	r := registration(privateA)
	r.Endpoint = agentIPv4
	w.handle(r)
	w.run(10 * time.Millisecond)
	address, took := w.settle(1, 0, cnOf(0, 1))
	if !poolOf(0).Contains(address) || took != 90*time.Millisecond {
		t.Errorf("decided %s after %v", address, took)
	}
	w.wantTunnel(address, privateA, endpointOf(0))
}

func TestAnchorsMoveBetweenIPv6AndIPv4Only(t *testing.T) {
	w := overUDP(t, 2, mobilenode.Auto).online()
	var list []netip.Addr
	for i := range 2 {
		address, _ := w.settle(uint64(i), 0, cnOf(i, 1))
		w.use(address, 1)
		list = append(list, address)
	}
	w.run(3 * time.Second)
	for range 2 {
		w.behind(privateA, natA)
		for i, a := range list {
			w.wantTunnel(a, privateA, endpointOf(i)) // in the same instant
		}
		w.run(3 * time.Second)
		w.careOf, w.hostIPv4 = careOfB, netip.Addr{}
		w.attach(careOfB)
		for i, a := range list {
			w.wantTunnel(a, careOfB, netip.AddrPortFrom(proxyAddr(i), 0))
		}
		w.run(3 * time.Second)
		w.behind(privateB, natB)
		w.run(3 * time.Second)
		for _, a := range w.m.Anchors(w.time()) {
			if a.Registration.State != mobilenode.StateRegistered || a.Registration.CareOf != privateB || a.RoundTrip != 10*time.Millisecond {
				t.Errorf("anchor %+v", a)
			}
		}
		for i, p := range []int{0, 1} {
			if b := w.proxies[proxyAddr(p)].Bindings(w.time()); len(b) != 1 || b[0].CareOf != natB.Addr() {
				t.Errorf("DHP %d has %+v", i, b)
			}
		}
	}
	if w.count(FlowsTerminated, 0) != 0 || w.count(DHoALost, 0) != 0 {
		t.Errorf("reports %v", w.kinds(0))
	}
}

// A NAT that forgets, and gives another port: the anchor refuses what comes from there, which has it told.
func TestNATThatForgets(t *testing.T) {
	w := overUDP(t, 1, mobilenode.UDP)
	w.behind(privateA, natA)
	w.run(time.Second)
	address, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(address, 1)
	w.run(5 * time.Second)
	w.nat = netip.AddrPortFrom(natA.Addr(), 50099)
	header := func(source, destination netip.Addr) []byte {
		s, d := source.As16(), destination.As16()
		return append(append([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, s[:]...), d[:]...)
	}
	w.handle(signaling.ReceivedICMP{Source: proxyAddr(0), Destination: address, Link: "eth0",
		Payload: append([]byte{1, 5, 0, 0, 0, 0, 0, 0}, header(address, cnOf(0, 1))...)})
	w.run(50 * time.Millisecond)
	if b := w.proxies[proxyAddr(0)].Bindings(w.time()); len(b) != 1 || b[0].Port != 50099 {
		t.Errorf("the DHP has %+v", b)
	}
}

func TestSwitchToAnUplinkWithUDPOnly(t *testing.T) {
	w := overUDP(t, 1, mobilenode.Auto).online()
	address, _ := w.settle(1, 0, cnOf(0, 1))
	w.hostIPv4, w.nat = privateA, natA
	w.handle(signaling.Attachment{Uplink: "wlan0", HostIPv4: privateA, Preference: -1, MTU: 1500})
	out, err := w.m.Switch(w.time(), address, "wlan0")
	if err != nil {
		t.Fatal(err)
	}
	w.carryOut(out)
	w.wantTunnel(address, privateA, endpointOf(0))
	w.run(time.Second)
	if a := w.m.Anchors(w.time())[0]; a.Registration.State != mobilenode.StateRegistered || a.Registration.Uplink != "wlan0" {
		t.Errorf("anchor %+v", a)
	}
	if _, err := w.m.Switch(w.time(), address, "wwan0"); err == nil {
		t.Error("switched to an uplink that there is none of")
	}
}
