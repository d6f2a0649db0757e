package forwarding

import (
	"fmt"
	"net/netip"
)

// binding is what a prefix is bound to, in the tables. It is immutable, but for its times.
type binding struct {
	// from and to are when packets of the anchored prefix last passed.
	from, to stamp
	// high and low are the address, if it is of one.
	high, low uint64
	Tunnel
	// anchored says that Tunnel is an anchor's. Tables of mobile nodes' own bindings do without.
	anchored bool
	// attached goes before Tunnel.
	attached *attached
}

// continues makes b what old is.
func (b *binding) continues(old *binding) {
	b.Tunnel, b.anchored, b.attached = old.Tunnel, old.anchored, old.attached
	b.from.Store(old.from.Load())
	b.to.Store(old.to.Load())
}

// BindAnchored makes this node the anchor of prefix, a home address as a /128 or a mobile network prefix. Packets to it
// from anywhere are encapsulated into the tunnel; packets out of the tunnel are forwarded if the inner source is within
// prefix, the outer source is tunnel.Remote (RFC 6275 section 10.4.5), or tunnel.Previous allows it, and the outer
// destination tunnel.Local. It replaces what was bound to the same prefix.
func (e *Engine) BindAnchored(prefix netip.Prefix, tunnel Tunnel) error {
	if err := check(prefix, tunnel); err != nil {
		return err
	}
	if tunnel.Native || tunnel.Down {
		return fmt.Errorf("binding of %v: an anchor's bindings have a tunnel", prefix)
	}
	e.changeServed(prefix, func(b *binding) bool {
		if b.anchored && b.Tunnel == tunnel {
			return false
		}
		b.Tunnel, b.anchored = tunnel, true
		return true
	})
	return nil
}

// Anchored is the tunnel that BindAnchored has given prefix, if any.
func (e *Engine) Anchored(prefix netip.Prefix) (Tunnel, bool) {
	if !isPrefix(prefix) {
		return Tunnel{}, false
	}
	b := e.state.Load().servedExactly(prefix.Masked())
	if b == nil || !b.anchored {
		return Tunnel{}, false
	}
	return b.Tunnel, true
}

// UnbindAnchored takes a BindAnchored back.
func (e *Engine) UnbindAnchored(prefix netip.Prefix) {
	e.changeServed(prefix, func(b *binding) bool {
		had := b.anchored
		b.Tunnel, b.anchored = Tunnel{}, false
		b.from.Store(0)
		b.to.Store(0)
		return had
	})
}

// BindMobile makes this node the holder of prefix, a home address as a /128 or a mobile network prefix. Packets of the
// Host port with a source in it are encapsulated into the tunnel (or sent natively); packets out of the tunnel with a
// destination in it go to the Host port if the outer source is tunnel.Remote. The outer destination may be any own
// address, so that packets in flight to a former care-of address still arrive while it is kept. Signalling for prefix
// becomes a Signal, in the tunnel or not. It replaces what was bound to the same prefix; if that had another care-of
// address, what was learned of the path's MTU is forgotten.
func (e *Engine) BindMobile(prefix netip.Prefix, tunnel Tunnel) error {
	if err := check(prefix, tunnel); err != nil {
		return err
	}
	b := &binding{Tunnel: tunnel}
	e.changeIf(func(s *state) bool {
		old, ok := s.mobile.Get(prefix.Masked())
		switch {
		case ok && old.Tunnel == tunnel:
			return false
		case ok && old.Local != b.Local && b.Remote.IsValid():
			s.paths = s.paths.DeletePersist(netip.PrefixFrom(b.Remote, b.Remote.BitLen()))
		}
		s.mobile = s.mobile.InsertPersist(prefix.Masked(), b)
		s.anyMobile = true
		return true
	})
	return nil
}

// UnbindMobile takes a BindMobile back.
func (e *Engine) UnbindMobile(prefix netip.Prefix) {
	if !isPrefix(prefix) {
		return
	}
	e.change(func(s *state) {
		s.mobile = s.mobile.DeletePersist(prefix.Masked())
		s.anyMobile = s.mobile.Size() > 0
	})
}

func check(prefix netip.Prefix, t Tunnel) error {
	if !isPrefix(prefix) {
		return fmt.Errorf("binding: %w: %v", ErrPrefix, prefix)
	}
	if t.NextHop.IsValid() && !unicast(t.NextHop) {
		return fmt.Errorf("binding of %v: next hop: %w: %v", prefix, ErrAddress, t.NextHop)
	}
	if t.Native || t.Down {
		return nil
	}
	if t.RemotePort != 0 {
		if !t.Via || t.Local.BitLen() != t.Remote.BitLen() {
			return fmt.Errorf("binding of %v: tunnel %v to %v: %w", prefix, t.Local, t.Remote, ErrUDP)
		}
		if !endpoint(t.Local) || !endpoint(t.Remote) {
			return fmt.Errorf("binding of %v: tunnel %v to %v: %w", prefix, t.Local, t.Remote, ErrAddress)
		}
	} else if !unicast(t.Local) || !unicast(t.Remote) {
		return fmt.Errorf("binding of %v: tunnel %v to %v: %w", prefix, t.Local, t.Remote, ErrAddress)
	}
	if t.Local == t.Remote {
		return fmt.Errorf("binding of %v: %w: %v", prefix, ErrLoop, t.Remote)
	}
	if prefix.Masked().Addr() == t.Remote && prefix.Bits() == 128 {
		return fmt.Errorf("binding of %v: %w: its care-of address lies within it", prefix, ErrLoop)
	}
	return nil
}
