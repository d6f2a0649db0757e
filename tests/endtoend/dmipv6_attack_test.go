package endtoend

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/forwarding/ip6"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

// flowAttack is a mobile node with a translated connection, and an attacker on its link who hears all.
type flowAttack struct {
	*flowWorld
	stream *stream
	// x is the attacker's link; asked has what the mobile node sends, and told what is sent to its link.
	x, asked, told *wiretap
	// router and victim are link-layer addresses.
	router, victim [6]byte
	careOf, lent   netip.Addr
	resident       map[*kedge]int
}

func newFlowAttack(t *testing.T) *flowAttack {
	t.Helper()
	n := newNetwork(t)
	newFlowNetwork(n)
	n.host("x", "access1", attackerAddress.String()+"/64", "2001:db8:1::ff")
	a := &flowAttack{flowWorld: &flowWorld{network: n}, resident: map[*kedge]int{}}
	a.x = tap(t, n.nodes["x"], "eth0")
	a.asked, a.told = tap(t, n.root, n.nodes["mn"].Name+".eth0"), tap(t, n.root, n.nodes["ar"].Name+".access1")
	a.router, a.victim = n.hardwareAddress("ar", "access1"), n.hardwareAddress("mn", "eth0")
	a.ha = n.directoryAgent(directoryAgent{})
	a.dhp1, a.dhp2 = n.homeProxy(1, homeProxy{}), n.homeProxy(2, homeProxy{})
	a.ha.listed(2)
	a.mn = n.flowNode("mn", flowNode{})
	a.careOf = a.mn.state("registered", access1Prefix).MobileNode.CareOf
	a.stream = connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	a.stream.seenAs(pool1, home)
	a.lent = a.stream.ends[1].remote().Addr()
	for _, k := range []*kedge{a.ha, a.dhp1, a.mn} {
		a.resident[k] = k.resident()
	}
	return a
}

// survived fails the test unless the lease is as it was, and the connection goes on with it.
func (a *flowAttack) survived() {
	a.t.Helper()
	if b, ok := a.dhp1.binding(a.lent); !ok || b.CareOf != a.careOf {
		a.t.Errorf("the lease is now %+v, was for %v", b, a.careOf)
	}
	if n := a.dhp1.status().HomeProxy.Leases; n != 1 {
		a.t.Errorf("the proxy lends %d addresses", n)
	}
	if b, ok := a.ha.binding(home); !ok || b.CareOf != a.careOf {
		a.t.Errorf("the binding of the home address is now %+v, was for %v", b, a.careOf)
	}
	if f := a.mn.flowOf(a.stream); f.Address != a.lent || f.Anchor != homeProxy1 || !f.Translated {
		a.t.Errorf("the flow is now %+v", f)
	}
	a.stream.progress("after the attack")
	connect(a.t, a.nodes["mn"], anyAddress, a.nodes["cn"], correspondent).seenAs(single(a.lent), home)
	for k, was := range a.resident {
		k.alive()
		if is := k.resident(); is > was+maxGrowth {
			a.t.Errorf("%s grew from %d to %d KiB", k.name, was>>10, is>>10)
		}
	}
	a.stream.finish()
}

// message is the last DMIPv6 message of a subtype that a tap has seen.
func (a *flowAttack) message(w *wiretap, s mh.Subtype) []byte {
	a.t.Helper()
	list := w.packets(func(p []byte) bool {
		return p[6] == mh.Protocol && p[42] == byte(mh.TypeExperimental) && p[46] == byte(s)
	})
	if len(list) == 0 {
		a.t.Fatalf("no %v was captured", s)
	}
	return slices.Clone(list[len(list)-1])
}

// direct is a packet with a Mobility Header and no home address.
func direct(source, destination netip.Addr, header []byte) []byte {
	header = slices.Clone(header)
	mh.SetChecksum(header, source, destination)
	return ipv6(mh.Protocol, source, destination, header)
}

// signedDirect is a DMIPv6 message signed as one without a home address is.
func signedDirect(t *testing.T, m *mh.DMIPv6, s auth.Association, source, destination, careOf netip.Addr, at time.Time) []byte {
	t.Helper()
	b, err := auth.Sign(m, s, careOf, netip.IPv6Unspecified(), mh.NTPTimeOf(at))
	if err != nil {
		t.Fatal(err)
	}
	return direct(source, destination, b)
}

