package forwarding

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/netstack/packet"
)

// plain is a home agent with native and UDP tunnels written as the RFCs are: lists searched from end to end, copies of
// everything.
type plain struct {
	bound []plainBinding
	now   time.Time
}

type plainBinding struct {
	prefix   netip.Prefix
	local    netip.Addr
	remote   netip.Addr
	port     uint16 // 0: native
	mtu      int
	previous *Previous
}

// left is what became of a packet: nothing, if zero.
type left struct {
	b      []byte
	toHost bool
	// Of datagrams.
	peer  netip.AddrPort
	local netip.Addr
	class byte
}

func (s *plain) find(a netip.Addr) (found *plainBinding) {
	for i, b := range s.bound {
		if b.prefix.Contains(a) && (found == nil || b.prefix.Bits() > found.prefix.Bits()) {
			found = &s.bound[i]
		}
	}
	return found
}

// comes says whether a packet from remote, port (0: native) to local may have the inner source that b is bound to.
func (s *plain) comes(b *plainBinding, remote netip.Addr, port uint16, local netip.Addr) bool {
	if b.remote == remote && b.port == port && b.local == local {
		return true
	}
	if v := b.previous; v != nil && v.Remote == remote && v.RemotePort == port && s.now.Before(v.Until) {
		return b.local == local || v.Local == local
	}
	return false
}

// congestion is RFC 6040 figure 4; 4 means drop. Rows are the inner field, columns the outer: Not-ECT, ECT(1), ECT(0), CE.
var congestion = [4][4]byte{{0, 0, 0, 4}, {1, 1, 1, 3}, {2, 1, 2, 3}, {3, 3, 3, 3}}

// forward says what becomes of a UDP packet, outside of a datagram if peer is not valid.
func (s *plain) forward(b []byte, peer netip.AddrPort, local netip.Addr, class byte) left {
	decapsulated := peer.IsValid()
	remote, port := peer.Addr(), peer.Port()
	if !decapsulated {
		if addrAt(b, 24) == ha {
			if b[6] != 41 {
				return left{toHost: true}
			}
			remote, local, class = addrAt(b, 8), ha, b[0]<<4|b[1]>>4
			b, decapsulated = b[40:], true
		}
	}
	b = bytes.Clone(b)
	source, destination := addrAt(b, 8), addrAt(b, 24)
	if decapsulated {
		if source == ha {
			return left{}
		}
		from := s.find(source)
		if peer.IsValid() && (from == nil || !s.comes(from, remote, port, local)) {
			if len(b) < 48 {
				return left{}
			}
			e := icmp6(ha, source, 255, 1, 5, 0, b[:min(len(b), 1280)-48])
			return left{b: e, peer: peer, local: local}
		}
		if from == nil {
			outside := tunnelled(class, remote, ha, b)
			outside[7] = 60
			e := icmp6(ha, remote, 64, 1, 5, 0, outside[:min(len(outside), max(len(outside)-48, 80), 1232)])
			return s.route(e)
		}
		if !s.comes(from, remote, port, local) {
			return left{}
		}
		ecn := congestion[b[1]>>4&3][class&3]
		if ecn == 4 {
			return left{}
		}
		b[1] = b[1]&^0x30 | ecn<<4
		if destination == ha {
			return left{toHost: true}
		}
	}
	if s.find(destination) == nil && !decapsulated {
		return left{}
	}
	if b[7] <= 1 {
		return s.error(b, 3, 0)
	}
	b[7]--
	return s.onward(b)
}

func (s *plain) onward(b []byte) left {
	to := s.find(addrAt(b, 24))
	if to == nil {
		if len(b) > 1500 {
			return s.error(b, 2, 1500)
		}
		return left{b: b}
	}
	overhead := 40
	if to.port != 0 {
		overhead = 48
		if to.remote.Is4() {
			overhead = 28
		}
	}
	if mtu := max(1280, min(to.mtu, 1500)-overhead); len(b) > mtu {
		return s.error(b, 2, uint32(mtu))
	}
	return s.route(b)
}

// route sends a packet on that fits.
func (s *plain) route(b []byte) left {
	class := b[0]<<4 | b[1]>>4
	switch to := s.find(addrAt(b, 24)); {
	case to == nil:
		return left{b: b}
	case to.port != 0:
		return left{b: b, peer: netip.AddrPortFrom(to.remote, to.port), local: to.local, class: class}
	default:
		return left{b: ipv6(class, ha, to.remote, 41, 64, b)}
	}
}

func (s *plain) error(about []byte, kind byte, parameter uint32) left {
	if addrAt(about, 8) == ha {
		return left{toHost: true}
	}
	return s.route(icmp6(ha, addrAt(about, 8), 64, kind, 0, parameter, about[:min(len(about), 1232)]))
}

