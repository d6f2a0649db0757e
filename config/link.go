package config

import (
	"fmt"
	"net/netip"
	"strings"
)

func (r *reader) tun(d *documentTUN) *TUN {
	if d == nil {
		return nil
	}
	on := func(b *bool) bool { return b == nil || *b }
	t := &TUN{
		Name:          text(d.Name, DefaultTUNName),
		MTU:           int(r.number("tun.mtu", d.MTU, 1500, 1280, 65535)),
		Offload:       on(d.Offload),
		OffloadTCP:    on(d.Offload) && on(d.OffloadTCP),
		OffloadUDP:    on(d.Offload) && on(d.OffloadUDP),
		ForwardByHost: d.ForwardByHost != nil && *d.ForwardByHost,
	}
	r.interfaceName("tun.name", t.Name)
	return t
}

func (r *reader) interfaceName(key, name string) {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/ \t\n:") {
		r.wrong(key, "an interface name of 1 to 15 characters", "%s", quoted(name))
	}
}

func (r *reader) links(in []documentLink, hosts bool) []Link {
	var links []Link
	seen := map[string]bool{}
	for i := range in {
		l := r.link(fmt.Sprintf("link.%d", i), &in[i], hosts)
		if seen[l.Interface] {
			r.wrong(fmt.Sprintf("link.%d.interface", i), "each interface in one [[link]]", "%q again", l.Interface)
		}
		seen[l.Interface] = true
		links = append(links, l)
	}
	return links
}

// link reads a [[link]]; hosts says that one without addresses of kedge's own is of use.
func (r *reader) link(key string, d *documentLink, hosts bool) Link {
	l := Link{
		Interface:         d.Interface,
		Native:            d.Autoconfigure || d.Access || len(d.Addresses) > 0,
		Autoconfigure:     d.Autoconfigure,
		Access:            d.Access,
		KeepCareOfAddress: d.KeepCareOfAddress,
		Preference:        int(r.number(key+".preference", &d.Preference, 0, -1000, 1000)),
		Offload:           d.Offload == nil || *d.Offload,
	}
	r.interfaceName(key+".interface", l.Interface)
	for i, s := range d.Addresses {
		l.Addresses = append(l.Addresses, r.interfaceAddress(fmt.Sprintf("%s.addresses.%d", key, i), s))
	}
	switch {
	case l.Access && (l.Autoconfigure || len(l.Addresses) > 0 || d.Gateway != nil):
		r.wrong(key+".access", "access = true alone: the routers that mobile nodes see there have addresses of kedge's choice", "addresses beside it")
	case l.Access:
	case l.Autoconfigure && (len(l.Addresses) > 0 || d.Gateway != nil):
		r.wrong(key+".autoconfigure", "either autoconfigure = true, or addresses and a gateway", "both")
	case !l.Native && !hosts:
		r.wrong(key+".addresses", "addresses of kedge's own on the link, or autoconfigure = true", "neither")
	}
	if l.KeepCareOfAddress && !l.Autoconfigure {
		r.wrong(key+".keep_care_of_address", "autoconfigure = true beside it", "a link without")
	}
	if d.Gateway != nil {
		l.Gateway = r.gateway(key+".gateway", *d.Gateway, l.Addresses)
	}
	return l
}

func (r *reader) interfaceAddress(key, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil || !globalUnicast(p.Addr()) {
		r.wrong(key, "a global unicast IPv6 address with the link's prefix length, such as \"2001:db8:1::7/64\"", "%s", quoted(s))
		return netip.Prefix{}
	}
	return p
}

func (r *reader) gateway(key, s string, addresses []netip.Prefix) netip.Addr {
	a, err := netip.ParseAddr(s)
	if err == nil && a.Is6() && a.Zone() == "" {
		if a.IsLinkLocalUnicast() {
			return a
		}
		for _, p := range addresses {
			if p.IsValid() && p.Contains(a) && p.Addr() != a {
				return a
			}
		}
	}
	r.wrong(key, "a link-local address, or a neighbour's address in a prefix of this link's addresses", "%s", quoted(s))
	return netip.Addr{}
}
