package forwarding

import (
	"encoding/binary"
	"net/netip"

	"kedge/forwarding/flow"
	"kedge/forwarding/ip6"
	"kedge/forwarding/translate"
	"kedge/netstack/packet"
)

// The short way in: out of the tunnel of the address that a known flow uses, and to the host.

// localEnd remembers the last inner and outer destination, of which there are few.
type localEnd struct {
	batch uint64
	// inner is the destination of an inner packet, and home what the host knows it by.
	inner, home netip.Addr
	// outer is an address of this node's own.
	outer netip.Addr
}

// fromLinkWithFlows is fromLink or fromDatagram for a batch, on a node that keeps flows.
func (w *Worker) fromLinkWithFlows(pkts []*packet.Packet, in PortID, datagrams bool) {
	k := w.beginKnown()
	for len(pkts) > 0 {
		n := min(len(pkts), aheadPackets)
		for i, p := range pkts[:n] {
			w.beginInbound(&k.ahead[i], p.Bytes(), datagrams)
		}
		k.fetch(n)
		for i, p := range pkts[:n] {
			switch {
			case w.knownIn(p, &k.ahead[i], datagrams):
			case datagrams:
				w.fromDatagram(p, in)
			default:
				w.fromLink(p, in)
			}
		}
		pkts = pkts[n:]
	}
	k.settle(w)
}

// beginInbound looks at the inner packet of b.
func (w *Worker) beginInbound(a *flow.Ahead, b []byte, datagrams bool) {
	if !datagrams {
		if len(b) < 2*ip6.HeaderLength || b[0]>>4 != 6 || b[6] != ip6.IPv6 ||
			int(binary.BigEndian.Uint16(b[4:]))+ip6.HeaderLength != len(b) {
			a.None()
			return
		}
		b = b[ip6.HeaderLength:]
	}
	if len(b) < ip6.HeaderLength {
		a.None()
		return
	}
	e, to := &w.known.local, netip.AddrFrom16([16]byte(b[24:40]))
	if e.batch != w.known.batch {
		*e = localEnd{batch: w.known.batch}
	}
	if e.inner != to {
		e.inner, e.home = to, to
		if w.facts(to).role(w.state) == flow.Translation {
			e.home = w.state.flows.home
		}
	}
	a.BeginInbound(w.state.flows.table, b, e.home)
}

// knownIn gives a packet to the host the short way, or reports false and has not touched it.
func (w *Worker) knownIn(p *packet.Packet, a *flow.Ahead, datagrams bool) bool {
	f, v := w.knownFlow(a)
	if f == nil || w.state.host == nil {
		return false
	}
	x := w.exitOf(f, v)
	if x.tunnel == nil {
		return false
	}
	var outerECN uint8
	front := 0
	if datagrams {
		if !datagramThrough(p, x.tunnel) {
			return false
		}
		outerECN = p.TrafficClass & ecnMask
	} else {
		if !w.through(p, x.tunnel) {
			return false
		}
		front = ip6.HeaderLength
		outerECN = trafficClass(p.Bytes()) & ecnMask
	}
	b := p.Bytes()[front:]
	inner := trafficClass(b) & ecnMask
	ecn, ok := decapsulateECN(inner, outerECN)
	if !ok || netip.AddrFrom16([16]byte(b[24:40])) != v.Address {
		return false
	}
	p.TrimFront(front)
	w.deliverKnown(p, f, x, ecn, ecn != inner)
	return true
}

// deliverKnown does what flowIn, openInner and put do.
func (w *Worker) deliverKnown(p *packet.Packet, f *flow.Flow, x *exit, ecn uint8, marked bool) {
	k, s := w.known, w.state
	if x.verdict.Translate {
		x.back.Destination(p)
		k.counts[TranslatedIn]++
	}
	s.flows.table.SawPlain(w.now, f, false, p.Bytes())
	if marked {
		ip6.SetECN(p.Bytes(), ecn)
		if ecn == ce {
			k.counts[CongestionMarked]++
		}
	}
	k.counts[Decapsulated]++
	k.counts[DecapsulatedOctets] += p.Len()
	w.put(p, s.host, netip.Addr{})
}

// through reports whether a tunnel packet without extension headers came through a tunnel to this node.
func (w *Worker) through(p *packet.Packet, t *Tunnel) bool {
	b := p.Bytes()
	if t.RemotePort != 0 || p.Offload != (packet.Offload{}) || netip.AddrFrom16([16]byte(b[8:24])) != t.Remote {
		return false
	}
	e, to := &w.known.local, netip.AddrFrom16([16]byte(b[24:40]))
	if e.outer == to {
		return true
	}
	if !unicast(to) || to.IsLinkLocalUnicast() || w.facts(to).local(w.state) == nil {
		return false
	}
	e.outer = to
	return true
}

// datagramThrough reports whether a plain packet in a datagram came through a tunnel, in a state that nothing is wrong with.
func datagramThrough(p *packet.Packet, t *Tunnel) bool {
	return t.RemotePort != 0 && p.Peer.Port() == t.RemotePort && p.Peer.Addr() == t.Remote && translate.Fits(p) &&
		(p.Offload.Segmentation == packet.NotSegmented || segmentable(p))
}
