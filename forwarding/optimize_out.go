package forwarding

import (
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

// optimize sends a packet of the host's programs, from an address whose tunnel is t, past the home agents at either end, and
// reports whether it took it.
func (w *Worker) optimize(p *packet.Packet, h *ip6.Header, t *Tunnel, from origin) bool {
	s := w.state
	if s.optimizations == nil || h.Mobile || signalling(p.Bytes(), h) {
		return false
	}
	d := detour{source: h.Source, destination: h.Destination}
	if c := s.cached(h.Destination, h.Source); c != nil {
		d.destination, d.routingHome = c.careOf, h.Destination
	}
	m := s.optimized(h.Source, h.Destination)
	if m != nil && m.CareOf.IsValid() && !t.Native && t.RemotePort == 0 {
		d.source, d.homeAddress = m.CareOf, h.Source
	}
	n := d.length()
	if n == 0 {
		return false
	}
	v := w.direct(m, t, &d)
	if v.port == nil && v.over == nil {
		return false
	}
	room := min(v.mtu, packet.MaxLength) - n
	if wireLength(p) > room {
		if wireLength(p) <= ip6.MinimumMTU {
			return false
		}
		w.drop(DropTooBig)
		w.sendError(p, h, from, icmp.PacketTooBig, 0, uint32(max(ip6.MinimumMTU, room)))
		return true
	}
	if h.Upper == ip6.TCP && isSYN(p, h) {
		limit := room
		if under, reason := w.resolve(t, 1); !t.Native && reason == 0 {
			limit = min(limit, under.tunnelMTU()) // so that the connection fits the tunnel too, should it have to
		}
		w.clampSegmentSize(p, h, max(ip6.MinimumMTU, limit))
	}
	if p.Offload.Segmentation != packet.NotSegmented {
		// No link knows of the addresses that the checksums stand for.
		w.split(p, func(segment *packet.Packet) { w.takeDetour(segment, &d, &v, from) })
		return true
	}
	if packet.FinishChecksum(p) != nil {
		w.drop(DropOffload)
		return true
	}
	w.takeDetour(p, &d, &v, from)
	return true
}

// direct finds the way of a packet on a detour; over is the tunnel to the home agent if it still goes through that. The
// way has neither port nor tunnel if there is none.
func (w *Worker) direct(m *optimized, t *Tunnel, d *detour) (v way) {
	via, id, nextHop := t.Via, t.Port, t.NextHop
	switch {
	case d.homeAddress.IsValid():
		via, id, nextHop = m.Via, m.Port, m.NextHop
	case !t.Native:
		if under, reason := w.resolve(t, 1); reason == 0 {
			v.over, v.mtu = t, under.tunnelMTU()
		}
		return v
	}
	if !via {
		r := w.facts(d.destination).route(w.state)
		if r == nil {
			return v
		}
		id, nextHop = r.port, r.nextHop
	}
	if v.port = w.state.ports[id]; v.port == nil || v.port.UDP {
		return way{}
	}
	if !nextHop.IsValid() {
		nextHop = d.destination
	}
	v.nextHop, v.mtu = nextHop, v.port.MTU
	if learned := w.state.pathMTU(d.destination, w.now); learned != 0 && learned < v.mtu {
		v.mtu = learned
	}
	return v
}

// takeDetour puts the extension headers into an ordinary packet with a finished checksum, and sends it.
func (w *Worker) takeDetour(p *packet.Packet, d *detour, v *way, from origin) {
	if p.Prepend(d.length()) == nil {
		w.drop(DropNested)
		return
	}
	d.put(p.Bytes())
	w.count(RouteOptimizedSent, 1)
	if v.over == nil {
		w.put(p, v.port, v.nextHop)
		return
	}
	// Nothing else uses embedded on the way out.
	if h := &w.embedded; w.parse(p, h) {
		w.encapsulate(p, h, v.over, from)
	}
}
