package node

import (
	"net/netip"
	"time"

	"kedge/netstack/nd"
	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
	"kedge/signaling"
	"kedge/signaling/movement"
)

// advertised tells movement detection, and a home agent on its home link, of a router advertisement.
func (l *link) advertised(now time.Time, e neighbor.RouterAdvertised) {
	m := e.Message
	_, linkLayerKnown := nd.Find[nd.SourceLinkLayerAddress](m.Options)
	ra := movement.RouterAdvertisement{
		Router: e.Router, LinkLayerKnown: linkLayerKnown, Lifetime: m.RouterLifetime, Preference: int(m.Preference),
		HomeAgent: m.HomeAgent, ReachableTime: m.ReachableTime, RetransTimer: m.RetransTimer,
	}
	seen := signaling.HomeAgentSeen{Link: l.cfg.Interface, Router: e.Router}
	if m.HomeAgent {
		seen.Lifetime = m.RouterLifetime
	}
	for _, o := range m.Options {
		switch o := o.(type) {
		case nd.MTU:
			ra.MTU = int(o)
		case nd.AdvertisementInterval:
			ra.Interval = time.Duration(o)
		case nd.HomeAgentInformation:
			if m.HomeAgent {
				seen.Preference, seen.Lifetime = o.Preference, o.Lifetime
			}
		case nd.PrefixInformation:
			ra.Prefixes = append(ra.Prefixes, movement.PrefixInformation{
				Prefix: o.Prefix.Masked(), OnLink: o.OnLink, Autonomous: o.Autonomous,
				Valid: o.ValidLifetime, Preferred: o.PreferredLifetime, RouterAddress: o.RouterAddress, Address: o.Prefix.Addr(),
			})
			if o.RouterAddress && o.ValidLifetime > 0 {
				seen.Addresses = append(seen.Addresses, o.Prefix.Addr())
			}
		}
	}
	l.handle(now, ra)
	if h := l.node.cfg.HomeAgent; h != nil && h.HomeLink == l.cfg.Interface {
		l.node.event(now, seen)
	}
}

// allRouters is the link-local all-routers group (RFC 4291 section 2.7.1).
var allRouters = netip.MustParseAddr("ff02::2")

func (l *link) solicitRouters(e movement.SendRouterSolicitation) {
	source := e.Source
	if !source.IsValid() {
		source = netip.IPv6Unspecified()
	}
	m := &nd.RouterSolicitation{}
	if e.LinkLayerAddress {
		m.Options = nd.Options{nd.SourceLinkLayerAddress(l.eth.HardwareAddr())}
	}
	b, err := nd.Append(nil, source, allRouters, m)
	if err != nil {
		l.node.log.Error("router solicitation", "link", l.cfg.Interface, "error", err)
		return
	}
	l.node.outlet.send(func(p *packet.Packet) { p.Set(b) }, route{fixed: true, port: l.id, router: allRouters})
}
