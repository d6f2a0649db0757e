// Package scale measures an anchor with very many bindings: its home agent, with a mobile node and a key for each, and its
// forwarding engine, put together as a node does.
//
//	go test ./tests/scale                                      memory per binding, at a size that takes a few seconds
//	KEDGE_SCALE=1000000 go test -v -run TestAnchorScale ./tests/scale
//	go test -run XXX -bench . ./tests/scale                    time, at 1,000 to 1,000,000 bindings
package scale

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding"
	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/homeagent"
	"kedge/signaling/mh"
)

var (
	noon      = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	home      = netip.MustParsePrefix("2001:db8:1::/64")
	homeAgent = netip.MustParseAddr("2001:db8:1::1")
	router    = netip.MustParseAddr("fe80::1")
	peer      = netip.MustParseAddr("2001:db8:cc::1")
	kernel    = netip.MustParseAddr("192.0.2.1")
)

const (
	ethernet forwarding.PortID = iota
	datagrams
)

// anchor is a home agent and the engine that it drives.
type anchor struct {
	tb     testing.TB
	n      int
	udp    bool
	agent  *homeagent.Machine
	engine *forwarding.Engine
	worker *forwarding.Worker
	now    time.Time
	// sent counts acknowledgements.
	sent int
}

// scramble is a permutation of 64-bit numbers, so that interface identifiers look random, as those of RFC 7217 do.
func scramble(x uint64) uint64 {
	x = (x ^ x>>31) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>33
}

func address(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

func homeOf(i int) netip.Addr { return address(0x20010db8_00010000, scramble(uint64(i)+1)|1<<57) }

// careOf is in one of 16,384 access networks.
func careOf(i, moves int) netip.Addr {
	x := scramble(uint64(i)<<20 + uint64(moves) + 1<<60)
	return address(0x20010db8_80000000|x>>50, x)
}

func identifierOf(i int) string { return fmt.Sprintf("mn%d@example.net", i) }

func spiOf(i int) uint32 { return uint32(auth.FirstSPI + i) }

func keyOf(i int) auth.Key {
	key := make(auth.Key, 16)
	binary.BigEndian.PutUint64(key, scramble(uint64(i)+1<<40))
	return key
}

// newAnchor is an anchor of n mobile nodes, none of which has registered.
func newAnchor(tb testing.TB, n int, udp bool) *anchor {
	c := homeagent.Config{
		Address: homeAgent, HomePrefixes: []homeagent.HomePrefix{{Prefix: home}}, MaxLifetime: 10 * time.Minute,
		MobileNodes: make([]homeagent.MobileNode, n), Associations: make(map[uint32]auth.Association, n),
	}
	for i := range c.MobileNodes {
		c.MobileNodes[i] = homeagent.MobileNode{Identifier: identifierOf(i), HomeAddress: homeOf(i), SPI: spiOf(i)}
		c.Associations[spiOf(i)] = auth.Association{SPI: spiOf(i), Algorithm: auth.HMACSHA256, Key: keyOf(i)}
	}
	agent, err := homeagent.New(c, noon)
	must(tb, err)
	e := forwarding.New(forwarding.Options{Anchor: true})
	must(tb, e.SetPort(forwarding.Port{ID: ethernet, MTU: 1500}))
	must(tb, e.SetPort(forwarding.Port{ID: datagrams, MTU: 1500, UDP: true}))
	must(tb, e.SetLocal(homeAgent, ethernet))
	must(tb, e.SetRoute(netip.MustParsePrefix("::/0"), ethernet, router))
	return &anchor{tb: tb, n: n, udp: udp, agent: agent, engine: e, worker: e.NewWorker(), now: noon}
}

// update is the Binding Update of mobile node i, signed at the anchor's time.
func (a *anchor) update(i, moves int) signaling.Received {
	to := careOf(i, moves)
	bu := &mh.BindingUpdate{
		Sequence: uint16(moves), Acknowledge: true, HomeRegistration: true, Lifetime: 10 * time.Minute,
		Options: mh.Options{&mh.AlternateCareOf{Address: to}},
	}
	key := auth.Association{SPI: spiOf(i), Algorithm: auth.HMACSHA256, Key: keyOf(i), Identifier: identifierOf(i)}
	payload, err := auth.Sign(bu, key, to, homeOf(i), mh.NTPTimeOf(a.now))
	must(a.tb, err)
	mh.SetChecksum(payload, homeOf(i), homeAgent)
	return signaling.Received{Source: to, Destination: homeAgent, HomeAddress: homeOf(i), Payload: payload}
}

// register has all mobile nodes register from their care-of addresses after so many moves.
func (a *anchor) register(moves int) {
	for i := range a.n {
		a.handle(a.update(i, moves))
	}
}

func (a *anchor) handle(e signaling.Event) { a.carryOut(a.agent.Handle(a.now, e)) }

// carryOut does what a node does.
func (a *anchor) carryOut(effects []signaling.Effect) {
	for _, effect := range effects {
		switch e := effect.(type) {
		case signaling.Send:
			a.sent++
		case signaling.Bind:
			must(a.tb, a.engine.BindAnchored(e.Home, a.tunnel(e.Remote)))
		case signaling.Unbind:
			a.engine.UnbindAnchored(e.Home)
		}
	}
}

// tunnel is that to a care-of address. In datagrams they all lead to IPv4 addresses and ports.
func (a *anchor) tunnel(careOf netip.Addr) forwarding.Tunnel {
	if !a.udp {
		return forwarding.Tunnel{Local: homeAgent, Remote: careOf}
	}
	b := careOf.As16()
	return forwarding.Tunnel{
		Local: kernel, Remote: netip.AddrFrom4([4]byte{100, 64 + b[13]%64, b[14], b[15]}), RemotePort: 1024 | uint16(b[12])<<8,
		Via: true, Port: datagrams,
	}
}

// downlink is a batch of packets to mobile nodes, which are other ones each time that it is aimed.
type downlink struct {
	packets []*packet.Packet
	next    uint64
}

func newDownlink(size int) *downlink {
	d := &downlink{}
	for range size {
		b := make([]byte, 40+8+16)
		b[0], b[5], b[6], b[7] = 0x60, 8+16, 17, 64
		copy(b[8:], peer.AsSlice())
		copy(b[40:], []byte{0x0f, 0xa0, 0x13, 0x88, 0, 8 + 16, 0, 1})
		p := packet.New(packet.SmallLength)
		p.Set(b)
		d.packets = append(d.packets, p)
	}
	return d
}

// aim addresses the packets to random ones of n mobile nodes.
func (d *downlink) aim(n int) {
	for _, p := range d.packets {
		d.next++
		to := homeOf(int(scramble(d.next) % uint64(n))).As16()
		b := p.Bytes()
		if b[6] == 41 { // it has been through a tunnel
			p.TrimFront(40)
			b = p.Bytes()
		}
		b[7] = 64
		copy(b[24:], to[:])
	}
}

func must(tb testing.TB, err error) {
	if err != nil {
		tb.Helper()
		tb.Fatal(err)
	}
}