// Requests for addresses, and for giving the victim's back, by somebody without a ticket.
func TestForgedRequests(t *testing.T) {
	t.Parallel()
	a := newFlowAttack(t)
	heard := a.message(a.asked, mh.DHoARequest)
	id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identifier(home)}
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	request := func(lifetime time.Duration, spi uint32, expiry time.Time) *mh.DMIPv6 {
		return &mh.DMIPv6{Subtype: mh.DHoARequest, Sequence: 4711, Lifetime: lifetime, Options: mh.Options{
			id, &mh.DHoA{Prefix: single(a.lent)}, ticket.Short(ticket.Ticket{SPI: spi, Expiry: expiry}),
		}}
	}
	key := func(expiry time.Time) auth.Association {
		kd := association(t, proxyKey1, 301).Key
		return auth.Association{SPI: 301, Algorithm: auth.HMACSHA256, Key: ticket.SessionKey(kd, homeProxy1, expiry, id)}
	}
	wrong, unknown := association(t, wrongKey, 301), association(t, wrongKey, 999)
	unsigned, err := mh.Append(nil, request(0, 301, at))
	a.must(err)
	old := time.Now().Add(-time.Minute).Truncate(time.Second)
	for _, f := range []struct {
		counter string
		packet  []byte
	}{
		{"discarded-unauthenticated", direct(attackerAddress, homeProxy1, unsigned)},
		{"discarded-unknown-association", signedDirect(t, request(0, 999, at), unknown, attackerAddress, homeProxy1, attackerAddress, time.Now())},
		{"refused-mipv6-auth-fail", signedDirect(t, request(0, 301, at), wrong, attackerAddress, homeProxy1, attackerAddress, time.Now())},
		{"refused-mipv6-auth-fail", signedDirect(t, request(time.Minute, 301, at), wrong, attackerAddress, homeProxy1, attackerAddress, time.Now())},
		// The victim's, for elsewhere.
		{"refused-mipv6-auth-fail", direct(attackerAddress, homeProxy1, heard[40:])},
		// Even with the right key, an expired ticket and an old time are none.
		{"refused-ticket-refused", signedDirect(t, request(0, 301, old), key(old), attackerAddress, homeProxy1, attackerAddress, time.Now())},
		{"refused-mipv6-id-mismatch", signedDirect(t, request(0, 301, at), key(at), attackerAddress, homeProxy1, attackerAddress, time.Now().Add(-time.Minute))},
	} {
		before := a.dhp1.status().Counters["home-proxy-"+f.counter]
		a.x.send(a.router, f.packet)
		a.dhp1.counted("home-proxy-"+f.counter, before, 1)
	}
	// The victim's request again: it is answered again, or refused, and changes nothing.
	requests := a.dhp1.counter("home-proxy-requests")
	for range 10 {
		a.x.send(a.router, heard)
	}
	a.dhp1.counted("home-proxy-requests", requests, 10)
	if lent := a.dhp1.counter("home-proxy-lent"); lent != 1 {
		t.Errorf("%d addresses were lent", lent)
	}
	if returned := a.dhp1.counter("home-proxy-returned"); returned != 0 {
		t.Errorf("%d addresses were given back", returned)
	}
	a.survived()
}

