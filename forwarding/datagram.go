package forwarding

import (
	"net/netip"

	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// IPv6 in UDP datagrams (RFC 5555 section 4.1): the links make the outer headers, and the engine says where datagrams go and
// judges where they came from.
//
//	source held by this mobile node, destination served by this anchor -> datagram to the other end of its tunnel
//	datagram -> Mobility Header for an address of this node, from whomever -> signalling
//	datagram -> destination held by this mobile node, from its home agent -> TUN
//	datagram -> source served by this anchor, from its care-of address and port -> routed, another tunnel, or this node
//
// The host's kernel routes what goes to an IPv6 address that is anchored here itself, into the TUN.

// What IP and UDP headers take, in octets.
const (
	udpHeaderLength  = 8
	datagramOverIPv4 = 20 + udpHeaderLength
	datagramOverIPv6 = ip6.HeaderLength + udpHeaderLength
)

func datagramOverhead(remote netip.Addr) int {
	if remote.Is4() {
		return datagramOverIPv4
	}
	return datagramOverIPv6
}

// resolveDatagram is resolve for a UDP tunnel.
func (w *Worker) resolveDatagram(t *Tunnel, depth int) (v way, reason Counter) {
	if v.port = w.state.ports[t.Port]; v.port == nil || !v.port.UDP {
		return v, DropNoPort
	}
	v.mtu, v.overhead, v.bare = v.port.MTU, datagramOverhead(t.Remote), true
	if t.Remote.Is6() {
		to := w.facts(t.Remote)
		if to.local(w.state) != nil {
			return v, DropLoop
		}
		if b := to.anchored(w.state); b != nil && b.attached == nil {
			if depth == maxNesting {
				return v, DropNested
			}
			under, reason := w.resolve(&b.Tunnel, depth+1)
			if reason != 0 {
				return v, reason
			}
			v.mtu = min(v.mtu, under.tunnelMTU())
		}
	}
	w.limitMTU(&v, t)
	return v, 0
}

// outputDatagram sends a packet of this node's own to peer.
func (w *Worker) outputDatagram(p *packet.Packet, id PortID, local netip.Addr, peer netip.AddrPort) {
	h := &w.reply
	if !w.parse(p, h) {
		return
	}
	if !endpoint(peer.Addr()) || peer.Port() == 0 || local.IsValid() && local.BitLen() != peer.Addr().BitLen() {
		w.drop(DropNoRoute)
		return
	}
	t := Tunnel{Local: local, Remote: peer.Addr(), RemotePort: peer.Port(), Port: id}
	v, reason := w.resolveDatagram(&t, 1)
	if reason != 0 {
		w.drop(reason)
		return
	}
	if mtu := v.tunnelMTU(); wireLength(p) > mtu {
		w.drop(DropTooBig)
		w.sendError(p, h, origin{kind: fromItself}, icmp.PacketTooBig, 0, uint32(mtu))
		return
	}
	w.tunnelBare(p, &t, &v)
}

// fromDatagram is the journey of a packet that came in a UDP datagram.
func (w *Worker) fromDatagram(p *packet.Packet, in PortID) {
	if !p.Peer.IsValid() || p.Peer.Port() == 0 {
		w.drop(DropOuterSource)
		return
	}
	w.decapsulate(p, in, outer{
		source: p.Peer.Addr(), destination: p.Local, port: p.Peer.Port(), ecn: p.TrafficClass & ecnMask,
	}, 1)
}

// fromAnyPeer takes what is judged without regard to bindings, and reports whether it did. Mobility Headers come before
// there is a binding, and protect themselves; but those of return routability (RFC 6275 section 5.2.5), which do not, and those
// that say with a Home Address option or type 2 routing header that they did not set out in a datagram, need the binding of
// a tunnel that they came through.
func (w *Worker) fromAnyPeer(p *packet.Packet, h *ip6.Header, in PortID, o outer) bool {
	b, s := p.Bytes(), w.state
	if h.Upper == ip6.ICMP && neighborMessage(b, h) {
		w.drop(DropNeighbor)
		return true
	}
	if h.Upper != ip6.MobilityHeader || h.Fragmented || h.Mobile || h.UpperOffset+2 >= len(b) {
		return false
	}
	const homeTestInit, careOfTest = 1, 4
	if kind := b[h.UpperOffset+2]; kind >= homeTestInit && kind <= careOfTest {
		return false
	}
	to := w.facts(h.Destination)
	held := to.mobile(s)
	if held == nil && to.local(s) == nil {
		return false
	}
	of := w.facts(h.Source)
	switch bound := of.anchored(s); {
	case of.local(s) != nil || of.mobile(s) != nil:
		w.drop(DropOwnSource)
	case held != nil && o.isRemote(&held.Tunnel), held == nil && bound != nil && w.fromCareOf(bound, &o):
		return false // it came through the tunnel
	default:
		w.toSelf(p, h, in, 0)
	}
	return true
}

// neighborMessage reports whether an ICMPv6 message is one of neighbour discovery or multicast listener discovery, which have
// no place in datagrams.
func neighborMessage(b []byte, h *ip6.Header) bool {
	if h.UpperOffset >= len(b) || h.Fragmented && !h.FirstFragment {
		return false
	}
	t := b[h.UpperOffset]
	return t >= icmp.Query && t <= icmp.Redirect || t == icmp.ReportV2
}

// refusalHopLimit is what anchors send refusals with. Nothing that was forwarded has it.
const refusalHopLimit = 255

// refuseDatagram tells the sender of a datagram that this anchor has no binding of what is in it to there: Destination Unreachable,
// code 5 (RFC 4443 section 3.1), to the inner source. Nobody has verified where the datagram came from, so the answer goes
// there, and is not longer than it.
func (w *Worker) refuseDatagram(p *packet.Packet, h *ip6.Header, in PortID) {
	e := icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.SourceFailedPolicy, Source: w.errorSource(origin{fromLink, in}),
		Destination: h.Source, Invoking: p.Bytes(), Limit: wireLength(p),
	}
	if e.Limit < ip6.HeaderLength+icmp.HeaderLength || !e.Source.IsValid() || icmp.Refuses(p.Bytes(), h) {
		return
	}
	if !w.limiter.Allow(w.now, p.Peer.Addr()) {
		w.count(ErrorsLimited, 1)
		return
	}
	q := w.scratch.get(ip6.MinimumMTU)
	if q == nil {
		return
	}
	e.Put(q)
	q.Bytes()[7] = refusalHopLimit
	w.count(ErrorsSent, 1)
	q.Peer, q.Local = p.Peer, p.Local
	w.put(q, w.state.ports[in], netip.Addr{})
}

