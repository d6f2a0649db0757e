package kernel

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const carrying = unix.IFF_UP | unix.IFF_LOWER_UP | unix.IFF_RUNNING

func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// linkMessage is an RTM_NEWLINK or RTM_DELLINK.
func linkMessage(kind uint16, sequence uint32, index int, name string, flags, mtu, changes uint32) syscall.NetlinkMessage {
	b := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], flags)
	b = append(b, attribute(unix.IFLA_IFNAME, append([]byte(name), 0))...)
	b = append(b, attribute(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, byte(index)})...)
	b = append(b, attribute(unix.IFLA_MTU, number(mtu))...)
	b = append(b, attribute(unix.IFLA_CARRIER_CHANGES, number(changes))...)
	return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Seq: sequence}, Data: b}
}

// addressMessage is an RTM_NEWADDR or RTM_DELADDR.
func addressMessage(kind uint16, sequence uint32, index int, prefix string, flags uint32) syscall.NetlinkMessage {
	p := netip.MustParsePrefix(prefix)
	family := byte(unix.AF_INET6)
	if p.Addr().Is4() {
		family = unix.AF_INET
	}
	b := append([]byte{family, byte(p.Bits()), byte(flags), 0}, number(uint32(index))...)
	b = append(b, attribute(unix.IFA_ADDRESS, p.Addr().AsSlice())...)
	b = append(b, attribute(unix.IFA_FLAGS, number(flags))...)
	return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Seq: sequence}, Data: b}
}

func done(sequence uint32, flags uint16) syscall.NetlinkMessage {
	return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_DONE, Seq: sequence, Flags: flags}}
}

// told collects events as short texts.
type told []string

func (l *told) tell(e Event) {
	text := e.Kind.String()
	if e.Link.Name != "" {
		text = e.Link.Name + " " + text
	}
	switch e.Kind {
	case LinkChanged:
		text += fmt.Sprintf(" up=%v mtu=%d", e.Link.Up, e.Link.MTU)
	case AddressAdded, AddressChanged, AddressRemoved:
		text += " " + e.Address.Prefix.String()
		for _, flag := range []struct {
			set  bool
			name string
		}{{e.Address.Tentative, "tentative"}, {e.Address.Duplicate, "duplicate"}, {e.Address.Deprecated, "deprecated"}, {e.Address.Temporary, "temporary"}} {
			if flag.set {
				text += " " + flag.name
			}
		}
	}
	*l = append(*l, text)
}

func (l *told) expect(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(*l, want) {
		t.Errorf("told:\n%q\nwant:\n%q", []string(*l), want)
	}
	*l = nil
}

// synchronise plays a dump of the messages given, which bear any sequence number, and returns what handle asked for.
func synchronise(t *testing.T, m *monitor, links, addresses []syscall.NetlinkMessage) {
	t.Helper()
	m.generation++
	for i, part := range [][]syscall.NetlinkMessage{links, addresses} {
		sequence := uint32(m.generation)*2 + uint32(i)
		m.dump = dumping{[]uint16{unix.RTM_GETLINK, unix.RTM_GETADDR}[i], sequence}
		for _, message := range part {
			message.Header.Seq = sequence
			if next, again, err := m.handle(message); next != 0 || again || err != nil {
				t.Fatalf("handle: %d, %v, %v", next, again, err)
			}
		}
		next, again, err := m.handle(done(sequence, 0))
		if again || err != nil || i == 0 && next != unix.RTM_GETADDR || i == 1 && next != 0 {
			t.Fatalf("end of dump: %d, %v, %v", next, again, err)
		}
	}
}

func handleAll(t *testing.T, m *monitor, messages ...syscall.NetlinkMessage) {
	t.Helper()
	for _, message := range messages {
		if next, again, err := m.handle(message); next != 0 || again || err != nil {
			t.Fatalf("handle: %d, %v, %v", next, again, err)
		}
	}
}

