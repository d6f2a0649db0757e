package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

var home = netip.MustParseAddr("2001:db8:10::1")

// changeAndHang makes every kind of change, says so, and waits for its death.
func changeAndHang(path string) {
	j, err := Open(path)
	if err == nil {
		err = changeEverything(j)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("changed")
	time.Sleep(time.Hour)
}

func changeEverything(j *Journal) error {
	var failures []error
	try := func(_ any, err error) { failures = append(failures, err) }
	try(j.SetLinkUp("kt7-tun"))
	try(j.SetMTU("kt7-tun", 1400))
	try(j.AddBlackhole(netip.MustParseAddr("2001:db8:20::5")))
	try(j.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	try(Steering{TUN: "kt7-tun", Home: home, Destinations: []netip.Prefix{netip.MustParsePrefix("::/0")}, Policy: somePolicy, MTU: 1400}.Apply(j))
	address, _, err := HostAddress{TUN: "kt7-tun", Address: distributed}.Apply(j)
	try(address, err)
	for _, prefix := range []string{"2001:db8:5::/48", "::/0"} {
		try(Hint{TUN: "kt7-tun", Address: distributed, Prefix: netip.MustParsePrefix(prefix), MTU: 1400}.Apply(j))
	}
	return errors.Join(failures...)
}

func TestRestoreAfterKill(t *testing.T) {
	inNamespace(t)
	device(t, "kt7-tun")
	path := filepath.Join(t.TempDir(), "journal")
	before := state(t)

	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childVariable+"="+path)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil { // this thread is in the namespace, and so is its child
		t.Fatal(err)
	}
	said, _ := bufio.NewReader(output).ReadString('\n')
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("opened the journal of a living process: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed
	if said != "changed\n" {
		t.Fatalf("child: %s", said)
	}
	if state(t) == before {
		t.Fatal("the child changed nothing")
	}

	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if len(j.Pending()) == 0 {
		t.Error("the journal names nothing")
	}
	if err := j.Restore(); err != nil {
		t.Errorf("Restore: %v", err)
	}
	if after := state(t); after != before {
		t.Errorf("after Restore:\n%s\nbefore the changes:\n%s", after, before)
	}
	if pending := j.Pending(); len(pending) != 0 {
		t.Errorf("still in the journal: %q", pending)
	}
	if err := j.Restore(); err != nil {
		t.Errorf("second Restore: %v", err)
	}
}

func TestRestoreWhereThingsAreGone(t *testing.T) {
	inNamespace(t)
	link := device(t, "kt7-tun")
	j := openJournal(t)
	if err := changeEverything(j); err != nil {
		t.Fatal(err)
	}
	if err := writeSysctl("net/ipv6/conf/all/forwarding", "0"); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkDel(link); err != nil {
		t.Fatal(err)
	}
	if err := j.Restore(); err != nil {
		t.Errorf("Restore: %v", err)
	}
	if pending := j.Pending(); len(pending) != 0 {
		t.Errorf("still in the journal: %q", pending)
	}
}

func TestOnlyWhatTheJournalNamesIsTouched(t *testing.T) {
	inNamespace(t)
	link := device(t, "kt7-tun")
	up(t, link)
	j := openJournal(t)
	theirs := netip.MustParseAddr("2001:db8:10::99")
	if err := netlink.AddrAdd(link, (&addressChange{Address: theirs}).message()); err != nil {
		t.Fatal(err)
	}
	stranger := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("2001:db8:77::/64")), Table: 107}
	if err := netlink.RouteAdd(stranger); err != nil {
		t.Fatal(err)
	}
	// The address is there and the interface up: neither is kedge's to undo.
	for _, op := range []func() (*Change, error){
		func() (*Change, error) { return j.SetAddress("kt7-tun", theirs) },
		func() (*Change, error) { return j.SetLinkUp("kt7-tun") },
		func() (*Change, error) { return j.SetMTU("kt7-tun", link.Attrs().MTU) },
	} {
		if c, err := op(); c != nil || err != nil {
			t.Errorf("nothing to change: %v, %v", c, err)
		}
	}
	_, err := j.AddRoute(Route{Table: 107, Prefix: netip.MustParsePrefix("2001:db8:77::/64"), Interface: "kt7-tun"})
	if !errors.Is(err, ErrExists) {
		t.Errorf("a stranger's route: %v, want ErrExists", err)
	}
	mtu, err := j.SetMTU("kt7-tun", 1400)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetMTU(link, 1450); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	if err := errors.Join(mtu.Undo(), j.Restore()); err != nil {
		t.Error(err)
	}
	if after := state(t); after != before {
		t.Errorf("after Restore:\n%s\nbefore:\n%s", after, before)
	}
	if routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, stranger, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_DST); err != nil || len(routes) != 1 {
		t.Errorf("the stranger's route: %v, %v", routes, err)
	}
}

