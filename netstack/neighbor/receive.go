package neighbor

import (
	"net/netip"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

func (t *Table) receive(b []byte, from packet.LinkAddress) {
	src, _, m, err := nd.Parse(b)
	if err != nil {
		t.counters.Invalid++
		return
	}
	if from == t.cfg.LinkAddress {
		t.counters.Looped++
		return
	}
	switch m := m.(type) {
	case *nd.NeighborSolicitation:
		t.receiveSolicitation(src, m, from)
	case *nd.NeighborAdvertisement:
		t.receiveAdvertisement(m, from)
	case *nd.RouterAdvertisement:
		var n *neighbor
		if o, has := nd.Find[nd.SourceLinkLayerAddress](m.Options); has {
			n = t.learn(src, packet.LinkAddress(o))
		} else {
			n = t.index.find(src)
		}
		if n != nil {
			n.isRouter = true
		}
		t.out.Events = append(t.out.Events, RouterAdvertised{src, from, m})
	case *nd.RouterSolicitation:
		if !t.cfg.Router { // RFC 4861 section 6.2.6: hosts discard it
			return
		}
		if o, has := nd.Find[nd.SourceLinkLayerAddress](m.Options); has {
			t.learn(src, packet.LinkAddress(o))
		}
		t.out.Events = append(t.out.Events, RouterSolicited{src, from, m})
	case *nd.Redirect:
		t.out.Events = append(t.out.Events, Redirected{src, m})
	case *nd.ListenerQuery:
		t.receiveQuery(m)
	}
}

// receiveSolicitation is RFC 4861 section 7.2.3, for tentative addresses RFC 4862 section 5.4.3, and for optimistic ones
// RFC 4429 section 3.3.
func (t *Table) receiveSolicitation(src netip.Addr, m *nd.NeighborSolicitation, from packet.LinkAddress) {
	a := t.addresses[m.Target]
	if a == nil {
		return
	}
	if src.IsUnspecified() {
		nonce, has := nd.Find[nd.Nonce](m.Options)
		switch {
		case a.detection != nil && has && nonce == a.detection.nonce: // RFC 7527 section 4.2
			t.counters.Looped++
		case a.kind == tentative || a.kind == Optimistic:
			t.detected(a, from)
		case a.kind != Returning:
			t.advertise(a, netip.IPv6Unspecified(), packet.LinkAddress{})
		}
		return
	}
	if a.kind == tentative {
		return
	}
	// Who cannot be told by option or cache gets the answer where the solicitation came from, which spares keeping
	// state for strangers.
	to := from
	var n *neighbor
	if o, has := nd.Find[nd.SourceLinkLayerAddress](m.Options); has {
		if n = t.learn(src, packet.LinkAddress(o)); n == nil && t.plausible(packet.LinkAddress(o)) {
			to = packet.LinkAddress(o)
		}
	} else {
		n = t.index.find(src)
	}
	if n != nil && n.state != incomplete {
		to = n.link
	}
	if to[0]&1 == 0 {
		t.advertise(a, src, to)
	}
}

// receiveAdvertisement is RFC 4861 section 7.2.5, and RFC 4862 section 5.4.4 for addresses that are held here.
func (t *Table) receiveAdvertisement(m *nd.NeighborAdvertisement, from packet.LinkAddress) {
	if a := t.addresses[m.Target]; a != nil {
		switch {
		case a.kind == tentative || a.kind == Optimistic:
			t.detected(a, from)
			return
		case a.kind == Returning:
			return
		case a.kind == Own:
			t.out.Events = append(t.out.Events, Conflict{a.addr, from})
			return
		case a.kind.proxied() && !m.Solicited: // a solicited one answers this node, looking for the owner of an address that it proxies
			t.out.Events = append(t.out.Events, Conflict{a.addr, from})
		}
	}
	t.advertised(m)
}
