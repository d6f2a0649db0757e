package kernel

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"kedge/netstack/packet"
)

// Watch calls f for all that happens to the interfaces of these names, whether they are there yet or not, until ctx is
// done or the kernel gives no more. First it tells the present state as if it had just come about, then Synchronised. A
// carrier that went and came between two notifications is told as LinkDown and LinkUp. After a loss of notifications it
// compares what it told with what is and tells the difference, then Synchronised. f runs on the goroutine of Watch, which
// returns nil when ctx is done.
func Watch(ctx context.Context, interfaces []string, f func(Event)) error {
	s, err := subscribe()
	if err != nil {
		return err
	}
	defer s.closeWith(ctx)()
	m := newMonitor(interfaces, f)
	err = m.run(s)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// monitor is what Watch has told. It reads messages and has no socket of its own.
type monitor struct {
	names map[string]bool
	tell  func(Event)
	links map[int]*watched // by index

	generation uint64 // of the synchronisation under way
	dump       dumping
}

// watched is an interface as told.
type watched struct {
	Link
	flags          uint32
	carrierChanges uint32
	generation     uint64
	addresses      map[netip.Prefix]*watchedAddress
}

type watchedAddress struct {
	Address
	generation uint64
}

// dumping is the dump under way, links first, then addresses.
type dumping struct {
	request  uint16 // RTM_GETLINK, RTM_GETADDR, or 0 for none
	sequence uint32
}

func newMonitor(interfaces []string, tell func(Event)) *monitor {
	m := &monitor{names: make(map[string]bool), tell: tell, links: make(map[int]*watched)}
	for _, name := range interfaces {
		m.names[name] = true
	}
	return m
}

func (m *monitor) run(s *socket) error {
	stale := true
	for {
		// Only one dump may be under way on a socket: after a loss the present one runs to its end before the next.
		if stale && m.dump.request == 0 {
			stale = false
			m.generation++
			if err := m.ask(s, unix.RTM_GETLINK); err != nil {
				return err
			}
		}
		messages, err := s.receive(m.dump.request != 0)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			stale = true
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			m.dump, stale = dumping{}, true
			continue
		case err != nil:
			return err
		}
		for _, message := range messages {
			next, again, err := m.handle(message)
			if err != nil {
				return err
			}
			stale = stale || again
			if next != 0 && !stale {
				if err := m.ask(s, next); err != nil {
					return err
				}
			}
		}
	}
}

func (m *monitor) ask(s *socket, request uint16) error {
	sequence, err := s.dump(request)
	m.dump = dumping{request, sequence}
	return err
}

// handle takes a message of the kernel. It returns the request of the dump that is to follow, if any, or that
// synchronisation is to begin again.
func (m *monitor) handle(message syscall.NetlinkMessage) (next uint16, again bool, err error) {
	h := message.Header
	ofDump := m.dump.request != 0 && h.Seq == m.dump.sequence
	switch h.Type {
	case unix.RTM_NEWLINK:
		m.newLink(message.Data)
	case unix.RTM_DELLINK:
		m.deleteLink(message.Data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		m.address(message.Data, h.Type == unix.RTM_NEWADDR)
	case unix.NLMSG_ERROR:
		if !ofDump || len(message.Data) < 4 {
			break
		}
		// A full buffer puts a dump off, and it comes nevertheless (ENOBUFS); so does the one before (EBUSY).
		failure := syscall.Errno(-int32(binary.NativeEndian.Uint32(message.Data)))
		if failure != 0 && failure != unix.ENOBUFS && failure != unix.EBUSY {
			return 0, false, fmt.Errorf("rtnetlink dump: %w", failure)
		}
	case unix.NLMSG_DONE:
		if ofDump {
			next, again = m.endOfDump(h.Flags&unix.NLM_F_DUMP_INTR != 0)
		}
	}
	return next, again, nil
}

func (m *monitor) endOfDump(interrupted bool) (next uint16, again bool) {
	request := m.dump.request
	m.dump = dumping{}
	if interrupted {
		return 0, true
	}
	if request == unix.RTM_GETLINK {
		for _, index := range slices.Sorted(maps.Keys(m.links)) {
			if m.links[index].generation != m.generation {
				m.vanish(index)
			}
		}
		return unix.RTM_GETADDR, false
	}
	for _, index := range slices.Sorted(maps.Keys(m.links)) {
		l := m.links[index]
		for _, prefix := range slices.SortedFunc(maps.Keys(l.addresses), netip.Prefix.Compare) {
			if l.addresses[prefix].generation != m.generation {
				m.removeAddress(l, prefix)
			}
		}
	}
	m.tell(Event{Kind: Synchronised})
	return 0, false
}

// newLink takes an RTM_NEWLINK, perhaps without some attributes.
func (m *monitor) newLink(b []byte) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return // a bridge tells about its ports in a family of its own
	}
	index := int(int32(binary.NativeEndian.Uint32(b[4:])))
	flags := binary.NativeEndian.Uint32(b[8:])
	known := m.links[index]
	var now watched
	if known != nil {
		now = *known
	}
	now.Index, now.Up, now.flags = index, canCarry(flags), flags
	attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFLA_IFNAME:
			now.Name = unix.ByteSliceToString(value)
		case kind == unix.IFLA_ADDRESS && len(value) == len(now.Address):
			now.Address = packet.LinkAddress(value)
		case kind == unix.IFLA_MTU && len(value) == 4:
			now.MTU = int(binary.NativeEndian.Uint32(value))
		case kind == unix.IFLA_MASTER && len(value) == 4:
			now.Master = int(binary.NativeEndian.Uint32(value))
		case kind == unix.IFLA_CARRIER_CHANGES && len(value) == 4:
			now.carrierChanges = binary.NativeEndian.Uint32(value)
		}
	})
	if known != nil && known.Name != now.Name {
		m.vanish(index)
		known = nil
		now.addresses = nil
	}
	if !m.names[now.Name] {
		return
	}
	now.generation = m.generation
	m.update(known, &now)
}