func TestMonitorTellsWhatHappens(t *testing.T) {
	var log told
	m := newMonitor([]string{"kt7-a", "kt7-b"}, log.tell)
	synchronise(t, m,
		[]syscall.NetlinkMessage{
			linkMessage(unix.RTM_NEWLINK, 0, 1, "lo", carrying, 65536, 0),
			linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 2),
		},
		[]syscall.NetlinkMessage{
			addressMessage(unix.RTM_NEWADDR, 0, 1, "::1/128", unix.IFA_F_PERMANENT),
			addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::2/64", unix.IFA_F_TENTATIVE),
			addressMessage(unix.RTM_NEWADDR, 0, 2, "192.0.2.2/24", unix.IFA_F_PERMANENT),
		})
	log.expect(t, "kt7-a link appeared", "kt7-a link up", "kt7-a address added 2001:db8::2/64 tentative",
		"kt7-a address added 192.0.2.2/24", "synchronised")

	handleAll(t, m,
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::2/64", 0),
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::2/64", 0),
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::9/64", unix.IFA_F_TEMPORARY|unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC),
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::9/64", unix.IFA_F_TEMPORARY|unix.IFA_F_DEPRECATED),
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::8/64", unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED),
		addressMessage(unix.RTM_DELADDR, 0, 2, "2001:db8::8/64", 0),
		addressMessage(unix.RTM_DELADDR, 0, 2, "2001:db8::8/64", 0))
	log.expect(t, "kt7-a address changed 2001:db8::2/64", "kt7-a address added 2001:db8::9/64 temporary",
		"kt7-a address changed 2001:db8::9/64 deprecated temporary", "kt7-a address added 2001:db8::8/64 duplicate",
		"kt7-a address removed 2001:db8::8/64 duplicate")

	handleAll(t, m,
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", unix.IFF_UP, 1500, 3),
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", unix.IFF_UP|unix.IFF_LOWER_UP, 1500, 4), // dormant
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 4),
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1400, 4),
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1400, 6),
		linkMessage(unix.RTM_NEWLINK, 0, 3, "kt7-b", 0, 1500, 1))
	log.expect(t, "kt7-a link down", "kt7-a link up", "kt7-a link changed up=true mtu=1400",
		"kt7-a link down", "kt7-a link up", "kt7-b link appeared")

	handleAll(t, m, addressMessage(unix.RTM_DELADDR, 0, 2, "192.0.2.2/24", 0), linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-c", carrying, 1400, 6))
	log.expect(t, "kt7-a address removed 192.0.2.2/24", "kt7-a link down", "kt7-a address removed 2001:db8::2/64",
		"kt7-a address removed 2001:db8::9/64 deprecated temporary", "kt7-a link vanished")
	handleAll(t, m, linkMessage(unix.RTM_DELLINK, 0, 3, "kt7-b", 0, 1500, 1), linkMessage(unix.RTM_DELLINK, 0, 3, "kt7-b", 0, 1500, 1))
	log.expect(t, "kt7-b link vanished")
}

func TestMonitorResynchronises(t *testing.T) {
	var log told
	m := newMonitor([]string{"kt7-a", "kt7-b"}, log.tell)
	synchronise(t, m,
		[]syscall.NetlinkMessage{
			linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 2),
			linkMessage(unix.RTM_NEWLINK, 0, 3, "kt7-b", carrying, 1500, 2),
		},
		[]syscall.NetlinkMessage{
			addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::2/64", 0),
			addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::3/64", 0),
		})
	log = nil
	synchronise(t, m,
		[]syscall.NetlinkMessage{linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 8)},
		[]syscall.NetlinkMessage{addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::3/64", 0)})
	log.expect(t, "kt7-a link down", "kt7-a link up", "kt7-b link down", "kt7-b link vanished",
		"kt7-a address removed 2001:db8::2/64", "synchronised")

	m.dump = dumping{unix.RTM_GETLINK, 99}
	if _, again, err := m.handle(done(99, unix.NLM_F_DUMP_INTR)); !again || err != nil {
		t.Errorf("an interrupted dump: %v, %v", again, err)
	}
	m.dump = dumping{unix.RTM_GETLINK, 100}
	for _, passing := range []syscall.Errno{unix.EBUSY, unix.ENOBUFS} {
		message := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR, Seq: 100}, Data: number(^uint32(passing) + 1)}
		if _, again, err := m.handle(message); again || err != nil {
			t.Errorf("%v: %v, %v", passing, again, err)
		}
	}
	denied := syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR, Seq: 100}, Data: number(^uint32(unix.EPERM) + 1)}
	if _, _, err := m.handle(denied); err == nil {
		t.Error("a dump denied: no error")
	}
	if _, again, _ := m.handle(done(7, 0)); again {
		t.Error("the end of another dump was taken for this one's")
	}
	log.expect(t)
}

func FuzzMonitor(f *testing.F) {
	for _, message := range []syscall.NetlinkMessage{
		linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 2),
		linkMessage(unix.RTM_DELLINK, 0, 2, "kt7-a", carrying, 1500, 2),
		addressMessage(unix.RTM_NEWADDR, 0, 2, "2001:db8::2/64", 0),
		addressMessage(unix.RTM_DELADDR, 0, 2, "192.0.2.2/24", 0),
		{Header: syscall.NlMsghdr{Type: unix.NLMSG_ERROR, Seq: 1}, Data: number(1)},
		done(1, 0),
	} {
		f.Add(message.Header.Type, message.Header.Seq, message.Data)
	}
	f.Fuzz(func(t *testing.T, kind uint16, sequence uint32, data []byte) {
		m := newMonitor([]string{"kt7-a"}, func(Event) {})
		m.dump = dumping{unix.RTM_GETADDR, 1}
		m.newLink(linkMessage(unix.RTM_NEWLINK, 0, 2, "kt7-a", carrying, 1500, 2).Data)
		_, _, _ = m.handle(syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Seq: sequence}, Data: data})
	})
}

