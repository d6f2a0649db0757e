// Package ethernet is the link to an Ethernet interface on which kedge has IPv6 addresses of its own beside the kernel's: a
// packet socket that sees every IPv6 frame for this interface, as the kernel does too, and sends frames of its own making.
//
// # Journey of a packet
//
// In: the kernel's filter passes IPv6 frames that are for this interface, for a group, or, on an access link, for one of
// the routers that kedge is there, but not TCP and UDP for addresses that the kernel itself has on the interface; a batch of them is received behind their virtio and Ethernet headers; neighbour
// discovery goes to the neighbour table, and with all others to the reader. Out: the next hop's link-layer address comes
// from the table without a lock; where it is not known the packet waits in the table, which makes a solicitation.
// Super-packets leave whole where the kernel can cut them up, and are cut up here behind tunnel headers.
//
// # Speed
//
// Nine tenths of the time that it takes to send tunnel packets the kernel spends, nearly all of it on each of them alone:
// sendmmsg saves system calls, not the way of a packet through the kernel. Copying segments out of a super-packet takes a
// fortieth. PACKET_QDISC_BYPASS saves about a tenth, but loses what does not fit the interface's queue at once, and goes
// past the operator's traffic control. What makes tunnels fast is to leave the cutting up to the kernel: package seg6, or UDP.
//
// # Lifetime
//
// One packet socket lives as long as the link. A goroutine listens to link messages of the kernel and binds the socket
// again when an interface of the name appears, so that an interface that vanishes and returns needs no one's help;
// another drives the neighbour table's timers.
package ethernet

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/internal/wait"
	"kedge/netstack/packet"
)

// DefaultBuffer is the size in octets of the socket's buffers: some milliseconds at 10 Gbit/s.
const DefaultBuffer = 8 << 20

// Config says what to open.
type Config struct {
	// Interface is the interface's name. It need not exist yet.
	Interface string
	// Offload lets Read hand over super-packets and packets with partial checksums, and Write join TCP segments and leave
	// the cutting to the kernel. Without it packets are ordinary both ways.
	Offload bool
	// Buffer is the size of the socket's receive buffer in octets; DefaultBuffer if 0. Without CAP_NET_ADMIN the kernel
	// may grant less.
	Buffer int
	// Changed is called, if not nil, when the interface has appeared, vanished, or changed in a way that State tells,
	// first before Open returns. It must not call methods of the Link that write or wait.
	Changed func(State)
}

// State is what is known of the interface.
type State struct {
	// Present says that an Ethernet interface of the name exists and frames can pass once it is up.
	Present bool
	// Up says that it is up and has a carrier.
	Up bool
	// Index is the kernel's number for it; another number means another interface.
	Index int
	// Address is its link-layer address.
	Address packet.LinkAddress
	// MTU is the longest IP packet in octets.
	MTU int
}

// Link is an Ethernet interface. It implements netstack.Link.
type Link struct {
	config   Config
	file     *os.File // the packet socket
	raw      syscall.RawConn
	waiting  *wait.Reader
	monitor  *os.File // the netlink socket
	closed   atomic.Bool
	done     chan struct{}
	running  sync.WaitGroup
	state    atomic.Pointer[State]
	bound    int // interface index; used by the monitor's goroutine only
	hostsOf  int // the one whose addresses the filter has; likewise
	attached atomic.Pointer[attachment]
	attach   chan struct{} // has a value when attached has changed
	noUSO    atomic.Bool   // the kernel does not cut up UDP
	// members guards membership, and that it fits the state.
	members    sync.Mutex
	membership membership
	counters   counters
	read       reader
	writing    sync.Mutex
	write      writer // guarded by writing
}

var _ netstack.Link = (*Link)(nil)

type counters struct {
	truncated, invalid, unresolved, refused, tooBig, noBuffers, down atomic.Uint64

	statistics sync.Mutex
	overflow   uint64 // guarded by statistics
}

// Counters count dropped packets since the link was opened.
type Counters struct {
	// Overflow packets found the receive buffer full. Truncated ones are longer than the buffers given to Read. Invalid
	// ones have lengths or an offload state that do not fit them.
	Overflow, Truncated, Invalid uint64
	// Unresolved packets were given to Write without a usable next hop while no neighbour table was attached.
	Unresolved uint64
	// TooBig packets exceeded the interface's MTU, NoBuffers ones met a full queue or no memory, Down ones an interface
	// that was down or absent. Refused ones were malformed or met any other error of the kernel.
	TooBig, NoBuffers, Down, Refused uint64
}

// Open makes a link. An interface that does not exist, or is no Ethernet interface, is waited for. The error says that a
// packet socket cannot be had (os.ErrPermission: it needs CAP_NET_RAW).
func Open(config Config) (*Link, error) {
	if config.Buffer == 0 {
		config.Buffer = DefaultBuffer
	}
	l := &Link{config: config, done: make(chan struct{}), attach: make(chan struct{}, 1)}
	l.state.Store(&State{})
	fd, err := openSocket(config.Buffer)
	if err != nil {
		return nil, err
	}
	l.file = os.NewFile(uintptr(fd), "packet socket of "+config.Interface)
	if l.raw, err = l.file.SyscallConn(); err == nil {
		l.waiting, err = wait.NewReader()
	}
	if err == nil {
		l.monitor, err = openMonitor()
	}
	if err != nil {
		if l.waiting != nil {
			l.waiting.End()
		}
		l.file.Close()
		return nil, err
	}
	l.prepareRead()
	l.prepareWrite()
	l.refresh()
	l.running.Add(2)
	go l.watch()
	go l.tick()
	return l, nil
}

// Name is the interface's name.
func (l *Link) Name() string { return l.config.Interface }

// State is what is known of the interface now.
func (l *Link) State() State { return *l.state.Load() }

// HardwareAddr is the interface's link-layer address; zero while it is absent.
func (l *Link) HardwareAddr() packet.LinkAddress { return l.State().Address }

// MTU is the interface's; 0 while it is absent.
func (l *Link) MTU() int { return l.State().MTU }

// Features is all of them with Config.Offload.
func (l *Link) Features() packet.Features {
	if !l.config.Offload {
		return 0
	}
	return packet.PartialChecksum | packet.SegmentTCP | packet.SegmentUDP
}

// Counters returns the counts up to now.
func (l *Link) Counters() Counters {
	c := &l.counters
	c.statistics.Lock()
	defer c.statistics.Unlock()
	l.raw.Control(func(fd uintptr) {
		// Reading them resets them.
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.overflow += uint64(s.Drops)
		}
	})
	return Counters{
		Overflow: c.overflow, Truncated: c.truncated.Load(), Invalid: c.invalid.Load(),
		Unresolved: c.unresolved.Load(), Refused: c.refused.Load(), TooBig: c.tooBig.Load(), NoBuffers: c.noBuffers.Load(),
		Down: c.down.Load(),
	}
}

// Close implements netstack.Link. It waits for the link's goroutines.
func (l *Link) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	close(l.done)
	l.waiting.End()
	l.monitor.SetReadDeadline(time.Unix(1, 0))
	err := errors.Join(l.file.Close(), l.monitor.Close())
	l.running.Wait()
	return err
}
