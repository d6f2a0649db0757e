package access

import (
	"net/netip"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// maxDefended is how many victims of one claim to a router's address are told better.
const maxDefended = 4

// ours reports whether no host can have a link-layer address.
func (t *Table) ours(link packet.LinkAddress) bool {
	return link[0]&1 != 0 || link == packet.LinkAddress{} || link == t.cfg.LinkAddress || t.Receives(link)
}

func (t *Table) receive(b []byte, from packet.LinkAddress) {
	src, dst, m, err := nd.Parse(b)
	if err != nil {
		t.counters.Invalid++
		return
	}
	if t.ours(from) {
		t.counters.Looped++
		return
	}
	switch m := m.(type) {
	case *nd.RouterSolicitation:
		t.receiveRouterSolicitation(src, from)
	case *nd.NeighborSolicitation:
		t.receiveSolicitation(src, dst, m, from)
	case *nd.NeighborAdvertisement:
		t.receiveAdvertisement(m, from)
	case *nd.ListenerReport, *nd.ListenerReportV1, *nd.ListenerDoneV1:
		t.sign(from, src, ListenerReport, true)
	case *nd.RouterAdvertisement, *nd.Redirect:
		t.counters.Rogue++
	}
}

func (t *Table) receiveRouterSolicitation(src netip.Addr, from packet.LinkAddress) {
	h := t.sign(from, src, RouterSolicitation, true)
	if h == nil {
		return
	}
	for _, r := range h.routers {
		if !r.last.Equal(t.now) { // else sign has answered
			t.advertiseOnce(r, src)
		}
	}
	t.schedule(h)
}

// receiveSolicitation answers for a router of the host that asks, and for nothing else. Probes for duplicates of the
// host's own addresses tell them (RFC 4862 section 5.4).
func (t *Table) receiveSolicitation(src, dst netip.Addr, m *nd.NeighborSolicitation, from packet.LinkAddress) {
	probe := src.IsUnspecified()
	address := src
	if probe {
		address = m.Target
	}
	h := t.sign(from, address, NeighborSolicitation, probe || dst.IsMulticast())
	if h == nil {
		return
	}
	r := h.router(m.Target)
	switch {
	case r != nil && probe:
		t.answer(r, netip.Addr{})
		t.contested(r, h)
	case r != nil:
		t.answer(r, src)
	case !probe:
		t.counters.Foreign++
	}
}

func (t *Table) receiveAdvertisement(m *nd.NeighborAdvertisement, from packet.LinkAddress) {
	h := t.sign(from, m.Target, NeighborAdvertisement, !m.Solicited)
	if h == nil {
		return
	}
	claimed := t.claims[m.Target]
	for _, r := range claimed[:min(len(claimed), maxDefended)] {
		t.answer(r, netip.Addr{})
		t.contested(r, h)
	}
}

// contested notes that a host claimed the address of r.
func (t *Table) contested(r *router, by *host) {
	t.counters.Contested++
	victim := r.host
	if !victim.contestedAt.IsZero() && t.now.Sub(victim.contestedAt) < RepeatInterval {
		return
	}
	victim.contestedAt = t.now
	t.out.Events = append(t.out.Events, Contested{Address: r.LinkLocal, LinkLayer: by.link, Victim: victim.link})
}

// router is the host's router with a link-local address; nil if it has none.
func (h *host) router(addr netip.Addr) *router {
	for _, r := range h.routers {
		if r.LinkLocal == addr {
			return r
		}
	}
	return nil
}
