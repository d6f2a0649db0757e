package ethernet

import (
	"encoding/binary"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"kedge/netstack/packet"
)

// maxFiltered is for how many link-layer addresses the kernel's filter looks itself, five instructions for each, of which
// it takes 4096. With more it passes all unicast frames, and Read drops those that are for nobody here.
const maxFiltered = 256

// maxHostAddresses is how many of the kernel's addresses the filter knows, nine instructions for each.
const maxHostAddresses = 16

// filter passes IPv6 frames for this interface, for groups, and for more link-layer addresses, and with them all of
// routers'. It refuses TCP and UDP for the host's addresses, at most maxHostAddresses, which are the kernel's business
// alone: among them may be as many datagrams of RFC 5555 as the interface carries. The socket is bound to IPv6 besides, so
// that it is offered no frame of another type, and none that the kernel sends.
func filter(addresses []packet.LinkAddress, host []netip.Addr) []bpf.Instruction {
	pass, refuse := bpf.RetConstant{Val: 1 << 18}, bpf.RetConstant{Val: 0}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 12, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherTypeIPv6, SkipTrue: 1},
		refuse,
	}
	if len(host) > 0 {
		const nextHeader, destination, perAddress = ethernetLength + 6, ethernetLength + 24, 9
		program = append(program,
			bpf.LoadAbsolute{Off: nextHeader, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipTrue: 1},
			bpf.Jump{Skip: uint32(perAddress * len(host))},
		)
		for _, a := range host {
			b := a.As16()
			// Addresses of an interface differ in their last octets.
			for at := 12; at >= 0; at -= 4 {
				program = append(program,
					bpf.LoadAbsolute{Off: uint32(destination + at), Size: 4},
					bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(b[at:]), SkipFalse: uint8(1 + at/2)},
				)
			}
			program = append(program, refuse)
		}
	}
	program = append(program,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: unix.PACKET_MULTICAST, SkipTrue: 1},
		pass,
	)
	if len(addresses) == 0 {
		return append(program, refuse)
	}
	program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1}, refuse)
	if len(addresses) > maxFiltered {
		return append(program, pass)
	}
	program = append(program,
		bpf.LoadAbsolute{Off: 0, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(packet.RouterPrefix[:])), SkipFalse: 1},
		pass,
		bpf.LoadAbsolute{Off: 2, Size: 4},
	)
	for _, a := range addresses {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(a[2:]), SkipFalse: 4},
			bpf.LoadAbsolute{Off: 0, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(a[:])), SkipFalse: 1},
			pass,
			bpf.LoadAbsolute{Off: 2, Size: 4},
		)
	}
	return append(program, refuse)
}

// attachFilter gives the socket its filter, in place of any earlier one.
func attachFilter(fd int, addresses []packet.LinkAddress, host []netip.Addr) error {
	raw, err := bpf.Assemble(filter(addresses, host))
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return os.NewSyscallError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}))
}

// membership is what the socket receives beside frames for the interface.
type membership struct {
	// addresses is for how many more link-layer addresses the filter passes frames, with maxFiltered+1 for all.
	addresses int
	// promiscuous is the interface that has been asked for all unicast frames; 0 if none has.
	promiscuous int
	// host are the kernel's addresses that the filter refuses TCP and UDP for.
	host []netip.Addr
}

// bindSocket makes the socket receive from and send to the interface.
//
// It asks for all multicast groups instead of those in use: a home agent answers for any number of home addresses, each
// with a solicited-node group, of which network cards hold a few dozen before they let all pass anyway, and the kernel
// keeps a socket's groups in a list that it searches.
func bindSocket(fd, index int) error {
	address := &unix.SockaddrLinklayer{Protocol: networkOrder(etherTypeIPv6), Ifindex: index}
	if err := unix.Bind(fd, address); err != nil {
		return err
	}
	return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP,
		&unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_ALLMULTI})
}

// readdress has the socket receive frames for the link-layer addresses of the attached table.
//
// It asks the interface for all unicast frames instead of for some addresses: an access link may have thousands of them,
// which the kernel keeps in lists that it searches; network cards hold a few dozen before they let all pass anyway; and a
// bridge passes no frame for other addresses than its own up unless it is promiscuous. The filter drops what is for others.
func (l *Link) readdress() {
	l.members.Lock()
	defer l.members.Unlock()
	l.raw.Control(func(fd uintptr) {
		l.refilter(int(fd), false)
		l.promiscuous(int(fd), l.state.Load().Index)
	})
}

// refilter gives the socket the filter that fits the attached table and the host, whose addresses may have changed. The
// caller holds members.
func (l *Link) refilter(fd int, host bool) {
	var addresses []packet.LinkAddress
	if a := l.attached.Load(); a != nil && a.access != nil {
		addresses = a.access.Addresses(maxFiltered + 1)
	}
	m := &l.membership
	if !host && len(addresses) > maxFiltered && len(addresses) == m.addresses {
		return // it passes all already
	}
	if attachFilter(fd, addresses, m.host) == nil {
		m.addresses = len(addresses)
	}
}

// promiscuous asks an interface for all unicast frames if the filter passes some for other addresses. The caller holds
// members.
func (l *Link) promiscuous(fd, index int) {
	m := &l.membership
	wanted := 0
	if m.addresses > 0 {
		wanted = index
	}
	if m.promiscuous == wanted {
		return
	}
	request := &unix.PacketMreq{Ifindex: int32(m.promiscuous), Type: unix.PACKET_MR_PROMISC}
	if m.promiscuous != 0 {
		// The kernel has forgotten it already if the interface is gone.
		_ = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_DROP_MEMBERSHIP, request)
	}
	m.promiscuous = 0
	if request.Ifindex = int32(wanted); wanted != 0 &&
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, request) == nil {
		m.promiscuous = wanted
	}
}
