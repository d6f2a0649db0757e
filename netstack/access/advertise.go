package access

import (
	"net/netip"
	"slices"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// quickly are the times between the first advertisements of what is new: any of them may be lost.
var quickly = [...]time.Duration{250 * time.Millisecond, 750 * time.Millisecond, 2 * time.Second}

// queryResponseDelay is within what a host is to answer a query for its groups.
const queryResponseDelay = 500 * time.Millisecond

// router is a Router of a host.
type router struct {
	Router
	host *host
	// last is when it was last advertised, next when it is again, sent how many of the quick ones have been sent.
	last, next time.Time
	sent       int
	leaving    bool
}

// advertiseSoon begins the quick advertisements anew.
func (t *Table) advertiseSoon(r *router) {
	r.sent = 0
	t.advertiseOnce(r, netip.Addr{})
}

// advertiseOnce advertises r now, or when enough time has passed since it last was.
func (t *Table) advertiseOnce(r *router, to netip.Addr) {
	if at := r.last.Add(MinDelayBetweenAdvertisements); !r.last.IsZero() && t.now.Before(at) {
		r.next = earliest(r.next, at)
		return
	}
	t.advertise(r, to)
}

// advertise sends an advertisement of r, to all nodes unless a host solicited it: while a host's link-local address is
// tentative, it does not receive what is for that. The frame goes to the one host in any case.
func (t *Table) advertise(r *router, to netip.Addr) {
	if !to.IsValid() || to.IsUnspecified() {
		to = nd.AllNodes
	}
	t.send(r, to, t.advertisement(r), r.host.link)
	r.last = t.now
	switch {
	case r.sent < len(quickly):
		r.next = t.now.Add(quickly[r.sent])
		r.sent++
	case r.leaving:
		r.host.leaving = slices.DeleteFunc(r.host.leaving, func(o *router) bool { return o == r })
	default:
		interval := t.interval(r)
		r.next = t.now.Add(interval - t.jitter(interval/4))
	}
}

func (t *Table) advertisement(r *router) *nd.RouterAdvertisement {
	m := &nd.RouterAdvertisement{CurHopLimit: 64, RouterLifetime: r.Lifetime}
	if r.Preferred == 0 {
		m.Preference = nd.PreferenceLow
	}
	if r.leaving {
		for _, o := range r.host.routers {
			if o.LinkLocal == r.LinkLocal { // it is still the router for another prefix
				m.RouterLifetime = max(m.RouterLifetime, o.Lifetime)
			}
		}
	}
	m.Options = append(m.Options, nd.SourceLinkLayerAddress(t.linkLayer(r)))
	if t.mtu > 0 {
		m.Options = append(m.Options, nd.MTU(t.mtu))
	}
	if r.Prefix.IsValid() {
		m.Options = append(m.Options, nd.PrefixInformation{
			Prefix: r.Prefix, Autonomous: true, ValidLifetime: r.Valid, PreferredLifetime: r.Preferred,
		})
	}
	for _, p := range r.LocalPrefixes {
		m.Options = append(m.Options, nd.RouteInformation{Prefix: p.Masked(), Lifetime: r.Lifetime})
	}
	return m
}

// interval is the longest time until the next advertisement.
func (t *Table) interval(r *router) time.Duration {
	interval := t.cfg.Interval
	for _, d := range [...]time.Duration{r.Lifetime, r.Valid, r.Preferred} {
		if d > 0 {
			interval = min(interval, max(d/4, time.Second))
		}
	}
	return interval
}

// probe asks whether h is there, or concludes that it is not (RFC 4861 section 7.3). The last question is also for its
// groups, which every host answers, whatever its addresses are now.
func (t *Table) probe(h *host) {
	r := h.mainRouter()
	switch {
	case r == nil:
		h.probeAt = time.Time{}
		return
	case h.present && h.flags.Load()&heardFlag != 0:
		t.heard(h)
		return
	case h.probes == MaxUnicastSolicit && h.present:
		t.depart(h, Unreachable)
		return
	case h.probes == MaxUnicastSolicit:
		h.probeAt, h.probes = time.Time{}, 0
		return
	}
	h.probes++
	h.probeAt = t.now.Add(t.cfg.RetransTimer)
	to := h.linkLocal()
	if !to.IsValid() && len(h.addresses) > 0 {
		to = h.addresses[len(h.addresses)-1]
	}
	if to.IsValid() {
		t.send(r, to, &nd.NeighborSolicitation{
			Target: to, Options: nd.Options{nd.SourceLinkLayerAddress(t.linkLayer(r))},
		}, h.link)
	}
	if !to.IsValid() || h.probes == MaxUnicastSolicit {
		t.send(r, nd.AllNodes, &nd.ListenerQuery{
			Version: 2, Group: netip.IPv6Unspecified(), MaximumResponseDelay: min(queryResponseDelay, t.cfg.RetransTimer/2),
		}, h.link)
	}
}

// answer is r's neighbour advertisement: solicited by a host's address, or to all nodes in its defence.
func (t *Table) answer(r *router, to netip.Addr) {
	m := &nd.NeighborAdvertisement{
		Router: true, Solicited: to.IsValid(), Override: true, Target: r.LinkLocal,
		Options: nd.Options{nd.TargetLinkLayerAddress(t.linkLayer(r))},
	}
	if !m.Solicited {
		to = nd.AllNodes
	}
	t.send(r, to, m, r.host.link)
}

// linkLayer is r's link-layer address.
func (t *Table) linkLayer(r *router) packet.LinkAddress {
	if r.LinkLayer == (packet.LinkAddress{}) {
		return t.cfg.LinkAddress
	}
	return r.LinkLayer
}

// send makes a frame from r.
func (t *Table) send(r *router, to netip.Addr, m nd.Message, link packet.LinkAddress) {
	b, err := nd.Append(nil, r.LinkLocal, to, m)
	if err != nil {
		return // no message that the table makes can fail
	}
	p := packet.New(len(b))
	p.Set(b)
	t.out.Frames = append(t.out.Frames, neighbor.Frame{Packet: p, To: link, From: r.LinkLayer})
}