func TestDatagramsAgainstPlainHomeAgent(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5555))
	pick := func(list ...netip.Addr) netip.Addr { return list[random.IntN(len(list))] }
	for range 60 {
		e := New(Options{Anchor: true, ErrorRate: 1_000_000, ErrorBurst: 1_000_000})
		must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
		must(t, e.SetPort(Port{ID: udpPort, UDP: true, MTU: 1500}))
		must(t, e.SetRoute(all, ethPort, router))
		must(t, e.SetLocal(ha, ethPort))
		w, s := e.NewWorker(), &plain{now: start}
		// Few addresses and ports, so that they meet often.
		home := func() netip.Addr {
			a := addr("2001:db8:a::").As16()
			a[7], a[15] = byte(random.IntN(2)), byte(2+random.IntN(5))
			return netip.AddrFrom16(a)
		}
		careOf := func() netip.Addr { return pick(c1, c2, m6) }
		// end is a random outer end: remote, port (0: native) and local.
		end := func() (remote netip.Addr, port uint16, local netip.Addr) {
			switch random.IntN(3) {
			case 0:
				return careOf(), 0, ha
			case 1:
				return pick(addr("198.51.100.1"), addr("198.51.100.2")), uint16(40000 + random.IntN(2)), pick(ha4, addr("192.0.2.2"))
			}
			return careOf(), uint16(40000 + random.IntN(2)), ha6
		}
		var live []plainBinding // to send from right places often
		for range 300 {
			s.now = s.now.Add(time.Duration(random.IntN(100)) * time.Millisecond)
			switch random.IntN(8) {
			case 0:
				b := plainBinding{prefix: netip.PrefixFrom(home(), []int{64, 126, 128}[random.IntN(3)]).Masked(), mtu: 1280 + random.IntN(300)}
				b.remote, b.port, b.local = end()
				if b.remote.Is4() && random.IntN(4) == 0 {
					b.mtu = 576 + random.IntN(700)
				}
				i := slices.IndexFunc(s.bound, func(o plainBinding) bool { return o.prefix == b.prefix })
				if i >= 0 && random.IntN(2) == 0 {
					old := s.bound[i]
					b.previous = &Previous{Remote: old.remote, RemotePort: old.port, Local: old.local, Until: s.now.Add(200 * time.Millisecond)}
					live = append(live, plainBinding{prefix: b.prefix, remote: old.remote, port: old.port, local: old.local})
				}
				tunnel := Tunnel{Local: b.local, Remote: b.remote, RemotePort: b.port, PathMTU: uint16(b.mtu), Previous: b.previous}
				tunnel.Via, tunnel.Port = b.port != 0, udpPort*PortID(min(b.port, 1))
				must(t, e.BindAnchored(b.prefix, tunnel))
				if i >= 0 {
					s.bound = slices.Delete(s.bound, i, i+1)
				}
				s.bound = append(s.bound, b)
				live = append(live, b)
			case 1:
				if len(s.bound) > 0 && random.IntN(2) == 0 {
					i := random.IntN(len(s.bound))
					e.UnbindAnchored(s.bound[i].prefix)
					s.bound = slices.Delete(s.bound, i, i+1)
				}
			}
			anybody := func() netip.Addr { return pick(home(), home(), home(), cn, ha) }
			source, destination := anybody(), anybody()
			remote, port, local := end()
			if len(live) > 0 && random.IntN(2) == 0 {
				b := live[random.IntN(len(live))]
				remote, port, local = b.remote, b.port, b.local
				a := b.prefix.Addr().As16()
				if b.prefix.Bits() < 128 {
					a[15] |= byte(1 + random.IntN(3))
				}
				source = netip.AddrFrom16(a)
			}
			inner := udpClass(byte(random.Uint32()), source, destination, random.IntN(1480))
			if random.IntN(3) == 0 {
				inner = udpClass(byte(random.Uint32()), source, destination, 1180+random.IntN(300))
			}
			inner[7] = []byte{0, 1, 2, 64, 64, 255}[random.IntN(6)]
			class := byte(random.Uint32())
			var want left
			var r *Result
			switch {
			case random.IntN(3) == 0:
				want = s.forward(inner, netip.AddrPort{}, netip.Addr{}, 0)
				r = w.Process(s.now, ethPort, []*packet.Packet{pkt(inner)})
			case port == 0:
				b := tunnelled(class, remote, ha, inner)
				want = s.forward(b, netip.AddrPort{}, netip.Addr{}, 0)
				r = w.Process(s.now, ethPort, []*packet.Packet{pkt(b)})
			default:
				peer := netip.AddrPortFrom(remote, port)
				want = s.forward(inner, peer, local, class)
				r = w.Process(s.now, udpPort, []*packet.Packet{datagram(inner, peer, local, class)})
			}
			got := left{toHost: len(r.ToHost) > 0}
			if datagrams := sent(r, udpPort); len(datagrams) > 0 {
				p := r.Outputs[0].Packets[0]
				got.b, got.peer, got.local, got.class = datagrams[0], p.Peer, p.Local, p.TrafficClass
				if len(datagrams) > 1 || len(r.Outputs) > 1 {
					t.Fatal("more than one packet")
				}
			} else if out := sent(r, ethPort); len(out) > 1 {
				whole, _, err := reassemble(out)
				must(t, err)
				got.b = whole
			} else if len(out) == 1 {
				got.b = out[0]
			}
			for _, l := range []*left{&got, &want} {
				if l.b != nil {
					l.b = masked(l.b)
				}
			}
			if !bytes.Equal(got.b, want.b) || got.toHost != want.toHost || got.peer != want.peer || got.local != want.local || got.class != want.class {
				t.Fatalf("%x from %v:%d to %v in class %#x\ngot  %+v\nwant %+v\n%v", inner[:60], remote, port, local, class, got, want, drops(e.Counters()))
			}
		}
		if c := e.Counters(); c[Encapsulated] == 0 || c[Decapsulated] == 0 || c[DropOuterSource] == 0 || c[ErrorsSent] == 0 {
			t.Errorf("nothing of some kind happened: %v", c)
		}
	}
}