// watch runs Watch in the namespace of the caller's thread.
func watch(t *testing.T, interfaces ...string) (next func() Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, ended := make(chan Event, 4096), make(chan error, 1)
	s, err := subscribe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer s.closeWith(ctx)()
		ended <- newMonitor(interfaces, func(e Event) { events <- e }).run(s)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return func() Event {
		t.Helper()
		select {
		case e := <-events:
			return e
		case err := <-ended:
			t.Fatalf("watching ended: %v", err)
		case <-time.After(10 * time.Second):
			t.Fatal("no event in 10 s")
		}
		return Event{}
	}
}

// await takes events until one of the kind, about the interface, and fails at a kind that must not come before it.
func await(t *testing.T, next func() Event, name string, kind Kind, not ...Kind) Event {
	t.Helper()
	for {
		e := next()
		if e.Kind == kind && e.Link.Name == name {
			return e
		}
		if slices.Contains(not, e.Kind) {
			t.Fatalf("%s: %s before %s", e.Link.Name, e.Kind, kind)
		}
	}
}

func TestWatchTheKernel(t *testing.T) {
	inNamespace(t)
	a, peer := device(t, "kt7-a"), linkNamed(t, "kt7-a-p")
	if err := netlink.LinkSetDown(peer); err != nil {
		t.Fatal(err)
	}
	up(t, a)
	next := watch(t, "kt7-a", "kt7-late")
	await(t, next, "kt7-a", LinkAppeared, LinkUp)
	await(t, next, "", Synchronised, LinkUp)

	up(t, peer)
	if e := await(t, next, "kt7-a", LinkUp); !e.Link.Up || e.Link.MTU != a.Attrs().MTU || e.Link.Address == [6]byte{} {
		t.Errorf("%+v", e)
	}
	if err := netlink.AddrAdd(a, (&addressChange{Address: home}).message()); err != nil {
		t.Fatal(err)
	}
	for {
		if e := await(t, next, "kt7-a", AddressAdded, LinkDown); e.Address.Prefix == netip.PrefixFrom(home, 128) {
			break
		}
	}
	if err := netlink.LinkSetMTU(a, 1400); err != nil {
		t.Fatal(err)
	}
	if e := await(t, next, "kt7-a", LinkChanged, LinkDown); e.Link.MTU != 1400 || !e.Link.Up {
		t.Errorf("%+v", e)
	}

	// The peer goes and comes at once: the kernel may tell both or only that it is up.
	if err := netlink.LinkSetDown(peer); err != nil {
		t.Fatal(err)
	}
	up(t, peer)
	await(t, next, "kt7-a", LinkDown, LinkUp)
	await(t, next, "kt7-a", LinkUp, LinkDown)

	if err := netlink.LinkDel(a); err != nil {
		t.Fatal(err)
	}
	await(t, next, "kt7-a", LinkDown)
	await(t, next, "kt7-a", LinkVanished)
	device(t, "kt7-late")
	await(t, next, "kt7-late", LinkAppeared)
}

func TestWatchAfterLostNotifications(t *testing.T) {
	inNamespace(t)
	link := device(t, "kt7-a")
	up(t, link)
	s, err := subscribe()
	if err != nil {
		t.Fatal(err)
	}
	err = s.raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer s.closeWith(ctx)()
	// With nobody reading, the buffer overflows; what is true at last must be told nevertheless.
	for i := range 200 {
		if err := netlink.LinkSetMTU(link, 1300+i); err != nil {
			t.Fatal(err)
		}
	}
	if err := netlink.LinkSetMTU(link, 1280); err != nil {
		t.Fatal(err)
	}
	var last Link
	overruns := 0
	m := newMonitor([]string{"kt7-a"}, func(e Event) {
		if e.Kind == Synchronised {
			cancel()
			return
		}
		last = e.Link
	})
	if _, err := s.receive(true); err != nil {
		overruns++
	}
	_ = m.run(s) // ends because the socket is closed
	if overruns == 0 {
		t.Error("nothing was lost")
	}
	if last.MTU != 1280 {
		t.Errorf("at last: %+v, want MTU 1280", last)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := Watch(ctx, []string{"kt7-none"}, func(e Event) {
		if e.Kind != Synchronised {
			t.Errorf("told %s of %s", e.Kind, e.Link.Name)
		}
		cancel()
	})
	if err != nil {
		t.Error(err)
	}
}
