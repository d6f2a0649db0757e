package neighbor_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack/ethernet"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// station is a table on a real Ethernet link whose other end is a Linux kernel.
type station struct {
	*testing.T
	*neighbor.Table
	link   *ethernet.Link
	kernel *testnet.Namespace
	events chan neighbor.Event
}

func newStation(t *testing.T) *station {
	s := &station{T: t, kernel: testnet.New(t), events: make(chan neighbor.Event, 1000)}
	n := testnet.New(t)
	n.Veth("nbr-own", s.kernel, "nbr-kernel")
	s.kernel.Address("nbr-kernel", "2001:db8:1::a/64")
	var err error
	n.Do(func() { s.link, err = ethernet.Open(ethernet.Config{Interface: "nbr-own"}) })
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("no packet sockets here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.link.Close() })
	s.Table = neighbor.New(neighbor.Config{LinkAddress: s.link.HardwareAddr()})
	s.link.Attach(s.Table, func(out neighbor.Output) {
		for _, e := range out.Events {
			s.events <- e
		}
	})
	go func() {
		pkts := packet.NewBatch(16, packet.SmallLength)
		for {
			if _, err := s.link.Read(pkts); err != nil {
				return
			}
		}
	}()
	source := netip.MustParseAddr("fe80::ee")
	s.perform(s.AddAddress(time.Now(), source, neighbor.Own))
	s.findKernel(source, netip.MustParseAddr("2001:db8:1::a"))
	return s
}

// findKernel asks until the kernel answers: it loses what it sends until it has noticed the carrier.
func (s *station) findKernel(source, address netip.Addr) {
	s.Helper()
	from, to := source.As16(), address.As16()
	p := packet.New(40)
	p.Set(slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, 59, 64}, from[:], to[:]))
	s.SetTimers(0, 50*time.Millisecond)
	defer s.SetTimers(0, neighbor.DefaultRetransTimer)
	s.perform(s.Resolve(time.Now(), address, p))
	s.await(func(e neighbor.Event) bool {
		if e == (neighbor.NeighborUnreachable{Addr: address}) {
			s.perform(s.Resolve(time.Now(), address, p))
		}
		return e == neighbor.NeighborReachable{Addr: address, Neighbor: s.kernelMAC()}
	})
}

func (s *station) kernelMAC() packet.LinkAddress {
	return packet.LinkAddress(s.kernel.Link("nbr-kernel").Attrs().HardwareAddr)
}

func (s *station) perform(out neighbor.Output) {
	s.link.Perform(out)
}

// await waits for an event that the kernel gives cause for.
func (s *station) await(want func(neighbor.Event) bool) {
	s.Helper()
	deadline := time.After(5 * time.Second)
	var seen []neighbor.Event
	for {
		select {
		case e := <-s.events:
			if want(e) {
				return
			}
			seen = append(seen, e)
		case <-deadline:
			s.Fatalf("the event did not come, but %v", seen)
		}
	}
}

// eventually polls the kernel's own tables.
func (s *station) eventually(what string, holds func() bool) {
	s.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatal(what)
		}
	}
}

func TestKernelDefendsAgainstProbe(t *testing.T) {
	s := newStation(t)
	held, free := netip.MustParseAddr("2001:db8:1::a"), netip.MustParseAddr("2001:db8:1::b")
	s.perform(s.Probe(time.Now(), held))
	s.perform(s.AddAddress(time.Now(), free, neighbor.Optimistic))
	s.await(func(e neighbor.Event) bool { return e == neighbor.Duplicate{Addr: held, Neighbor: s.kernelMAC()} })
	s.await(func(e neighbor.Event) bool { return e == neighbor.Unique{Addr: free} })
}

func TestKernelYieldsToDefence(t *testing.T) {
	s := newStation(t)
	s.perform(s.AddAddress(time.Now(), netip.MustParseAddr("2001:db8:1::beef"), neighbor.Proxy))
	link := s.kernel.Link("nbr-kernel")
	address, err := netlink.ParseAddr("2001:db8:1::beef/64")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.kernel.Netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
	s.eventually("the kernel took a home address that is defended", func() bool {
		addresses, err := s.kernel.Netlink.AddrList(link, unix.AF_INET6)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(addresses, func(a netlink.Addr) bool {
			return a.IP.Equal(address.IP) && a.Flags&unix.IFA_F_DADFAILED != 0
		})
	})
}

func TestKernelTakesProxyAnnouncement(t *testing.T) {
	s := newStation(t)
	home := netip.MustParseAddr("2001:db8:1::beef")
	link := s.kernel.Link("nbr-kernel")
	entry := &netlink.Neigh{
		LinkIndex: link.Attrs().Index, Family: unix.AF_INET6, State: netlink.NUD_REACHABLE,
		IP: home.AsSlice(), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 0x99},
	}
	if err := s.kernel.Netlink.NeighSet(entry); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s.perform(s.AddAddress(now, home, neighbor.Proxy))
	s.perform(s.Announce(now, home))
	s.eventually("the kernel still sends to the mobile node's own link-layer address", func() bool {
		neighbors, err := s.kernel.Netlink.NeighList(link.Attrs().Index, unix.AF_INET6)
		if err != nil {
			t.Fatal(err)
		}
		own := s.link.HardwareAddr()
		return slices.ContainsFunc(neighbors, func(n netlink.Neigh) bool {
			return n.IP.Equal(entry.IP) && slices.Equal(n.HardwareAddr, own[:])
		})
	})
}
