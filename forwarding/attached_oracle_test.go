package forwarding

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"kedge/netstack/packet"
)

// slowRouter is a MAAR, local mobility anchor and mobile access gateway written as the RFCs are: lists searched from end to end.
type slowRouter struct {
	anchored []slowBinding
	attached []slowAttached
	use      map[netip.Prefix][4]uint64 // native from and to, tunnelled from and to
}

type slowAttached struct {
	prefix netip.Prefix
	Attached
}

func (s *slowRouter) bound(a netip.Addr) (found *slowBinding) {
	for i := range s.anchored {
		if s.anchored[i].prefix.Contains(a) {
			found = &s.anchored[i]
		}
	}
	return found
}

func (s *slowRouter) here(a netip.Addr) (found *slowAttached) {
	for i := range s.attached {
		if s.attached[i].prefix.Contains(a) {
			found = &s.attached[i]
		}
	}
	return found
}

func (s *slowRouter) count(a *slowAttached, at int) {
	u := s.use[a.prefix]
	u[at]++
	s.use[a.prefix] = u
}

// deliver sends b to an access link, by tunnel, or, where others is true, to anybody else.
func (s *slowRouter) deliver(b []byte, others bool) ([]byte, PortID) {
	b = hopped(b)
	if a := s.here(addrAt(b, 24)); a != nil {
		s.count(a, 1)
		return b, a.Port
	}
	if to := s.bound(addrAt(b, 24)); to != nil {
		return ipv6(0, maar, to.remote, 41, 64, b), ethPort
	}
	if !others {
		return nil, 0
	}
	return b, ethPort
}

// said is what becomes of a mobile node's packet.
func (s *slowRouter) said(b []byte, port PortID, from packet.LinkAddress) ([]byte, PortID) {
	a := s.here(addrAt(b, 8))
	switch {
	case a == nil || a.Port != port || a.MobileNode != from:
		return nil, 0
	case a.Tunnel.Native:
		s.count(a, 0)
		return s.deliver(b, true)
	}
	s.count(a, 2)
	return ipv6(0, maar, a.Tunnel.Remote, 41, 64, hopped(b)), ethPort
}

// came is what becomes of a packet on the core link, out of a tunnel from outer if that is valid.
func (s *slowRouter) came(b []byte, outer netip.Addr) ([]byte, PortID) {
	a := s.here(addrAt(b, 24))
	if !outer.IsValid() {
		if a != nil && !a.Tunnel.Native {
			return nil, 0
		}
		return s.deliver(b, false)
	}
	if from := s.bound(addrAt(b, 8)); from != nil && from.remote == outer {
		return s.deliver(b, true)
	}
	if a != nil && !a.Tunnel.Native && a.Tunnel.Remote == outer {
		s.count(a, 3)
		return hopped(b), a.Port
	}
	return nil, 0
}

func TestAgainstSlowAccessRouter(t *testing.T) {
	random := rand.New(rand.NewPCG(8885, 5213))
	for range 60 {
		e, _ := accessRouter(t)
		for _, p := range []netip.Prefix{local1, local2, local3, earlier1} {
			e.UnbindAttached(p)
		}
		e.UnbindAnchored(gone)
		w := e.NewWorker()
		s := &slowRouter{use: map[netip.Prefix][4]uint64{}}
		// Few of everything, so that it meets often.
		prefix := func() netip.Prefix {
			a := addr("2001:db8:b:1::").As16()
			a[7] = byte(1 + random.IntN(6))
			return netip.PrefixFrom(netip.AddrFrom16(a), 64)
		}
		peer := func() netip.Addr { return []netip.Addr{previous, serving, c1}[random.IntN(3)] }
		mac := func() packet.LinkAddress { return []packet.LinkAddress{mac1, mac2}[random.IntN(2)] }
		port := func() PortID { return []PortID{access1, access2}[random.IntN(2)] }
		anybody := func() netip.Addr {
			if random.IntN(5) == 0 {
				return cn
			}
			return within(prefix())
		}
		for range 300 {
			p := prefix()
			switch random.IntN(8) {
			case 0:
				s.anchored = without(s.anchored, func(b slowBinding) bool { return b.prefix == p })
				e.UnbindAnchored(p)
			case 1, 2:
				remote := peer()
				s.anchored = append(without(s.anchored, func(b slowBinding) bool { return b.prefix == p }), slowBinding{p, remote, 0})
				must(t, e.BindAnchored(p, Tunnel{Local: maar, Remote: remote}))
			case 3:
				s.attached = without(s.attached, func(a slowAttached) bool { return a.prefix == p })
				delete(s.use, p)
				e.UnbindAttached(p)
			case 4, 5:
				a := here(port(), mac())
				if random.IntN(2) == 0 {
					a = through(a.Port, a.MobileNode, peer())
				}
				s.attached = append(without(s.attached, func(a slowAttached) bool { return a.prefix == p }), slowAttached{p, a})
				must(t, e.BindAttached(p, a))
			}
			b := udp(anybody(), anybody(), 8)
			var want []byte
			var out PortID
			var r *Result
			if random.IntN(2) == 0 {
				at, from := port(), mac()
				want, out = s.said(b, at, from)
				r = said(w, at, from, b)
			} else {
				var outer netip.Addr
				sent := b
				if random.IntN(2) == 0 {
					outer = peer()
					sent = tunnelled(0, outer, maar, b)
				}
				want, out = s.came(b, outer)
				r = process(w, ethPort, sent)
			}
			var got []byte
			var by PortID
			for _, o := range r.Outputs {
				for _, p := range o.Packets {
					if p.Bytes()[6] != 58 { // errors are not the oracle's
						got, by = p.Bytes(), o.Port
					}
				}
			}
			if want != nil {
				want = masked(want)
			}
			if got != nil {
				got = masked(got)
			}
			if !bytes.Equal(got, want) || by != out {
				t.Fatalf("%x:\ngot  %x by %d\nwant %x by %d\n%v", b[:40], got, by, want, out, drops(e.Counters()))
			}
		}
		for _, a := range s.attached {
			u, want := useOf(t, e, a.prefix), s.use[a.prefix]
			if got := [4]uint64{u.From.Native, u.To.Native, u.From.Tunneled, u.To.Tunneled}; got != want {
				t.Fatalf("use of %v: %v, want %v", a.prefix, got, want)
			}
		}
	}
}

// without copies list less those that match.
func without[E any](list []E, match func(E) bool) (kept []E) {
	for _, x := range list {
		if !match(x) {
			kept = append(kept, x)
		}
	}
	return kept
}
