package kernel

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func TestHint(t *testing.T) {
	tun, uplink := mobileHost(t)
	j := openJournal(t)
	if _, err := (Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("2001:db8:4::/46"), Policy: somePolicy}).Apply(j); err != nil {
		t.Fatal(err)
	}
	steered := state(t)
	address, rule, err := HostAddress{TUN: "kt7-tun", Address: distributed}.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	held := Changes{address, rule}
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

func TestSourceAddressIsDeprecated(t *testing.T) {
	inNamespace(t)
	link := device(t, "kt7-tun")
	j := openJournal(t)
	if _, _, err := (HostAddress{TUN: "kt7-tun", Address: distributed}).Apply(j); err != nil {
		t.Fatal(err)
	}
	all, err := netlink.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(a netlink.Addr) bool { return a.IP.Equal(distributed.AsSlice()) })
	if i < 0 || all[i].Flags&unix.IFA_F_DEPRECATED == 0 || all[i].ValidLft < 1<<31-100 || all[i].PreferedLft != 0 {
		t.Errorf("addresses: %+v", all)
	}
	if _, _, err := (HostAddress{TUN: "kt7-none", Address: distributed}).Apply(j); !errors.Is(err, ErrNoLink) {
		t.Errorf("%v, want ErrNoLink", err)
	}
	// The rule is there: the address is not kept without it.
	if _, _, err := (HostAddress{TUN: "kt7-tun-p", Address: distributed}).Apply(j); !errors.Is(err, ErrExists) {
		t.Errorf("%v, want ErrExists", err)
	}
	if got, want := len(j.Pending()), 2; got != want {
		t.Errorf("%d changes in the journal, want %d", got, want)
	}
}

// carry takes packets between the devices until both are quiet, and returns how many.
func carry(t *testing.T, a, b tunnel) int {
	t.Helper()
	var buffer [2048]byte
	packets := 0
	for quiet := 0; quiet < 2; a, b = b, a {
		n, err := unix.Read(a.fd, buffer[:])
		if errors.Is(err, unix.EAGAIN) {
			quiet++
			continue
		}
		if err == nil {
			_, err = unix.Write(b.fd, buffer[:n])
		}
		if err != nil {
			t.Fatal(err)
		}
		quiet = 0
		packets++
	}
	return packets
}

// A connection whose address the host gives up stays in the kernel, which knows no owner of its packets: they still go
// out, by the rules for everybody, and no answer comes in. Nobody tells the program. Hence Terminate before Release.
func TestConnectionWhoseAddressIsWithdrawn(t *testing.T) {
	remote := netip.MustParseAddrPort("[2001:db8:5::1]:80")
	tun, _ := mobileHost(t)
	mobile, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer mobile.Close()
	inNamespace(t) // of the correspondent node
	correspondent := openTunnel(t, "kt7-cn")
	if err := netlink.AddrAdd(correspondent.link, (&addressChange{Address: remote.Addr()}).message()); err != nil {
		t.Fatal(err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: correspondent.link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("::/0"))}); err != nil {
		t.Fatal(err)
	}
	listener, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet6{Port: int(remote.Port())}), unix.Listen(listener, 1)); err != nil {
		t.Fatal(err)
	}

	if err := netns.Set(mobile); err != nil {
		t.Fatal(err)
	}
	j := openJournal(t)
	if _, err := (Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("::/0")}).Apply(j); err != nil {
		t.Fatal(err)
	}
	held, _, err := HostAddress{TUN: "kt7-tun", Address: distributed}.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	hint, err := Hint{TUN: "kt7-tun", Address: distributed, Prefix: netip.PrefixFrom(remote.Addr(), 128)}.Apply(j)
	if err != nil {
		t.Fatal(err)
	}
	client := program{protocol: tcp}.connect(t, remote)
	carry(t, tun, correspondent)
	server, from, err := unix.Accept(listener)
	// A kernel that is busy with devices elsewhere takes its time until a new one carries anything, and the SYN comes again.
	for end := time.Now().Add(10 * time.Second); errors.Is(err, unix.EAGAIN) && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
		carry(t, tun, correspondent)
		server, from, err = unix.Accept(listener)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(server)
	if got := netip.AddrFrom16(from.(*unix.SockaddrInet6).Addr); got != distributed {
		t.Fatalf("connected from %s, want %s", got, distributed)
	}

	if err := errors.Join(hint.Undo(), held.Undo()); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(client, []byte("late")); err != nil {
		t.Errorf("write after the address has gone: %v", err)
	}
	if carry(t, tun, correspondent) == 0 {
		t.Error("nothing left the host")
	}
	var b [16]byte
	if n, err := unix.Read(server, b[:]); err != nil || string(b[:n]) != "late" {
		t.Errorf("the correspondent node got %q, %v", b[:max(n, 0)], err)
	}
	if _, err := unix.Write(server, []byte("answer")); err != nil {
		t.Error(err)
	}
	carry(t, tun, correspondent)
	if n, err := unix.Read(client, b[:]); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("the program got %d octets, %v; want nothing", n, err)
	}
	if unacknowledged, err := unix.IoctlGetInt(client, unix.SIOCOUTQ); err != nil || unacknowledged != len("late") {
		t.Errorf("%d octets unacknowledged, %v", unacknowledged, err)
	}
}