func TestUndoOneChange(t *testing.T) {
	inNamespace(t)
	j := openJournal(t)
	before := state(t)
	a, err := j.AddBlackhole(netip.MustParseAddr("2001:db8:20::5"))
	if err != nil {
		t.Fatal(err)
	}
	between := state(t)
	b, err := j.AddBlackhole(netip.MustParseAddr("2001:db8:20::6"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.AddBlackhole(netip.MustParseAddr("2001:db8:20::6")); !errors.Is(err, ErrExists) {
		t.Errorf("the same again: %v, want ErrExists", err)
	}
	if err := errors.Join(b.Undo(), b.Undo()); err != nil {
		t.Error(err)
	}
	if got := state(t); got != between {
		t.Errorf("after undoing the second: %s", got)
	}
	if err := a.Undo(); err != nil {
		t.Error(err)
	}
	if got := state(t); got != before {
		t.Errorf("after undoing the first: %s", got)
	}
	var none *Change
	if err := none.Undo(); err != nil {
		t.Errorf("undoing nothing: %v", err)
	}
}

func TestJournalIsCompacted(t *testing.T) {
	inNamespace(t)
	j := openJournal(t)
	keep, err := j.AddBlackhole(netip.MustParseAddr("2001:db8:20::1"))
	if err != nil {
		t.Fatal(err)
	}
	largest := int64(0)
	for range 900 {
		c, err := j.AddBlackhole(netip.MustParseAddr("2001:db8:20::2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Undo(); err != nil {
			t.Fatal(err)
		}
		status, err := os.Stat(j.path)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, status.Size())
	}
	if largest > compactAt+512 || int64(j.size) == largest {
		t.Errorf("the journal grew to %d octets and is %d", largest, j.size)
	}
	j.Close()
	again, err := Open(j.path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := again.Pending(); len(got) != 1 || got[0] != keep.undoer.String() {
		t.Errorf("after reopening: %q", got)
	}
	if err := again.Restore(); err != nil {
		t.Error(err)
	}
}

// writeJournal writes a journal of this boot and namespace.
func writeJournal(t *testing.T, first string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal")
	if err := os.WriteFile(path, []byte(strings.Join(append([]string{first}, lines...), "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func here(t *testing.T) string {
	t.Helper()
	l, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"boot":%q,"namespace":%d}`, l.Boot, l.Namespace)
}

func TestDamagedJournal(t *testing.T) {
	inNamespace(t)
	if err := netlink.RouteAdd(blackhole(t, "2001:db8:20::1")); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	path := writeJournal(t, here(t),
		`{"change":1,"route":{"table":254,"prefix":"2001:db8:20::1/128"}}`,
		`{"change":2,"route":{"table":254,"pre`,
		`{"change":3,"magic":{}}`,
		`{"change":4}`,
		`{"change":5,"route":{"table":254,"prefix":"2001:db8:20::99/128"}}`,
		`{"undone":5}`,
		`{"change":6,"sysctl":{"path":"net/ipv6/conf/a`)
	j, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	err = j.Restore()
	for i, want := range []int{3, 4, 5} {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) != 3 {
			t.Fatalf("Restore: %v, want three damaged lines", err)
		}
		var damage *DamageError
		if !errors.As(joined.Unwrap()[i], &damage) || damage.Line != want || damage.Path != path {
			t.Errorf("error %d: %v, want line %d", i, joined.Unwrap()[i], want)
		}
	}
	if state(t) == before {
		t.Error("what could be read was not undone")
	}
	if err := j.Restore(); err != nil {
		t.Errorf("second Restore: %v", err)
	}
}

func blackhole(t *testing.T, address string) *netlink.Route {
	t.Helper()
	m, err := (&routeChange{Route{Table: mainTable, Prefix: netip.MustParsePrefix(address + "/128")}}).message()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestJournalOfAnotherBootOrNamespaceIsForgotten(t *testing.T) {
	inNamespace(t)
	if err := netlink.RouteAdd(blackhole(t, "2001:db8:20::1")); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	own, err := identity()
	if err != nil {
		t.Fatal(err)
	}
	change := `{"change":1,"route":{"table":254,"prefix":"2001:db8:20::1/128"}}`
	for name, first := range map[string]string{
		"boot":      fmt.Sprintf(`{"boot":"another","namespace":%d}`, own.Namespace),
		"namespace": fmt.Sprintf(`{"boot":%q,"namespace":1}`, own.Boot),
	} {
		j, err := Open(writeJournal(t, first, change, "damage", ""))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Restore(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if state(t) != before {
			t.Errorf("%s: something was undone", name)
		}
		j.Close()
	}
}

func TestFailedChangeIsNotPending(t *testing.T) {
	inNamespace(t)
	device(t, "kt7-tun")
	j := openJournal(t)
	if _, err := j.SetMTU("kt7-tun", 1<<30); err == nil {
		t.Error("an absurd MTU was set")
	}
	for name, op := range map[string]func() (*Change, error){
		"address": func() (*Change, error) { return j.SetAddress("kt7-none", home) },
		"up":      func() (*Change, error) { return j.SetLinkUp("kt7-none") },
		"mtu":     func() (*Change, error) { return j.SetMTU("kt7-none", 1500) },
		"route": func() (*Change, error) {
			return j.AddRoute(Route{Table: 1, Prefix: netip.MustParsePrefix("2001:db8::/32"), Interface: "kt7-none"})
		},
	} {
		if _, err := op(); !errors.Is(err, ErrNoLink) {
			t.Errorf("%s: %v, want ErrNoLink", name, err)
		}
	}
	if _, err := j.AddRoute(Route{Table: 1, Prefix: netip.MustParsePrefix("192.0.2.0/24")}); err == nil {
		t.Error("an IPv4 route was added")
	}
	if _, err := j.AddRule(Rule{Priority: 1, Table: 1, To: netip.MustParsePrefix("192.0.2.0/24")}); err == nil {
		t.Error("an IPv4 rule was added")
	}
	if pending := j.Pending(); len(pending) != 0 {
		t.Errorf("in the journal: %q", pending)
	}
	j.Close()
	if _, err := j.AddBlackhole(home); !errors.Is(err, os.ErrClosed) {
		t.Errorf("change by a closed journal: %v", err)
	}
}
