package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestHint(t *testing.T) {
	tun, uplink := mobileHost(t)
	j := openJournal(t)
	if _, err := (Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("2001:db8:4::/46"), Policy: somePolicy}).Apply(j); err != nil {
		t.Fatal(err)
	}
	steered := state(t)
	held, err := HostAddress{TUN: "kt7-tun", Address: distributed}.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	holding := state(t)
	check := func(name string, p program, remote, wantDevice string, want netip.Addr) {
		t.Helper()
		if device, source := p.leaves(t, tun, uplink, remote); device != wantDevice || source != want {
			t.Errorf("%s, %s: left by %s from %s, want %s and %s", name, remote, device, source, wantDevice, want)
		}
	}
	// Without a hint nobody gets the address, not even with the home address gone: longest match would choose it.
	near := netip.AddrPortFrom(distributed.Next(), 80).String()
	check("held alone", program{protocol: tcp}, "[2001:db8:5::1]:80", "kt7-tun", home)
	check("held alone", program{protocol: tcp}, near, "kt7-up", uplinkAddress)
	check("bound to it", program{protocol: tcp, bound: distributed}, "[2001:db8:5::1]:80", "kt7-tun", distributed)

	var hints []*Change
	for _, prefix := range []string{"2001:db8:5::/48", "2001:db8:6::/64", "2001:db8:5:5::/64"} {
		hint, err := Hint{TUN: "kt7-tun", Address: distributed, Prefix: netip.MustParsePrefix(prefix), MTU: 1400}.Apply(j)
		if err != nil {
			t.Fatal(err)
		}
		hints = append(hints, hint)
	}
	if _, err := (Hint{TUN: "kt7-tun", Address: distributed, Prefix: netip.MustParsePrefix("2001:db8:5::/48")}).Apply(j); !errors.Is(err, ErrExists) {
		t.Errorf("the same hint again: %v, want ErrExists", err)
	}
	for _, p := range []program{{protocol: tcp}, {protocol: udp}, {protocol: udp, idle: true}} {
		check("new", p, "[2001:db8:5::1]:80", "kt7-tun", distributed)
	}
	check("bound to the home address", program{protocol: tcp, bound: home}, "[2001:db8:5::1]:80", "kt7-tun", home)
	check("bound to the home address", program{protocol: udp, bound: home}, "[2001:db8:5::1]:80", "kt7-tun", home)
	check("elsewhere", program{protocol: tcp}, "[2001:db8:4::1]:80", "kt7-tun", home)
	check("off the TUN", program{protocol: tcp}, "[2001:db8:9::1]:80", "kt7-up", uplinkAddress)
	check("non-persistent", program{protocol: udp}, "[2001:db8:5::1]:53", "kt7-up", uplinkAddress)

	if err := hints[0].Undo(); err != nil {
		t.Fatal(err)
	}
	check("hint undone", program{protocol: tcp}, "[2001:db8:5::1]:80", "kt7-tun", home)
	check("the longer one is left", program{protocol: tcp}, "[2001:db8:5:5::1]:80", "kt7-tun", distributed)
	for _, h := range hints[1:] {
		if err := h.Undo(); err != nil {
			t.Error(err)
		}
	}
	if got := state(t); got != holding {
		t.Errorf("without hints:\n%s\nbefore them:\n%s", got, holding)
	}
	everything, err := Hint{TUN: "kt7-tun", Address: distributed, Prefix: netip.MustParsePrefix("::/0")}.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	check("a hint for everything", program{protocol: tcp}, "[2001:db8:4::1]:80", "kt7-tun", distributed)
	if err := errors.Join(everything.Undo(), held.Undo()); err != nil {
		t.Fatal(err)
	}
	if got := state(t); got != steered {
		t.Errorf("address undone:\n%s\nbefore:\n%s", got, steered)
	}
}

func TestSourceAddressIsDeprecatedForGood(t *testing.T) {
	inNamespace(t)
	link := device(t, "kt7-tun")
	j := openJournal(t)
	if _, err := (HostAddress{TUN: "kt7-tun", Address: distributed}).Apply(j); err != nil {
		t.Fatal(err)
	}
	all, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(a netlink.Addr) bool { return a.IP.Equal(distributed.AsSlice()) })
	if i < 0 || all[i].Flags&unix.IFA_F_DEPRECATED == 0 || uint32(all[i].ValidLft) != 1<<32-1 {
		t.Errorf("addresses: %+v", all)
	}
	if _, err := (HostAddress{TUN: "kt7-none", Address: distributed}).Apply(j); !errors.Is(err, ErrNoLink) {
		t.Errorf("%v, want ErrNoLink", err)
	}
	// The rule is there: the address is not kept without it.
	if _, err := (HostAddress{TUN: "kt7-tun-p", Address: distributed}).Apply(j); !errors.Is(err, ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	if got, want := len(j.Pending()), 2; got != want {
		t.Errorf("%d changes in the journal, want %d", got, want)
	}
}
