package kernel

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestRulesOfSteering(t *testing.T) {
	onLink := Rule{Priority: 118, Table: 254, SuppressDefault: true}
	to := func(texts ...string) []Rule {
		rules := []Rule{
			{Priority: 119, Interface: "lo", From: netip.MustParsePrefix("2000::/3"), Table: 254},
			{Priority: 119, Interface: "lo", From: netip.MustParsePrefix("fc00::/7"), Table: 254},
		}
		for _, p := range prefixes(texts...) {
			rules = append(rules, Rule{Priority: 120, To: p, Table: 107})
		}
		return rules
	}
	for name, test := range map[string]struct {
		destinations []netip.Prefix
		want         []Rule
	}{
		"none":                   {nil, nil},
		"some":                   {prefixes("2001:db8:5::/48", "2001:db8:4::9/48", "2001:db8:5::/48"), to("2001:db8:4::/48", "2001:db8:5::/48")},
		"all global":             {prefixes("2000::/3"), append([]Rule{onLink}, to("2000::/3")...)},
		"everything":             {prefixes("::/0"), append([]Rule{onLink}, to("::/1", "8000::/2", "c000::/3", "e000::/4", "f000::/5", "f800::/6", "fc00::/7", "fe00::/9", "fec0::/10")...)},
		"only what never leaves": {prefixes("fe80::/64", "ff02::/16"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Steering{Home: home, Destinations: test.destinations}.rules(107)
			if diff := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// routeTo asks the kernel which interface and source a packet would take.
func routeTo(t *testing.T, destination string) (dev int, source netip.Addr) {
	t.Helper()
	routes, err := netlink.RouteGet(net.ParseIP(destination))
	if err != nil || len(routes) != 1 {
		t.Fatalf("route to %s: %v, %v", destination, routes, err)
	}
	source, _ = netip.AddrFromSlice(routes[0].Src)
	return routes[0].LinkIndex, source
}

func TestSteering(t *testing.T) {
	inNamespace(t)
	tun, uplink := device(t, "kt7-tun"), device(t, "kt7-up")
	up(t, tun)
	up(t, uplink)
	own := netip.MustParsePrefix("2001:db8:1::5/64")
	if err := netlink.AddrAdd(uplink, &netlink.Addr{IPNet: ipNet(own), Flags: 2 /* nodad */}); err != nil {
		t.Fatal(err)
	}
	everything := &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: everything, Gw: net.ParseIP("2001:db8:1::1")}); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	j := openJournal(t)

	someDestinations := Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("2001:db8:5::/48"), MTU: 1400}
	changes, err := someDestinations.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	tunIndex, upIndex := tun.Attrs().Index, uplink.Attrs().Index
	check := func(destination string, wantDev int, wantSource netip.Addr) {
		t.Helper()
		if dev, source := routeTo(t, destination); dev != wantDev || source != wantSource {
			t.Errorf("to %s: interface %d source %s, want %d and %s", destination, dev, source, wantDev, wantSource)
		}
	}
	check("2001:db8:5::1", tunIndex, home)
	check("2001:db8:6::1", upIndex, own.Addr())
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: DefaultTable}, netlink.RT_FILTER_TABLE)
	if err != nil || len(routes) != 1 || routes[0].MTU != 1400 || routes[0].Protocol != Protocol {
		t.Errorf("routes of the table: %v, %v", routes, err)
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	ours := slices.DeleteFunc(rules, func(r netlink.Rule) bool { return r.Protocol != Protocol })
	if len(ours) != 4 {
		t.Errorf("%d rules with kedge's number, want 4", len(ours))
	}
	for source, want := range map[netip.Addr]int{own.Addr(): upIndex, home: tunIndex} {
		bound, err := netlink.RouteGetWithOptions(net.ParseIP("2001:db8:5::1"), &netlink.RouteGetOptions{SrcAddr: source.AsSlice()})
		if err != nil || bound[0].LinkIndex != want {
			t.Errorf("bound to %v: %v, %v; want interface %d", source, bound, err, want)
		}
	}
	if _, err := someDestinations.Apply(j); !errors.Is(err, ErrExists) {
		t.Errorf("applying it twice: %v, want ErrExists", err)
	}
	check("2001:db8:5::1", tunIndex, home) // the failure took nothing away
	if err := changes.Undo(); err != nil {
		t.Fatal(err)
	}
	if after := state(t); after != before {
		t.Errorf("after Undo:\n%s\nbefore:\n%s", after, before)
	}

	if _, err := (Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("::/0")}).Apply(j); err != nil {
		t.Fatal(err)
	}
	check("2001:db8:6::1", tunIndex, home)
	check("fd00::1", tunIndex, home)
	check("2001:db8:1::77", upIndex, own.Addr()) // on-link
	if routes, err := netlink.RouteGetWithOptions(net.ParseIP("fe80::1"), &netlink.RouteGetOptions{Oif: "kt7-up"}); err != nil || routes[0].LinkIndex != upIndex {
		t.Errorf("link-local: %v, %v", routes, err)
	}
	if err := j.Restore(); err != nil {
		t.Fatal(err)
	}
	if after := state(t); after != before {
		t.Errorf("after Restore:\n%s\nbefore:\n%s", after, before)
	}
}

func TestIPv6Disabled(t *testing.T) {
	inNamespace(t)
	device(t, "kt7-tun")
	const path = "net/ipv6/conf/kt7-tun/disable_ipv6"
	if err := writeSysctl(path, "1"); err != nil {
		t.Fatal(err)
	}
	j := openJournal(t)
	_, err := Steering{TUN: "kt7-tun", Home: home}.Apply(j)
	var disabled *IPv6DisabledError
	if !errors.As(err, &disabled) || disabled.Path != path || disabled.Interface != "kt7-tun" {
		t.Fatalf("%v, want IPv6DisabledError of %s", err, path)
	}
	if want := "run as root: sysctl -w net.ipv6.conf.kt7-tun.disable_ipv6=0 (in a container: start it with --sysctl net.ipv6.conf.kt7-tun.disable_ipv6=0)"; disabled.Remedy() != want {
		t.Errorf("remedy %q", disabled.Remedy())
	}
	if f := ExamineIPv6("kt7-tun"); f.State != Absent || f.Sysctl != path {
		t.Errorf("finding %+v", f)
	}
	if pending := j.Pending(); len(pending) != 0 {
		t.Errorf("in the journal: %q", pending)
	}
}
