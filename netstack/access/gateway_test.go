package access_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/netstack/access"
	"kedge/netstack/ethernet"
	"kedge/netstack/internal/testnet"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

var (
	addr   = netip.MustParseAddr
	prefix = netip.MustParsePrefix
	server = addr("2001:db8:ff::7")
)

// gateway is the small loop that a MAAR would be: it serves each host what it is to have when it attaches, and answers
// datagrams to server if they come from whom their source address belongs to.
type gateway struct {
	*testing.T
	table  *access.Table
	link   *ethernet.Link
	events chan neighbor.Event
	wait   sync.WaitGroup

	mu    sync.Mutex
	serve map[packet.LinkAddress][]access.Router
	// refused counts datagrams with a source address that is not the sender's.
	refused int
}

func newGateway(t *testing.T, n *testnet.Namespace, name string, config access.Config) *gateway {
	t.Helper()
	g := &gateway{T: t, events: make(chan neighbor.Event, 1000), serve: map[packet.LinkAddress][]access.Router{}}
	carrier := make(chan bool, 100)
	var err error
	n.Do(func() {
		g.link, err = ethernet.Open(ethernet.Config{
			Interface: name, Changed: func(s ethernet.State) { carrier <- s.Up },
		})
	})
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("no packet sockets here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	config.LinkAddress = g.link.HardwareAddr()
	g.table = access.New(config)
	g.link.Attach(g.table, g.report)
	g.wait.Add(2)
	go g.forward()
	go func() {
		defer g.wait.Done()
		for up := range carrier {
			g.link.Perform(g.table.Carrier(time.Now(), up))
		}
	}()
	t.Cleanup(func() {
		g.link.Close()
		close(carrier)
		g.wait.Wait()
	})
	return g
}

// give says what a host is served when it attaches.
func (g *gateway) give(k *kernel, routers ...access.Router) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.serve[k.link] = routers
}

// has reports whether a host is known to be there.
func (g *gateway) has(k *kernel) bool {
	return slices.ContainsFunc(g.table.Hosts(), func(h access.Host) bool { return h.LinkLayer == k.link && h.Present })
}

func (g *gateway) report(out neighbor.Output) {
	for _, e := range out.Events {
		if e, is := e.(access.Attached); is {
			g.mu.Lock()
			routers := g.serve[e.LinkLayer]
			g.mu.Unlock()
			for _, r := range routers {
				out, err := g.table.Serve(time.Now(), e.LinkLayer, r)
				if err != nil {
					g.Error(err)
				}
				g.link.Perform(out)
			}
		}
		g.events <- e
	}
}

func (g *gateway) forward() {
	defer g.wait.Done()
	pkts := packet.NewBatch(64, packet.SmallLength)
	for {
		n, err := g.link.Read(pkts)
		if err != nil {
			return
		}
		for _, p := range pkts[:n] {
			b := p.Bytes()
			if len(b) < 48 || b[6] != 17 || netip.AddrFrom16([16]byte(b[24:40])) != server {
				continue
			}
			source := netip.AddrFrom16([16]byte(b[8:24]))
			owner, known := g.table.Owner(netip.PrefixFrom(source, 64).Masked())
			if !known || owner != p.Neighbor {
				g.mu.Lock()
				g.refused++
				g.mu.Unlock()
				continue
			}
			swap := func(a, b []byte) {
				for i := range a {
					a[i], b[i] = b[i], a[i]
				}
			}
			swap(b[8:24], b[24:40])
			swap(b[40:42], b[42:44])
			p.NextHop = source
			if _, err := g.link.Write([]*packet.Packet{p}); err != nil {
				return
			}
		}
	}
}

// await waits for an event.
func (g *gateway) await(what string, match func(neighbor.Event) bool) {
	g.Helper()
	deadline := time.After(15 * time.Second)
	var seen []neighbor.Event
	for {
		select {
		case e := <-g.events:
			if match(e) {
				return
			}
			seen = append(seen, e)
		case <-deadline:
			g.Fatalf("no event %s, but %+v", what, seen)
		}
	}
}

func (g *gateway) awaitAttached(link packet.LinkAddress) {
	g.Helper()
	g.await("Attached", func(e neighbor.Event) bool {
		a, is := e.(access.Attached)
		return is && a.LinkLayer == link
	})
}

func (g *gateway) awaitDeparted(link packet.LinkAddress, cause access.Cause) {
	g.Helper()
	g.await("Departed", func(e neighbor.Event) bool { return e == access.Departed{LinkLayer: link, Cause: cause} })
}

// kernel is an unmodified Linux host.
type kernel struct {
	*testing.T
	*testnet.Namespace
	name string
	link packet.LinkAddress
}

// newKernel makes a host whose interface is down yet.
func newKernel(t *testing.T, own *testnet.Namespace, ownName, name string) *kernel {
	t.Helper()
	k := &kernel{T: t, Namespace: testnet.New(t), name: name}
	own.Veth(ownName, k.Namespace, name)
	k.down()
	k.Do(func() {
		// A host that forwards nothing takes router advertisements with 1 as well; labs set 2 for hosts that do.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_ra", []byte("2"), 0); err != nil {
			t.Fatal(err)
		}
		// Optional in kernels; without it route information is ignored.
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_ra_rt_info_max_plen", []byte("64"), 0)
	})
	k.link = packet.LinkAddress(k.Link(name).Attrs().HardwareAddr)
	return k
}

