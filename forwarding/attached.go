package forwarding

import (
	"errors"
	"fmt"
	"net/netip"

	"kedge/netstack/packet"
)

// Attached is a mobile node without mobility software, on a link of this node's: this node is its mobility access gateway
// (RFC 5213), or its mobility anchor and access router (RFC 8885).
type Attached struct {
	// Port is the access link that the mobile node is on, and MobileNode its address there.
	Port       PortID
	MobileNode packet.LinkAddress
	// Tunnel is Native for a prefix that is anchored here, whose packets are routed; nothing else of it counts then. Else
	// it leads to the MAAR or local mobility anchor that the prefix is anchored at.
	Tunnel Tunnel
}

// attached is an Attached in the tables. It is immutable, but for its use.
type attached struct {
	Attached
	use *use
}

// ErrMobileNode means that a link-layer address cannot be a mobile node's.
var ErrMobileNode = errors.New("not a unicast link-layer address")

// BindAttached has packets to prefix leave by the access port to the mobile node, and takes those that it sends from prefix.
// If the tunnel is Native, they are routed: packets to prefix are taken from everywhere. Else all that the mobile node sends
// goes into the tunnel, wherever it is for (RFC 5213 section 6.10.5, EnableMAGLocalRouting off), and packets to prefix
// are taken out of the tunnel, from mobile nodes that are served here, and from this node itself.
//
// It replaces what was attached with the same prefix; the use of prefix is counted on. It goes before BindAnchored of the
// same prefix, which it leaves alone: until UnbindAttached, packets to prefix do not go through the anchor's tunnel, but
// those that still come out of that tunnel are forwarded.
func (e *Engine) BindAttached(prefix netip.Prefix, a Attached) error {
	if err := check(prefix, a.Tunnel); err != nil {
		return err
	}
	switch {
	case a.MobileNode[0]&1 != 0, a.MobileNode == packet.LinkAddress{}:
		return fmt.Errorf("mobile node of %v: %w: %x", prefix, ErrMobileNode, a.MobileNode)
	case a.Tunnel.Down:
		return fmt.Errorf("binding of %v: an attached prefix is native or has a tunnel", prefix)
	case a.Tunnel.Native:
		a.Tunnel = Tunnel{Native: true}
	case prefix.Contains(a.Tunnel.Remote):
		return fmt.Errorf("binding of %v: %w: %v lies within it", prefix, ErrLoop, a.Tunnel.Remote)
	}
	e.changeServed(prefix, func(b *binding) bool {
		n := &attached{Attached: a}
		switch {
		case b.attached == nil:
			n.use = new(use)
		case b.attached.Attached == a:
			return false
		default:
			n.use = b.attached.use
		}
		b.attached = n
		return true
	})
	return nil
}

// UnbindAttached takes a BindAttached back.
func (e *Engine) UnbindAttached(prefix netip.Prefix) {
	e.changeServed(prefix, func(b *binding) bool {
		had := b.attached != nil
		b.attached = nil
		return had
	})
}

// changeServed publishes what edit makes of what is bound to prefix, unless edit says that it left it alone. What is bound
// to nothing any more is taken out.
func (e *Engine) changeServed(prefix netip.Prefix, edit func(*binding) bool) {
	if !isPrefix(prefix) {
		return
	}
	prefix = prefix.Masked()
	e.changeIf(func(s *state) bool {
		b := new(binding)
		b.high, b.low = halves(prefix.Addr())
		if old := s.servedExactly(prefix); old != nil {
			b.continues(old)
		}
		if !edit(b) {
			return false
		}
		switch bound := b.anchored || b.attached != nil; {
		case prefix.IsSingleIP() && bound:
			s.hosts.put(b)
			return false
		case prefix.IsSingleIP():
			s.hosts.remove(b)
			return false
		case bound:
			s.served = s.served.InsertPersist(prefix, b)
		default:
			s.served = s.served.DeletePersist(prefix)
		}
		s.anyServed = s.served.Size() > 0
		return true
	})
}

// servedExactly is what a masked prefix itself is bound to; nil if to nothing.
func (s *state) servedExactly(prefix netip.Prefix) *binding {
	if prefix.IsSingleIP() {
		return s.hosts.get(prefix.Addr())
	}
	b, _ := s.served.Get(prefix)
	return b
}
