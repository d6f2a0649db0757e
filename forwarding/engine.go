// Package forwarding says what happens to a packet between in and out. It is pure: it reads no clock, opens nothing and
// starts no goroutine.
//
// An Engine is the control side. It holds ports (links, by number), kedge's own addresses, routes and bindings, and
// publishes them as one immutable state that workers read through an atomic pointer; a change copies only the path in
// the table that it touches. Bindings of single addresses alone are changed in place. A Worker is the packet side, one per goroutine. Worker.Process takes the packets that one
// port received and says where each goes: to ports, to the gVisor host, to signalling, or to neighbour discovery.
// Packets that end anywhere else are dropped and counted under a reason.
//
// Journeys:
//
//	TUN -> source held by this mobile node -> tunnel to the home agent, or natively when at home
//	    (with EnableFlows, its flow may have another source, which this mobile node holds too)
//	TUN -> destination served by this anchor -> tunnel to the care-of address
//	Ethernet -> own address, next header 41 -> decapsulated:
//	    destination held by this mobile node, from its home agent -> TUN
//	    source served by this anchor, from its care-of address -> routed, another tunnel, or this node
//	Ethernet -> own address, anything else -> host or signalling
//	Ethernet -> neighbour discovery, whatever its destination -> Result.Neighbor
//	Ethernet -> destination served by this anchor -> tunnel to the care-of address
//	Ethernet or tunnel to its anchor -> destination attached here -> access port
//	access port -> source attached there -> tunnel to its anchor, or routed if it is anchored here
//
// Multicast is not carried through tunnels in either direction (RFC 6275 section 10.4.3 makes it optional): such
// packets are dropped under MulticastRefused.
package forwarding

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// PortID numbers a link.
type PortID uint8

// Port is a link as forwarding sees it.
type Port struct {
	ID PortID
	// Host marks a TUN to this host's kernel. The lowest numbered one takes what is for the mobile node's addresses.
	Host bool
	// Access marks a link to mobile nodes without mobility software, and to nothing else: what comes in must be from an
	// address that BindAttached bound to its sender there.
	Access bool
	// UDP marks a link of UDP datagrams (RFC 5555 section 4.1): its packets are what stands in them, and say in Peer and
	// Local where they came from or go. MTU is that of the IP packets around them.
	UDP bool
	// Encapsulates marks a link whose other side puts the outer header around what a tunnel sends (RFC 2473), a kernel with
	// a route that encapsulates say: the engine leaves it out, and super-packets stay whole. NextHop is the tunnel's Remote
	// then. MTU is that of the packets with the outer header.
	Encapsulates bool
	// MTU is the longest IP packet in octets that the port carries, at least 1280.
	MTU int
	// Features is the offload state that the port takes; the engine finishes what it does not.
	Features packet.Features
}

// Tunnel is an IPv6-in-IPv6 tunnel (RFC 2473), or one of IPv6 in UDP (RFC 5555 section 4.1), as a binding uses it.
type Tunnel struct {
	// Local is this node's end, an own address; Remote is the peer's: the care-of address at an anchor, the home agent
	// at a mobile node.
	Local, Remote netip.Addr
	// Previous, if not nil, is what Remote was before, at an anchor.
	Previous *Previous
	// Via says that tunnel packets leave by Port to NextHop; else by the route to Remote. An invalid NextHop with Via
	// means that Remote is on-link.
	NextHop netip.Addr
	Via     bool
	Port    PortID
	// Native says that the mobile node is at home: its packets leave without encapsulation, by Port to NextHop or the
	// route to their destination. Packets that still come through the tunnel from Remote, if valid, are taken.
	Native bool
	// Down says that the mobile node has no binding for the prefix now. What its host sends is refused; Mobility Headers
	// for the prefix still reach signalling. Nothing else of the Tunnel counts then.
	Down bool
	// RemotePort, if not zero, is the peer's UDP port: packets go in datagrams then, by Port, which is a UDP port. Local
	// and Remote are addresses of the host's and the peer's kernels, IPv6 or IPv4.
	RemotePort uint16
	// PathMTU is that of the outer path in octets; 0 if nothing is known but the port's MTU.
	PathMTU uint16
}