func (k *kernel) up() {
	k.Helper()
	k.Up(k.name)
}

func (k *kernel) down() {
	k.Helper()
	if err := k.Netlink.LinkSetDown(k.Link(k.name)); err != nil {
		k.Fatal(err)
	}
}

// addresses are the autoconfigured addresses, with "deprecated" or "preferred" and their lifetimes.
func (k *kernel) addresses() map[netip.Prefix]netlink.Addr {
	k.Helper()
	list, err := k.Netlink.AddrList(k.Link(k.name), unix.AF_INET6)
	if err != nil {
		k.Fatal(err)
	}
	found := map[netip.Prefix]netlink.Addr{}
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		if !ip.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			found[netip.PrefixFrom(ip, 64).Masked()] = a
		}
	}
	return found
}

// routers are the next hops of routes to a destination, ::/0 for the default routes.
func (k *kernel) routers(destination netip.Prefix) []netip.Addr {
	k.Helper()
	routes, err := k.Netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{LinkIndex: k.Link(k.name).Attrs().Index}, netlink.RT_FILTER_OIF)
	if err != nil {
		k.Fatal(err)
	}
	var found []netip.Addr
	for _, r := range routes {
		to := prefix("::/0")
		if r.Dst != nil {
			ip, _ := netip.AddrFromSlice(r.Dst.IP.To16())
			ones, _ := r.Dst.Mask.Size()
			to = netip.PrefixFrom(ip, ones)
		}
		if to != destination {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Gw); ok {
			found = append(found, ip)
		}
		for _, hop := range r.MultiPath {
			if ip, ok := netip.AddrFromSlice(hop.Gw); ok {
				found = append(found, ip)
			}
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}

// neighbours are the link-layer addresses that the kernel knows.
func (k *kernel) neighbours() map[netip.Addr]packet.LinkAddress {
	k.Helper()
	list, err := k.Netlink.NeighList(k.Link(k.name).Attrs().Index, unix.AF_INET6)
	if err != nil {
		k.Fatal(err)
	}
	found := map[netip.Addr]packet.LinkAddress{}
	for _, n := range list {
		if ip, ok := netip.AddrFromSlice(n.IP); ok && len(n.HardwareAddr) == 6 && !ip.IsMulticast() {
			found[ip] = packet.LinkAddress(n.HardwareAddr)
		}
	}
	return found
}

// shows is what is wrong with the kernel's view of its routers; "" if it shows these and no others.
func (k *kernel) shows(routers ...access.Router) string {
	k.Helper()
	addresses, neighbours := k.addresses(), k.neighbours()
	var defaults []netip.Addr
	for _, r := range routers {
		defaults = append(defaults, r.LinkLocal)
		a, has := addresses[r.Prefix]
		if !has {
			return fmt.Sprintf("no address of %v, but %v", r.Prefix, addresses)
		}
		preferred, valid := int(r.Preferred/time.Second), int(r.Valid/time.Second)
		if a.ValidLft > valid || a.ValidLft < valid-30 || a.PreferedLft > preferred || preferred > 0 && a.PreferedLft < preferred-30 {
			return fmt.Sprintf("address %v: preferred for %d, valid for %d, want %v", a.IP, a.PreferedLft, a.ValidLft, r)
		}
		if neighbours[r.LinkLocal] != r.LinkLayer {
			return fmt.Sprintf("router %v is at %x, want %x", r.LinkLocal, neighbours[r.LinkLocal], r.LinkLayer)
		}
	}
	if len(addresses) != len(routers) {
		return fmt.Sprintf("addresses %v", addresses)
	}
	slices.SortFunc(defaults, netip.Addr.Compare)
	if got := k.routers(prefix("::/0")); !slices.Equal(got, defaults) {
		return fmt.Sprintf("default routers %v, want %v", got, defaults)
	}
	return ""
}

func (k *kernel) eventually(what string, wrong func() string) {
	k.Helper()
	end := time.Now().Add(15 * time.Second)
	for why := wrong(); why != ""; why = wrong() {
		if time.Now().After(end) {
			k.Fatalf("%s: %s", what, why)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// echo sends a datagram to server from an address of a prefix until it is echoed.
func (k *kernel) echo(from netip.Prefix) {
	k.Helper()
	address, has := k.addresses()[from]
	if !has {
		k.Fatalf("no address of %v", from)
	}
	var conn *net.UDPConn
	var err error
	k.Do(func() {
		conn, err = net.DialUDP("udp", &net.UDPAddr{IP: address.IP}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(server, 7)))
	})
	if err != nil {
		k.Fatal(err)
	}
	defer conn.Close()
	b := make([]byte, 100)
	for range 50 {
		if _, err := conn.Write([]byte("hello")); err != nil {
			k.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := conn.Read(b); err == nil && string(b[:n]) == "hello" {
			return
		}
	}
	k.Errorf("no echo to %v; %v", address.IP, k.neighbours())
}
