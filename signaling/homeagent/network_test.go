package homeagent

import (
	"net/netip"
	"slices"
	"testing"

	"kedge/signaling"
	"kedge/signaling/mh"
)

func TestRFC3963_6_2_MobileNetworks(t *testing.T) {
	option := func(p netip.Prefix) mh.Option { return &mh.MobileNetworkPrefix{Prefix: p} }
	bind := func(p netip.Prefix, careOf netip.Addr) signaling.Bind {
		return signaling.Bind{Home: p, Local: agent, Remote: careOf}
	}
	w := start(t)
	e := w.accept(bu(router, 1, asRouter, options(option(network1))))
	if a, _ := e.ack(t); !a.MobileRouter {
		t.Error("flag R is not set in the acknowledgement")
	}
	if got, want := of[signaling.Bind](e), []signaling.Bind{bind(host(router), careOf1), bind(network1, careOf1)}; !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	// "If the binding cache entry contains prefixes that do not appear in the Binding Update, the Home Agent MUST disable
	// forwarding for these Mobile Network Prefixes."
	e = w.accept(bu(router, 2, asRouter, options(option(network2))))
	if got, want := of[signaling.Bind](e), []signaling.Bind{bind(network2, careOf1)}; !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: network1}}) {
		t.Errorf("unbound %v", got)
	}
	// Implicit mode: all that is configured.
	e = w.accept(bu(router, 3, asRouter, from(careOf2)))
	if got, want := of[signaling.Bind](e), []signaling.Bind{bind(host(router), careOf2), bind(network1, careOf2), bind(network2, careOf2)}; !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	// RFC 3963 section 6.7: options in a deregistration are ignored.
	e = w.accept(bu(router, 4, asRouter, lifetime(0), options(option(netip.MustParsePrefix("2001:db8:66::/48")))))
	if got, want := of[signaling.Unbind](e), []signaling.Unbind{{Home: host(router)}, {Home: network1}, {Home: network2}}; !slices.Equal(got, want) {
		t.Errorf("unbound %v, want %v", got, want)
	}
	// Section 4.1: without the flag nothing is forwarded to the mobile network.
	e = w.accept(bu(router, 5, options(option(network1))))
	if got, want := of[signaling.Bind](e), []signaling.Bind{bind(host(router), careOf1)}; !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
}

// "If the Binding Update contains more than one option, the Home Agent MUST set up forwarding for all the Mobile Network
// Prefixes."
func TestRFC3963_6_2_AllPrefixesOfABindingUpdate(t *testing.T) {
	w := start(t)
	e := w.accept(bu(router, 1, asRouter, options(&mh.MobileNetworkPrefix{Prefix: network1}, &mh.MobileNetworkPrefix{Prefix: network2})))
	var got []netip.Prefix
	for _, b := range of[signaling.Bind](e) {
		got = append(got, b.Home)
	}
	if want := []netip.Prefix{host(router), network1, network2}; !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
}

func TestRFC3963_6_6_StatusCodes(t *testing.T) {
	option := func(p string) func(*message) {
		return options(&mh.MobileNetworkPrefix{Prefix: netip.MustParsePrefix(p)})
	}
	noH := flags(func(u *mh.BindingUpdate) { u.HomeRegistration = false })
	w := start(t)
	w.send(bu(router, 1, asRouter, noH)).status(t, 140)
	w.send(bu(router, 1, asRouter, option("ff00::/8"))).status(t, 141)
	w.send(bu(router, 1, asRouter, option("::/0"))).status(t, 141)
	w.send(bu(router, 1, asRouter, option("fe80::/64"))).status(t, 141)
	w.send(bu(router, 1, asRouter, option("2001:db8:40::/48"), option("2001:db8:66::/48"))).status(t, 142)
	w.send(bu(router, 1, asRouter, option("2001:db8:40::/40"))).status(t, 142)
	w.send(bu(plain, 1, asRouter, option("2001:db8:40::/48"))).status(t, 142)
	w.send(bu(plain, 1, asRouter)).status(t, 143)
	w.bound(router, nowhere, 0)
	w.bound(plain, nowhere, 0)
	none := start(t, func(c *Config) { c.MobileNodes[2].MobileNetworks = nil })
	none.send(bu(router, 1, asRouter, option("2001:db8:40::/48"))).status(t, 140)
	// A prefix length of more than 128 can only be written by hand.
	r := bu(router, 1, asRouter, option("2001:db8:40::/48")).received(t)
	r.Payload[slices.Index(r.Payload, 48)] = 129
	mh.SetChecksum(r.Payload, router, agent)
	effects(w.handle(r)).status(t, 141)
}
