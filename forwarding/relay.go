package forwarding

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// errorToSelf takes an ICMPv6 error for one of this node's own addresses. What it is about decides who hears of it: a
// tunnel packet, signalling, or anything else, which the host sent.
func (w *Worker) errorToSelf(p *packet.Packet, h *ip6.Header, in PortID, depth int) {
	if !w.verify(p, h) {
		w.drop(DropChecksum)
		return
	}
	m := p.Bytes()[h.UpperOffset:]
	e := &w.embedded
	// A nonsensical inside cannot be about anything that this node sent.
	if e.ParseEmbedded(m[icmp.HeaderLength:]) != nil || e.Source != h.Destination {
		w.drop(DropErrorUnrelated)
		return
	}
	if w.optimizedError(p, h, in, depth) {
		return
	}
	switch {
	case e.Fragmented && !e.FirstFragment:
		w.toHost(p)
	case e.Upper == ip6.IPv6 && !e.Mobile:
		w.tunnelError(p, h, in, depth)
	case e.Mobile, e.Upper == ip6.MobilityHeader, mobileICMP(m[icmp.HeaderLength:], e):
		w.signal(p, h, SignalingError, in, depth)
	default:
		w.toHost(p)
	}
}

// tunnelsTo reports whether a packet with header o goes, or has just gone, through a tunnel to remote.
func (w *Worker) tunnelsTo(o *ip6.Header, remote netip.Addr) bool {
	is := func(t *Tunnel) bool { return t.Remote == remote && t.RemotePort == 0 }
	if b := w.facts(o.Destination).anchored(w.state); b != nil && is(&b.Tunnel) {
		return true
	}
	of := w.facts(o.Source)
	if b := of.mobile(w.state); b != nil && is(&b.Tunnel) {
		return true
	}
	b := of.served(w.state)
	return b != nil && b.attached != nil && !b.attached.Tunnel.Native && is(&b.attached.Tunnel)
}

func mobileICMP(b []byte, h *ip6.Header) bool {
	return h.Upper == ip6.ICMP && h.UpperOffset < len(b) &&
		b[h.UpperOffset] >= icmp.HomeAgentDiscoveryRequest && b[h.UpperOffset] <= icmp.MobilePrefixAdvertisement
}

// tunnelError takes an error about a tunnel packet, whose header is in w.embedded (RFC 2473 section 8). It must be about
// a packet that a current binding would have sent: anybody can make up the rest.
func (w *Worker) tunnelError(p *packet.Packet, h *ip6.Header, in PortID, depth int) {
	o := &w.original
	m := p.Bytes()[h.UpperOffset:]
	inner := m[icmp.HeaderLength+w.embedded.UpperOffset:]
	// Extension headers that were cut off do not matter: the addresses are there.
	err := o.ParseEmbedded(inner)
	if errors.Is(err, ip6.ErrVersion) || errors.Is(err, ip6.ErrTruncated) {
		w.drop(DropErrorUnrelated)
		return
	}
	if !w.tunnelsTo(o, w.embedded.Destination) {
		w.drop(DropErrorUnrelated)
		return
	}
	relay := icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.AddressUnreachable,
		Source: h.Destination, Destination: o.Source, Invoking: inner,
	}
	kind, code := m[0], m[1]
	if kind == icmp.PacketTooBig {
		mtu, ok := w.learnPathMTU(w.embedded.Destination, m)
		if !ok {
			w.drop(DropErrorUnrelated)
			return
		}
		w.drop(DropConsumed)
		limit := max(ip6.MinimumMTU, mtu-ip6.HeaderLength)
		if o.Length <= limit {
			return
		}
		relay.Type, relay.Code, relay.Parameter = icmp.PacketTooBig, 0, uint32(limit)
	} else {
		w.signal(p, h, TunnelError, in, depth)
		// Code 5 says that the anchor has lost the binding, which is for signalling to mend; and the tunnel header
		// that a Parameter Problem may be about is nothing that the inner source could change.
		if kind == icmp.ParameterProblem || kind == icmp.DestinationUnreachable && code == icmp.SourceFailedPolicy {
			return
		}
	}
	if icmp.Refuses(inner, o) || err != nil && o.Upper == ip6.ICMP {
		return
	}
	if q := w.makeError(&relay); q != nil {
		w.count(ErrorsRelayed, 1)
		w.output(q)
	}
}

// learnPathMTU takes the MTU of the path to remote from the Packet Too Big message m, unless it cannot be one.
func (w *Worker) learnPathMTU(remote netip.Addr, m []byte) (mtu int, ok bool) {
	mtu = int(binary.BigEndian.Uint32(m[4:]))
	if mtu < ip6.MinimumMTU || mtu > packet.MaxLength {
		return 0, false
	}
	w.engine.SetPathMTU(remote, mtu, w.clock)
	w.count(PathMTULearned, 1)
	return mtu, true
}