// Previous is a care-of address that a mobile node had before the present one. Until then, an anchor takes packets out of
// the tunnel from there too: they left before the mobile node moved. RFC 6275 section 10.4.5 does not have this. It is
// immutable.
type Previous struct {
	Remote netip.Addr
	// RemotePort is the UDP port of Remote; zero if the tunnel was none of UDP.
	RemotePort uint16
	// Local is where packets from Remote came to; invalid if that is where they come to now.
	Local netip.Addr
	Until time.Time
}

// Options are set once, when the engine is made.
type Options struct {
	// Anchor says that the node forwards for others: a tunnelled packet without a binding is answered with an ICMPv6
	// Destination Unreachable, so that a mobile node notices an anchor that lost its bindings.
	Anchor bool
	// AwaitBindings hands back what comes through the tunnel right behind a Mobility Header message as Result.Early.
	AwaitBindings bool
	// ForwardByHost has the host's kernel forward what comes out of tunnels and is for no binding here: it goes to the Host
	// port, and the kernel counts its hop.
	ForwardByHost bool
	// ErrorRate and ErrorBurst bound the ICMPv6 errors that each worker sends to one address (RFC 4443 section 2.4 f),
	// in messages a second and messages. Zero means 10 and 10.
	ErrorRate, ErrorBurst int
}

// Engine is the control side. Its methods are safe for concurrent use.
type Engine struct {
	options Options
	epoch   time.Time
	// flowSeed keys the outer flow labels; fragmentID numbers fragmented tunnel packets (RFC 8200 section 4.5).
	flowSeed   [2]uint64
	fragmentID atomic.Uint32

	state atomic.Pointer[state]

	mu      sync.Mutex // guards changes of state, and workers and retired
	workers []*Worker
	retired [counterCount]uint64
}

// state is what workers read. Everything in it is immutable, but for hosts.
type state struct {
	// generation is different in states that differ in more than choices and classifier of flows.
	generation uint64
	ports      *[256]*Port
	host       *Port
	locals     *bart.Table[*local]
	routes     *bart.Table[*route]
	served     *bart.Table[*binding] // anchored or attached here, but for single addresses
	hosts      *hosts                // those: the one part that changes in place
	mobile     *bart.Table[*binding]
	paths      *bart.Table[*path]
	// optimizations is nil if there are none.
	optimizations *optimizations
	// flows is nil on nodes that keep none.
	flows *flows
	// sources are the addresses that ICMPv6 errors come from, by port; fallback is for ports without one.
	sources  *[256]netip.Addr
	fallback netip.Addr
	// anyMobile saves looking into an empty table.
	anyMobile, anyPaths, anyServed bool
}

type local struct {
	address netip.Addr
	port    PortID
}

type route struct {
	port    PortID
	nextHop netip.Addr
}

// Errors of the control side; they are wrapped with what was wrong.
var (
	ErrAddress = errors.New("not an IPv6 unicast address, nor an IPv4 one for UDP")
	ErrPrefix  = errors.New("not an IPv6 prefix")
	ErrMTU     = errors.New("MTU below 1280")
	ErrLoop    = errors.New("tunnel leads back to this node")
	ErrPort    = errors.New("a port is to the host, to mobile nodes, of datagrams or one that encapsulates, one of these")
	ErrUDP     = errors.New("a UDP tunnel is between addresses of one family and has a port")
)

// New makes an engine without ports, addresses or routes.
func New(options Options) *Engine {
	if options.ErrorRate <= 0 {
		options.ErrorRate = 10
	}
	if options.ErrorBurst <= 0 {
		options.ErrorBurst = 10
	}
	e := &Engine{options: options, epoch: time.Now()}
	var seed [20]byte
	rand.Read(seed[:]) // never fails: crypto/rand ends the program instead
	e.flowSeed = [2]uint64{binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])}
	e.fragmentID.Store(binary.LittleEndian.Uint32(seed[16:]))
	e.state.Store(&state{
		generation: 1,
		ports:      new([256]*Port),
		locals:     new(bart.Table[*local]),
		routes:     new(bart.Table[*route]),
		served:     new(bart.Table[*binding]),
		hosts:      &hosts{seed: e.flowSeed},
		mobile:     new(bart.Table[*binding]),
		paths:      new(bart.Table[*path]),
		sources:    new([256]netip.Addr),
	})
	return e
}

