package endtoend

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
	"kedge/forwarding/ip6"
)

// wiretap sends and receives Ethernet frames on an interface of a node, as an attacker on the link would.
type wiretap struct {
	t   *testing.T
	fd  int
	mac [6]byte

	mu     sync.Mutex // guards frames
	frames [][]byte
	done   chan struct{}
}

const etherHeader = 14

// tap opens a wiretap that collects IPv6 packets until the test ends.
func tap(t *testing.T, s *space.Namespace, iface string) *wiretap {
	t.Helper()
	l, err := s.Handle.LinkByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	w := &wiretap{t: t, done: make(chan struct{})}
	copy(w.mac[:], l.Attrs().HardwareAddr)
	if err := s.Do(func() error {
		var err error
		// All protocols, since a bridge takes what its ports receive before those of one protocol see it.
		protocol := uint16(unix.ETH_P_ALL)<<8 | unix.ETH_P_ALL>>8
		if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol)); err != nil {
			return err
		}
		timeout := unix.NsecToTimeval(50e6)
		if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
			return err
		}
		return unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: l.Attrs().Index})
	}); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(w.collect)
	t.Cleanup(func() {
		close(w.done)
		running.Wait()
		unix.Close(w.fd)
	})
	return w
}

func (w *wiretap) collect() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(w.fd, b, 0)
		select {
		case <-w.done:
			return
		default:
		}
		if l, ok := from.(*unix.SockaddrLinklayer); err != nil || !ok || l.Pkttype == unix.PACKET_OUTGOING || n < etherHeader+ip6.HeaderLength || b[12] != 0x86 || b[13] != 0xdd {
			continue
		}
		w.mu.Lock()
		w.frames = append(w.frames, slices.Clone(b[etherHeader:n]))
		w.mu.Unlock()
	}
}

// packets are the IPv6 packets collected so far for which match is true.
func (w *wiretap) packets(match func(p []byte) bool) (found [][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.frames {
		if match(p) {
			found = append(found, p)
		}
	}
	return found
}

// send sends an IPv6 packet to a link-layer address.
func (w *wiretap) send(to [6]byte, packet []byte) {
	w.t.Helper()
	frame := slices.Concat(to[:], w.mac[:], []byte{0x86, 0xdd}, packet)
	for {
		_, err := unix.Write(w.fd, frame)
		if err == unix.ENOBUFS || err == unix.EINTR {
			continue
		}
		if err != nil {
			w.t.Fatalf("frame of %d octets: %v", len(frame), err)
		}
		return
	}
}

// hardwareAddress is an interface's link-layer address.
func (n *network) hardwareAddress(node, iface string) (mac [6]byte) {
	n.t.Helper()
	copy(mac[:], n.link(node, iface).Attrs().HardwareAddr)
	return mac
}

// ipv6 is a packet with a fixed header and a payload.
func ipv6(next uint8, source, destination netip.Addr, payload ...[]byte) []byte {
	all := slices.Concat(payload...)
	b := make([]byte, ip6.HeaderLength, ip6.HeaderLength+len(all))
	ip6.PutHeader(b, 0, 0, len(all), next, 64, source, destination)
	return append(b, all...)
}

// resized gives a packet the payload length that its own length asks for.
func resized(p []byte) []byte {
	p = slices.Clone(p)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ip6.HeaderLength))
	return p
}

func sourceOf(p []byte) netip.Addr      { return netip.AddrFrom16([16]byte(p[8:24])) }
func destinationOf(p []byte) netip.Addr { return netip.AddrFrom16([16]byte(p[24:40])) }

// sealed sets the checksum at octet at of an upper-layer message.
func sealed(protocol uint8, source, destination netip.Addr, message []byte, at int) []byte {
	binary.BigEndian.PutUint16(message[at:], 0)
	var sum uint64
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint64(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint64(b[len(b)-1]) << 8
		}
	}
	s, d := source.As16(), destination.As16()
	add(s[:])
	add(d[:])
	add(message)
	sum += uint64(len(message)) + uint64(protocol)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(message[at:], ^uint16(sum))
	return message
}

// udp is a UDP datagram.
func udp(source, destination netip.Addr, from, to uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, from)
	b = binary.BigEndian.AppendUint16(b, to)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(append(b, 0, 0), payload...)
	return sealed(unix.IPPROTO_UDP, source, destination, b, 6)
}

// icmp is an ICMPv6 message.
func icmp(source, destination netip.Addr, kind, code uint8, body ...[]byte) []byte {
	b := append([]byte{kind, code, 0, 0}, slices.Concat(body...)...)
	return sealed(unix.IPPROTO_ICMPV6, source, destination, b, 2)
}
