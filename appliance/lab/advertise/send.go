package advertise

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
	"kedge/netstack/nd"
)

// ipv6Header is how many octets the codec puts in front of the message, which the socket does itself.
const ipv6Header = 40

// Run advertises on an interface of a node until ctx ends. The interface must be up with a link-local address.
func Run(ctx context.Context, node *space.Namespace, iface string, router Router, seed uint64) error {
	s, err := open(node, iface)
	if err != nil {
		return fmt.Errorf("router advertisements of %s on %s: %w", node.Name, iface, err)
	}
	defer unix.Close(s.fd)
	s.router = router
	s.random = rand.New(rand.NewPCG(seed, 0x7261))
	s.run(ctx)
	return nil
}

type sender struct {
	fd     int
	index  int
	mac    [6]byte
	source netip.Addr
	router Router
	random *rand.Rand
}

// answer is owed to a node that solicited.
type answer struct {
	due time.Time
	to  netip.Addr
}

func (s *sender) run(ctx context.Context) {
	var answers []answer
	next, count := time.Now(), 0
	buf := make([]byte, 2048)
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(next) {
			s.send(nd.AllNodes)
			count++
			next = now.Add(s.router.Policy.next(s.random, count))
		}
		wake := next
		pending := answers[:0]
		for _, a := range answers {
			if now.Before(a.due) {
				pending = append(pending, a)
				if a.due.Before(wake) {
					wake = a.due
				}
				continue
			}
			s.send(a.to)
		}
		answers = pending
		if from, ok := s.solicited(buf, min(time.Until(wake), 100*time.Millisecond)); ok {
			if from.IsUnspecified() {
				from = nd.AllNodes
			}
			answers = append(answers, answer{due: time.Now().Add(s.router.Policy.answerDelay(s.random)), to: from})
		}
	}
}

// send is a best effort: the interface may be down.
func (s *sender) send(to netip.Addr) {
	packet, err := nd.Append(nil, s.source, to, s.router.message(s.mac))
	if err != nil {
		return
	}
	_ = unix.Sendto(s.fd, packet[ipv6Header:], unix.MSG_DONTWAIT, &unix.SockaddrInet6{Addr: to.As16(), ZoneId: uint32(s.index)})
}

// solicited waits for a router solicitation and returns its source.
func (s *sender) solicited(buf []byte, wait time.Duration) (netip.Addr, bool) {
	timeout := unix.NsecToTimespec(int64(max(wait, 0)))
	n, err := unix.Ppoll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, &timeout, nil)
	if err != nil || n == 0 {
		return netip.Addr{}, false
	}
	n, from, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
	a, ok := from.(*unix.SockaddrInet6)
	// 8 octets are the shortest solicitation (RFC 4861 section 6.1.1); the kernel has checked the checksum.
	if err != nil || !ok || n < 8 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16(a.Addr), true
}

func open(node *space.Namespace, iface string) (*sender, error) {
	link, err := node.Handle.LinkByName(iface)
	if err != nil {
		return nil, err
	}
	s := &sender{index: link.Attrs().Index}
	if copy(s.mac[:], link.Attrs().HardwareAddr) != 6 {
		return nil, errors.New("not an Ethernet interface")
	}
	addrs, err := node.Handle.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP); ok && got.IsLinkLocalUnicast() {
			s.source = got
		}
	}
	if !s.source.IsValid() {
		return nil, errors.New("no link-local address")
	}
	err = node.Do(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.configure(iface); err != nil {
		unix.Close(s.fd)
		return nil, err
	}
	return s, nil
}

func (s *sender) configure(iface string) error {
	// A set bit blocks a type.
	var filter unix.ICMPv6Filter
	for i := range filter.Data {
		filter.Data[i] = 0xffffffff
	}
	filter.Data[nd.TypeRouterSolicitation>>5] &^= 1 << (nd.TypeRouterSolicitation & 31)
	routers := nd.AllRouters.As16()
	return errors.Join(
		unix.SetsockoptICMPv6Filter(s.fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter),
		unix.BindToDevice(s.fd, iface),
		unix.Bind(s.fd, &unix.SockaddrInet6{}),
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 255),
		unix.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		unix.SetsockoptIPv6Mreq(s.fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &unix.IPv6Mreq{Multiaddr: routers, Interface: uint32(s.index)}),
	)
}
