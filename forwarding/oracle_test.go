package forwarding

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// slow is a home agent written as the RFCs are: lists searched from end to end, copies of everything.
type slow struct {
	locals []netip.Addr
	bound  []slowBinding
}

type slowBinding struct {
	prefix netip.Prefix
	remote netip.Addr
	mtu    int
}

func (s *slow) find(a netip.Addr) (found *slowBinding) {
	for i, b := range s.bound {
		if b.prefix.Contains(a) && (found == nil || b.prefix.Bits() > found.prefix.Bits()) {
			found = &s.bound[i]
		}
	}
	return found
}

// forward says what becomes of a UDP packet: what goes out, whole and before fragmentation, or to the host.
func (s *slow) forward(b []byte) (out []byte, toHost bool) {
	source, destination := addrAt(b, 8), addrAt(b, 24)
	decapsulated := false
	if slices.Contains(s.locals, destination) {
		if b[6] != 41 {
			return nil, true
		}
		inner := bytes.Clone(b[40:])
		if slices.Contains(s.locals, addrAt(inner, 8)) {
			return nil, false
		}
		from := s.find(addrAt(inner, 8))
		if from == nil {
			return s.error(b, 1, 5, 0)
		}
		if from.remote != source {
			return nil, false
		}
		b, decapsulated = inner, true
		destination = addrAt(b, 24)
		if slices.Contains(s.locals, destination) {
			return nil, true
		}
	}
	to := s.find(destination)
	if to == nil && !decapsulated {
		return nil, false
	}
	if b[7] <= 1 {
		return s.error(b, 3, 0, 0)
	}
	b = bytes.Clone(b)
	b[7]--
	if to == nil {
		if len(b) > 1500 {
			return s.error(b, 2, 0, 1500)
		}
		return b, false
	}
	if mtu := max(1280, to.mtu-40); len(b) > mtu {
		return s.error(b, 2, 0, uint32(mtu))
	}
	if slices.Contains(s.locals, to.remote) {
		return nil, false
	}
	return ipv6(0, ha, to.remote, 41, 64, b), false
}

// error makes an error, which goes through a tunnel itself if its destination is bound.
func (s *slow) error(about []byte, kind, code byte, parameter uint32) (out []byte, toHost bool) {
	if slices.Contains(s.locals, addrAt(about, 8)) {
		return nil, true
	}
	limit := 1280 - 48
	if code == 5 {
		limit = max(len(about)-48, 80)
	}
	b := icmp6(ha, addrAt(about, 8), 64, kind, code, parameter, about[:min(len(about), limit, 1232)])
	if to := s.find(addrAt(b, 24)); to != nil {
		return ipv6(0, ha, to.remote, 41, 64, b), false
	}
	return b, false
}

func TestAgainstSlowHomeAgent(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		e := New(Options{Anchor: true, ErrorRate: 1_000_000, ErrorBurst: 1_000_000})
		must(t, e.SetPort(Port{ID: ethPort, MTU: 1500}))
		must(t, e.SetRoute(netip.MustParsePrefix("::/0"), ethPort, router))
		w := e.NewWorker()
		s := &slow{locals: []netip.Addr{ha}}
		must(t, e.SetLocal(ha, ethPort))
		// Few addresses, so that they meet often: homes and prefixes of 2001:db8:a::/48, care-of addresses elsewhere.
		home := func() netip.Addr {
			a := addr("2001:db8:a::").As16()
			a[7], a[15] = byte(random.IntN(3)), byte(2+random.IntN(6))
			return netip.AddrFrom16(a)
		}
		careOf := func() netip.Addr {
			a := addr("2001:db8:c::").As16()
			a[15] = byte(1 + random.IntN(4))
			return netip.AddrFrom16(a)
		}
		anybody := func() netip.Addr {
			return []func() netip.Addr{home, home, careOf, func() netip.Addr { return ha }}[random.IntN(4)]()
		}
		for range 200 {
			switch random.IntN(10) {
			case 0:
				prefix := netip.PrefixFrom(home(), []int{64, 126, 128}[random.IntN(3)]).Masked()
				b := slowBinding{prefix, careOf(), []int{1280, 1300, 1400, 1500}[random.IntN(4)]}
				must(t, e.BindAnchored(prefix, Tunnel{Local: ha, Remote: b.remote, PathMTU: uint16(b.mtu)}))
				s.bound = append(slices.DeleteFunc(s.bound, func(o slowBinding) bool { return o.prefix == prefix }), b)
			case 1:
				if len(s.bound) > 0 {
					i := random.IntN(len(s.bound))
					e.UnbindAnchored(s.bound[i].prefix)
					s.bound = slices.Delete(s.bound, i, i+1)
				}
			}
			b := udp(anybody(), anybody(), random.IntN(1500))
			b[7] = []byte{0, 1, 2, 64}[random.IntN(4)]
			if random.IntN(2) == 0 {
				b = tunnelled(0, careOf(), ha, b)
			}
			want, toHost := s.forward(b)
			r := process(w, ethPort, b)
			if (len(r.ToHost) > 0) != toHost {
				t.Fatalf("%x: to the host: %v", b[:80], !toHost)
			}
			out := sent(r, ethPort)
			if len(out) > 1 {
				whole, _, err := reassemble(out)
				must(t, err)
				out = [][]byte{whole}
			}
			var got []byte
			if len(out) == 1 {
				got = masked(out[0])
			}
			if want != nil {
				want = masked(want)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%x:\ngot  %x\nwant %x\n%v", b[:min(len(b), 80)], got, want, drops(e.Counters()))
			}
		}
	}
}

// masked takes out what is not the same at both: the flow label.
func masked(b []byte) []byte {
	b, _ = flowless(b)
	return b
}
