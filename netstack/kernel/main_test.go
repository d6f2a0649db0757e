package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// childVariable names what a child process of the tests is to do instead of running them.
const childVariable = "KEDGE_KERNEL_TEST_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		changeAndHang(path)
	}
	os.Exit(m.Run())
}

// inNamespace puts the test into a network namespace of its own until it ends, or skips it with the reason.
func inNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	own, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		before.Close()
		runtime.UnlockOSThread()
		t.Skip("needs the right to make a network namespace: run as root or with `unshare -Urn`")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		own.Close()
		if err := netns.Set(before); err != nil {
			t.Errorf("return to the namespace before: %v", err) // the thread stays locked and dies with the goroutine
			return
		}
		before.Close()
		runtime.UnlockOSThread()
	})
}

// device makes an interface that has a carrier once it is set up, one end of a pair, or skips the test.
func device(t *testing.T, name string) netlink.Link {
	t.Helper()
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attributes, PeerName: name + "-p"})
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("the kernel has no veth interfaces")
	}
	if err != nil {
		t.Fatal(err)
	}
	up(t, linkNamed(t, name+"-p"))
	return linkNamed(t, name)
}

func linkNamed(t *testing.T, name string) netlink.Link {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func up(t *testing.T, link netlink.Link) {
	t.Helper()
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
}

func openJournal(t *testing.T) *Journal {
	t.Helper()
	j, err := Open(filepath.Join(t.TempDir(), "state", "journal"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j
}

// state is all that kedge can change, as text, for comparison.
func state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		b.WriteString(describeLink(l))
		addresses, err := netlink.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			if !a.IP.IsLinkLocalUnicast() { // these come and go with the interface, by themselves
				b.WriteString("address " + a.IPNet.String() + " on " + l.Attrs().Name + "\n")
			}
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Protocol == Protocol {
			b.WriteString("route " + r.String() + "\n")
		}
	}
	rules, err := netlink.RuleList(netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "%s goto %d protocol %d users %v destination ports %v\n", r, r.Goto, r.IPProto, r.UIDRange, r.Dport)
	}
	for _, path := range []string{"net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/accept_ra", "net/ipv6/conf/default/accept_ra"} {
		value, err := ReadSysctl(path)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(Assignment(path, value) + "\n")
	}
	return b.String()
}

func describeLink(l netlink.Link) string {
	a := l.Attrs()
	flag := "down"
	if a.Flags&1 != 0 {
		flag = "up"
	}
	return a.Name + " " + flag + " mtu " + strconv.Itoa(a.MTU) + "\n"
}