// refused takes a refusal from the other end of a mobile node's tunnel, and reports whether it was one. It is for signalling;
// the packet that it is about left by a tunnel which the program knows nothing of.
func (w *Worker) refused(p *packet.Packet, h *ip6.Header, in PortID, depth int) bool {
	b, at := p.Bytes(), h.UpperOffset
	if h.Upper != ip6.ICMP || h.HopLimit != refusalHopLimit || h.Fragmented || h.Mobile || at+icmp.HeaderLength > len(b) ||
		b[at] != icmp.DestinationUnreachable || b[at+1] != icmp.SourceFailedPolicy {
		return false
	}
	if !w.verify(p, h) {
		w.drop(DropChecksum)
		return true
	}
	w.signal(p, h, TunnelError, in, depth)
	return true
}

// measured takes the answer to an echo request of signalling's, by which a mobile node measures the path to an anchor that it
// has no address of its own for but those held, and reports whether it was one. Signalling's requests have no data; a
// program that pings without data goes without answers from anchors' tunnels.
func (w *Worker) measured(p *packet.Packet, h *ip6.Header, in PortID, depth int) bool {
	b, at := p.Bytes(), h.UpperOffset
	if h.Upper != ip6.ICMP || h.Fragmented || h.Mobile || len(b) != at+icmp.HeaderLength || b[at] != icmp.EchoReply {
		return false
	}
	if !w.verify(p, h) {
		w.drop(DropChecksum)
		return true
	}
	w.signal(p, h, EchoReply, in, depth)
	return true
}