// change publishes a copy of the state after edit.
func (e *Engine) change(edit func(*state)) {
	e.changeIf(func(s *state) bool {
		edit(s)
		return true
	})
}

// changeIf publishes a copy of the state after edit, unless edit says that it has left it as it was: a binding that is
// refreshed should not make workers forget what they remember.
func (e *Engine) changeIf(edit func(*state) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := *e.state.Load()
	s.generation++
	if edit(&s) {
		e.state.Store(&s)
	}
}

// SetPort adds a port or replaces the one with its ID.
func (e *Engine) SetPort(p Port) error {
	if p.MTU < ip6.MinimumMTU {
		return fmt.Errorf("port %d: %w: %d", p.ID, ErrMTU, p.MTU)
	}
	if kinds(p.Host, p.Access, p.UDP, p.Encapsulates) > 1 {
		return fmt.Errorf("port %d: %w", p.ID, ErrPort)
	}
	e.setPort(p.ID, &p)
	return nil
}

func kinds(kind ...bool) (n int) {
	for _, is := range kind {
		if is {
			n++
		}
	}
	return n
}

// RemovePort takes a port away. Routes and tunnels that name it drop their packets until it is back.
func (e *Engine) RemovePort(id PortID) { e.setPort(id, nil) }

func (e *Engine) setPort(id PortID, p *Port) {
	e.change(func(s *state) {
		ports := *s.ports
		ports[id] = p
		s.ports, s.host = &ports, nil
		for _, q := range s.ports {
			if q != nil && q.Host {
				s.host = q
				break
			}
		}
	})
}

// SetLocal makes address one of this node's own, on a port. It may be link-local.
func (e *Engine) SetLocal(address netip.Addr, port PortID) error {
	if !unicast(address) {
		return fmt.Errorf("%w: %v", ErrAddress, address)
	}
	l := &local{address.WithZone(""), port}
	e.change(func(s *state) {
		s.locals = s.locals.InsertPersist(netip.PrefixFrom(l.address, 128), l)
		s.chooseSources()
	})
	return nil
}

// RemoveLocal takes an own address away.
func (e *Engine) RemoveLocal(address netip.Addr) {
	e.change(func(s *state) {
		s.locals = s.locals.DeletePersist(netip.PrefixFrom(address.WithZone(""), 128))
		s.chooseSources()
	})
}

// chooseSources picks the lowest own address of each port that is not link-local to send ICMPv6 errors from.
func (s *state) chooseSources() {
	s.sources, s.fallback = new([256]netip.Addr), netip.Addr{}
	for _, l := range s.locals.AllSorted() {
		if l.address.IsLinkLocalUnicast() {
			continue
		}
		if !s.sources[l.port].IsValid() {
			s.sources[l.port] = l.address
		}
		if !s.fallback.IsValid() {
			s.fallback = l.address
		}
	}
}

// SetRoute sends packets for prefix out of a port to nextHop, or to their own destination if nextHop is invalid
// (on-link). It replaces the route to the same prefix.
func (e *Engine) SetRoute(prefix netip.Prefix, port PortID, nextHop netip.Addr) error {
	if !isPrefix(prefix) {
		return fmt.Errorf("route: %w: %v", ErrPrefix, prefix)
	}
	if nextHop.IsValid() && !unicast(nextHop) {
		return fmt.Errorf("route to %v: next hop: %w: %v", prefix, ErrAddress, nextHop)
	}
	r := &route{port, nextHop.WithZone("")}
	e.changeIf(func(s *state) bool {
		if old, ok := s.routes.Get(prefix.Masked()); ok && *old == *r {
			return false
		}
		s.routes = s.routes.InsertPersist(prefix.Masked(), r)
		return true
	})
	return nil
}

// RemoveRoute takes a route away.
func (e *Engine) RemoveRoute(prefix netip.Prefix) {
	if isPrefix(prefix) {
		e.change(func(s *state) { s.routes = s.routes.DeletePersist(prefix.Masked()) })
	}
}

func unicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

// endpoint reports whether an address can be an end of a UDP tunnel. A link-local IPv6 one cannot, without its zone.
func endpoint(a netip.Addr) bool {
	if a.Is4() {
		return !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && a != broadcast
	}
	return unicast(a) && !a.IsLinkLocalUnicast()
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func isPrefix(p netip.Prefix) bool { return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() }