// Binding Updates for the address lent, by somebody without the ticket, and a request heard before the victim moved.
func TestForgedProxyBindingUpdates(t *testing.T) {
	t.Parallel()
	a := newFlowAttack(t)
	heard := a.message(a.asked, mh.DHoARequest)
	update := func(header []byte) []byte {
		header = slices.Clone(header)
		mh.SetChecksum(header, a.lent, homeProxy1)
		return ipv6(mh.ProtocolDestinationOptions, attackerAddress, homeProxy1, mh.AppendHomeAddressOption(nil, mh.Protocol, a.lent), header)
	}
	for _, lifetime := range []time.Duration{0, time.Minute} {
		plain, err := mh.Append(nil, bindingUpdate(attackerAddress, lifetime))
		a.must(err)
		forged := bindingUpdate(attackerAddress, lifetime)
		id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identifier(home)}
		forged.Options = append(forged.Options, id, ticket.Short(ticket.Ticket{SPI: 301, Expiry: time.Now().Add(time.Hour)}))
		signed, err := auth.Sign(forged, association(t, wrongKey, 301), attackerAddress, a.lent, mh.NTPTimeOf(time.Now()))
		a.must(err)
		for name, b := range map[string][]byte{"discarded-unauthenticated": plain, "refused-mipv6-auth-fail": signed} {
			name = "home-proxy-home-agent-" + name
			before := a.dhp1.status().Counters[name]
			a.x.send(a.router, update(b))
			a.dhp1.counted(name, before, 1)
		}
	}
	a.move("mn", "access2")
	a.careOf = a.mn.state("registered", access2Prefix).MobileNode.CareOf
	await(t, "the lease has moved", func() bool {
		b, ok := a.dhp1.binding(a.lent)
		return ok && b.CareOf == a.careOf
	})
	before := a.dhp1.counter("home-proxy-requests")
	for range 10 {
		a.x.send(a.router, heard)
	}
	a.dhp1.counted("home-proxy-requests", before, 10)
	a.survived()
}

// Packets for, and with, an address that is lent, from where they may not come.
func TestForgedPacketsOfLentAddress(t *testing.T) {
	t.Parallel()
	a := newFlowAttack(t)
	c := udpSocket(t, a.nodes["cn"], correspondent)
	port := c.address().Port()
	from := func(source netip.Addr) []byte {
		return ipv6(unix.IPPROTO_UDP, source, correspondent, udp(source, correspondent, 4000, port, []byte("forged")))
	}
	stranger := pool1.Addr().Next()
	for _, f := range []struct {
		counter string
		packet  []byte
	}{
		{"outer-source", ipv6(ip6.IPv6, attackerAddress, homeProxy1, from(a.lent))},
		{"no-binding", ipv6(ip6.IPv6, a.careOf, homeProxy1, from(stranger))},
		{"no-binding", ipv6(ip6.IPv6, a.careOf, homeProxy1, from(home))},
	} {
		name := "forwarding-drop-" + f.counter
		before := a.dhp1.counter(name)
		a.x.send(a.router, f.packet)
		a.dhp1.counted(name, before, 1)
	}
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, from, err := c.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("%d octets came through from %v", n, from)
	}

	// What comes in for the address and is of no flow reaches no program; its sender is told (ICMPv6 type 1, code 3).
	victim := udpSocket(t, a.nodes["mn"], anyAddress)
	c.complaints()
	before := a.mn.counter("forwarding-drop-flow-unknown")
	await(t, "the stranger is told", func() bool {
		_, _ = c.WriteToUDPAddrPort([]byte("hello"), netip.AddrPortFrom(a.lent, victim.address().Port()))
		e, ok := c.complaint()
		return ok && e.kind == 1 && e.code == 3
	})
	a.mn.counted("forwarding-drop-flow-unknown", before, 1)
	_ = victim.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if _, from, err := victim.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("a program heard of %v", from)
	}
	a.survived()
}

// A proxy says that it is near to what the home agent does not allow it. It is believed in nothing.
func TestProxyLiesAboutCoverage(t *testing.T) {
	t.Parallel()
	n := newFlowNetwork(newNetwork(t))
	ha := n.directoryAgent(directoryAgent{coverage: []netip.Prefix{region1}})
	n.homeProxy(1, homeProxy{})
	liar := n.homeProxy(2, homeProxy{coverage: []netip.Prefix{region1, region2}})
	liar.event("dhp-advertisement-answered", 0)
	await(t, "the proxy is refused", func() bool {
		for name, value := range ha.status().Counters {
			if strings.HasPrefix(name, "directory-refused-") && value > 0 {
				return true
			}
		}
		return false
	})
	ha.listed(1)
	if s := liar.status(); s.Healthy || !strings.Contains(s.Reason, "refused") {
		t.Errorf("the proxy says healthy %v, %q", s.Healthy, s.Reason)
	}
	mn := n.flowNode("mn", flowNode{})
	mn.state("registered", access1Prefix)
	a := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn"], correspondent)
	a.seenAs(pool1, home)
	b := connect(t, n.nodes["mn"], anyAddress, n.nodes["cn2"], correspondent2)
	b.seenAs(single(home), home)
	a.finish()
	b.finish()
}
