package neighbor

import (
	"io"
	"net/netip"
	"slices"

	"kedge/netstack/nd"
	"kedge/netstack/packet"
)

// tentative is the kind of an address that is only being probed.
const tentative Kind = 0

// address is one that is answered for or probed.
type address struct {
	addr netip.Addr
	kind Kind
	// detection is nil unless duplicate address detection runs, announcement unless advertisements are still to be sent.
	detection    *detection
	announcement *announcement
}

// detection is duplicate address detection of one address (RFC 4862 section 5.4, RFC 7527).
type detection struct {
	nonce nd.Nonce
	sent  int
	timer timer
}

type announcement struct {
	left  int
	timer timer
}

func (t *Table) setKind(addr netip.Addr, kind Kind) *address {
	a := t.addresses[addr]
	if a == nil {
		a = &address{addr: addr}
		t.addresses[addr] = a
		t.join(nd.SolicitedNode(addr))
	}
	a.kind = kind
	isSource := kind == Own || kind == Optimistic
	if at := slices.Index(t.sources, a); at >= 0 && !isSource {
		t.sources = slices.Delete(t.sources, at, at+1)
	} else if at < 0 && isSource {
		t.sources = append(t.sources, a)
	}
	if kind == Own {
		t.solicitWaiting()
	}
	return a
}

func (t *Table) dropAddress(a *address) {
	t.endDetection(a)
	if a.announcement != nil {
		t.timers.cancel(&a.announcement.timer)
	}
	if at := slices.Index(t.sources, a); at >= 0 {
		t.sources = slices.Delete(t.sources, at, at+1)
	}
	delete(t.addresses, a.addr)
	t.leave(nd.SolicitedNode(a.addr))
}

// source is the address that solicitations, and advertisements for others, are sent from: the one wanted if it is this
// node's, else a link-local one, else any; never an optimistic one (RFC 4429 section 3.2). It is invalid if there is
// none.
func (t *Table) source(wanted netip.Addr) (src netip.Addr) {
	for _, a := range t.sources {
		switch {
		case a.kind != Own:
		case a.addr == wanted:
			return a.addr
		case !src.IsValid(), a.addr.IsLinkLocalUnicast() && !src.IsLinkLocalUnicast():
			src = a.addr
		}
	}
	return src
}

// detect begins duplicate address detection, or lets it go on. It does not wait first (RFC 4429 section 3.3).
func (t *Table) detect(a *address) {
	if a.detection != nil {
		return
	}
	nonce := make([]byte, 6)
	_, _ = io.ReadFull(t.cfg.Random, nonce) // a bad nonce only weakens the recognition of looped-back packets
	a.detection = &detection{nonce: nd.Nonce(nonce)}
	a.detection.timer.fire = func() { t.detectionDue(a) }
	t.detectionDue(a)
}

func (t *Table) detectionDue(a *address) {
	d := a.detection
	if d.sent < DupAddrDetectTransmits {
		d.sent++
		t.timers.set(&d.timer, t.now.Add(t.retransTimer))
		t.multicast(netip.IPv6Unspecified(), nd.SolicitedNode(a.addr),
			&nd.NeighborSolicitation{Target: a.addr, Options: nd.Options{d.nonce}})
		return
	}
	t.endDetection(a)
	t.out.Events = append(t.out.Events, Unique{a.addr})
	if a.kind == Optimistic {
		t.setKind(a.addr, Own)
	} else {
		t.dropAddress(a)
	}
}

func (t *Table) endDetection(a *address) {
	if a.detection != nil {
		t.timers.cancel(&a.detection.timer)
		a.detection = nil
	}
}

// detected ends the detection of a by another holder of it.
func (t *Table) detected(a *address, by packet.LinkAddress) {
	t.out.Events = append(t.out.Events, Duplicate{a.addr, by})
	t.dropAddress(a)
}

// announce sends one unsolicited advertisement and goes on as long as some are left.
func (t *Table) announce(a *address) {
	n := a.announcement
	t.advertise(a, netip.IPv6Unspecified(), packet.LinkAddress{})
	if n.left--; n.left > 0 {
		t.timers.set(&n.timer, t.now.Add(t.retransTimer))
	} else {
		a.announcement = nil
	}
}

// advertise sends an advertisement for a: solicited to the node to, or unsolicited to all nodes if that is the unspecified
// address (RFC 4861 section 7.2.4). Proxy advertisements come from an address of this node's, have the Router flag
// for mobile routers only, and the Override flag set (RFC 6275 section 10.4.1): against RFC 4861 section 7.2.8 in solicited ones too, since a router
// that has the mobile node's own link-layer address cached would else go on using it for seconds.
func (t *Table) advertise(a *address, to netip.Addr, link packet.LinkAddress) {
	m := &nd.NeighborAdvertisement{
		Router:    a.kind == ProxyRouter || t.cfg.Router && a.kind != Proxy,
		Solicited: !to.IsUnspecified(),
		Override:  a.kind != Optimistic && a.kind != Anycast,
		Target:    a.addr,
		Options:   nd.Options{nd.TargetLinkLayerAddress(t.cfg.LinkAddress)},
	}
	src := a.addr
	if a.kind.proxied() || a.kind == Anycast {
		if own := t.source(netip.Addr{}); own.IsValid() {
			src = own
		}
	}
	if m.Solicited {
		t.send(src, to, m, link)
	} else {
		t.multicast(src, nd.AllNodes, m)
	}
}