// update tells the difference between an interface as told, nil for none, and as it is.
func (m *monitor) update(known, now *watched) {
	told := now.Link
	if known == nil {
		now.addresses = make(map[netip.Prefix]*watchedAddress)
		told.Up = false
		m.links[now.Index] = now
		m.tell(Event{Kind: LinkAppeared, Link: told})
		if now.Up {
			m.tell(Event{Kind: LinkUp, Link: now.Link})
		}
		return
	}
	// A carrier that flickers counts twice.
	flickered := known.Up && now.Up && now.carrierChanges-known.carrierChanges >= 2
	changed := known.MTU != now.MTU || known.Address != now.Address || known.Master != now.Master
	wasUp := known.Up
	*known = *now
	if wasUp && (!now.Up || flickered) {
		told.Up = false
		m.tell(Event{Kind: LinkDown, Link: told})
	}
	if changed {
		told.Up = wasUp && now.Up && !flickered
		m.tell(Event{Kind: LinkChanged, Link: told})
	}
	if now.Up && (!wasUp || flickered) {
		m.tell(Event{Kind: LinkUp, Link: now.Link})
	}
}

// canCarry says what the flags do: set up (IFF_UP), with a carrier (IFF_LOWER_UP), and operational state up or unknown
// (IFF_RUNNING), which excludes a port that 802.1X has not yet opened (RFC 2863 dormant).
func canCarry(flags uint32) bool {
	const all = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_RUNNING
	return flags&all == all
}

func (m *monitor) deleteLink(b []byte) {
	if len(b) >= unix.SizeofIfInfomsg && b[0] == unix.AF_UNSPEC {
		m.vanish(int(int32(binary.NativeEndian.Uint32(b[4:]))))
	}
}

func (m *monitor) vanish(index int) {
	l := m.links[index]
	if l == nil {
		return
	}
	if l.Up {
		l.Up = false
		m.tell(Event{Kind: LinkDown, Link: l.Link})
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(l.addresses), netip.Prefix.Compare) {
		m.removeAddress(l, prefix)
	}
	delete(m.links, index)
	m.tell(Event{Kind: LinkVanished, Link: l.Link})
}

// address takes an RTM_NEWADDR or RTM_DELADDR.
func (m *monitor) address(b []byte, added bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return
	}
	l := m.links[int(binary.NativeEndian.Uint32(b[4:]))]
	if l == nil {
		return
	}
	flags := uint32(b[2])
	var own, local netip.Addr
	attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch {
		case kind == unix.IFA_ADDRESS:
			own, _ = netip.AddrFromSlice(value)
		case kind == unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(value)
		case kind == unix.IFA_FLAGS && len(value) == 4:
			flags = binary.NativeEndian.Uint32(value)
		}
	})
	// On a point-to-point link IFA_ADDRESS is the other end's.
	prefix := netip.PrefixFrom(cmp.Or(local, own), int(b[1]))
	if !prefix.IsValid() {
		return
	}
	if !added {
		m.removeAddress(l, prefix)
		return
	}
	now := Address{
		Prefix:     prefix,
		Tentative:  flags&unix.IFA_F_TENTATIVE != 0 && flags&(unix.IFA_F_OPTIMISTIC|unix.IFA_F_DADFAILED) == 0,
		Duplicate:  flags&unix.IFA_F_DADFAILED != 0,
		Deprecated: flags&unix.IFA_F_DEPRECATED != 0,
		Temporary:  prefix.Addr().Is6() && flags&unix.IFA_F_TEMPORARY != 0,
	}
	known := l.addresses[prefix]
	if known == nil {
		l.addresses[prefix] = &watchedAddress{now, m.generation}
		m.tell(Event{Kind: AddressAdded, Link: l.Link, Address: now})
		return
	}
	known.generation = m.generation
	if known.Address != now {
		known.Address = now
		m.tell(Event{Kind: AddressChanged, Link: l.Link, Address: now})
	}
}

func (m *monitor) removeAddress(l *watched, prefix netip.Prefix) {
	known := l.addresses[prefix]
	if known == nil {
		return
	}
	delete(l.addresses, prefix)
	m.tell(Event{Kind: AddressRemoved, Link: l.Link, Address: known.Address})
}

// attributes calls f for each of the rtnetlink attributes in b.
func attributes(b []byte, f func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:length])
		b = b[min((length+3)&^3, len(b)):]
	}
}
