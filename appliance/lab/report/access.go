package report

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
)

// Access is what was observed of network-based mobility.
type Access struct {
	// Host is the node that moves without mobility software, Transit the one that messages and tunnels were seen at.
	Host, Transit string
	Places        []Place
	// Names are the nodes by address.
	Names map[netip.Addr]string
}

// Place is where the host was, from one move to the next.
type Place struct {
	Network string
	// Router is the node that serves hosts there, Pool what their prefixes are of.
	Router string
	Pool   netip.Prefix
	// Way is how the host came.
	Way topology.Way
	// Begin is when the host left the place before, Plugged when it arrived, End when it left.
	Begin, Plugged, End int64
	// Host and Tunnels are as they were just before End.
	Host    space.HostState
	Tunnels []Tunnel
	// Messages, Data and Events from Begin to End.
	Messages []measure.Message
	Data     []measure.Data
	Events   []measure.Event
}

// Tunnel is an entry of a node's bindings: packets to Prefix go to Remote.
type Tunnel struct {
	Node   string
	Prefix netip.Prefix
	Remote netip.Addr
	State  string
}

// router is a default router as a host is told of it.
type router struct {
	linkLocal netip.Addr
	linkLayer string
	preferred time.Duration
}

// signalling reports whether a message is of the Mobility Header.
func signalling(m measure.Message) bool {
	switch m.Kind {
	case "RA", "RS", "NS", "NA", "MLD":
		return false
	}
	return true
}

// counts are the signalling messages of a place by kind, and the octets of all.
func (p Place) counts() (kinds map[string]int, messages, octets int) {
	kinds = map[string]int{}
	for _, m := range p.Messages {
		if signalling(m) {
			kinds[m.Kind]++
			messages++
			octets += m.Octets
		}
	}
	return kinds, messages, octets
}

// routers are those that the host was told of, by prefix, as last told.
func (p Place) routers() map[netip.Prefix]router {
	out := map[netip.Prefix]router{}
	for _, m := range p.Messages {
		for _, v := range m.Prefixes {
			out[v.Prefix] = router{linkLocal: m.From, linkLayer: m.LinkLayer, preferred: v.Preferred}
		}
	}
	return out
}

// local is the prefix that new connections shall use: the one that is advertised as preferred and is of the place's pool.
func (p Place) local() netip.Prefix {
	for prefix, r := range p.routers() {
		if r.preferred > 0 && p.Pool.Contains(prefix.Addr()) {
			return prefix
		}
	}
	return netip.Prefix{}
}

// first is the time from plugging in until the first message that is meant, and whether there was one.
func (p Place) first(meant func(measure.Message) bool) (time.Duration, bool) {
	for _, m := range p.Messages {
		if m.Time >= p.Plugged && meant(m) {
			return time.Duration(m.Time - p.Plugged), true
		}
	}
	return 0, false
}

// told is the time until the host was told of a prefix as preferred, or of all others as deprecated.
func (p Place) told(local netip.Prefix) (preferred, deprecated time.Duration) {
	seen := map[netip.Prefix]bool{}
	for _, m := range p.Messages {
		for _, v := range m.Prefixes {
			since := time.Duration(m.Time - p.Plugged)
			switch {
			case since < 0 || seen[v.Prefix]:
			case v.Prefix == local && v.Preferred > 0:
				preferred, seen[v.Prefix] = since, true
			case v.Prefix != local && v.Preferred == 0:
				deprecated, seen[v.Prefix] = max(deprecated, since), true
			}
		}
	}
	return preferred, deprecated
}

// firstLocal is the time until the first exchange of a flow used the local prefix, and whether one did.
func (p Place) firstLocal(f Flow, local netip.Prefix) (time.Duration, bool) {
	for _, x := range f.Exchanges {
		if x.Began >= p.Plugged && x.Began < p.End && local.Contains(x.Local) {
			return time.Duration(x.Began - p.Plugged), true
		}
	}
	return 0, false
}

// localUsed is the time until new connections used the local prefix, 0 if none did.
func (r *Result) localUsed(p Place) time.Duration {
	for _, f := range r.Flows {
		if used, ok := p.firstLocal(f, p.local()); ok && f.Mobile == r.Access.Host {
			return used
		}
	}
	return 0
}

// tunnelled are the packets between two nodes in tunnels.
type tunnelled struct {
	from, to        netip.Addr
	packets, octets int
}

// tunnels are those that were seen in use, in order of first use.
func (p Place) tunnels() (out []*tunnelled) {
	for _, d := range p.Data {
		if !d.Tunnelled() {
			continue
		}
		i := slices.IndexFunc(out, func(t *tunnelled) bool { return t.from == d.OuterFrom && t.to == d.OuterTo })
		if i < 0 {
			i = len(out)
			out = append(out, &tunnelled{from: d.OuterFrom, to: d.OuterTo})
		}
		t := out[i]
		t.packets++
		t.octets += d.Octets
	}
	return out
}

// traffic counts the packets of a prefix since a time that passed as they are, and those in tunnels.
func (p Place) traffic(prefix netip.Prefix, since int64) (native, tunnelled int) {
	for _, d := range p.Data {
		if d.Time < since || !prefix.IsValid() || !prefix.Contains(d.From.Addr()) && !prefix.Contains(d.To.Addr()) {
			continue
		}
		if d.Tunnelled() {
			tunnelled++
		} else {
			native++
		}
	}
	return native, tunnelled
}

// returnTime is how long after a return what is on its way to the place before may still come through a tunnel.
const returnTime = int64(time.Second)

// since is from when no packet of the local prefix may be in a tunnel: from the beginning, but at a place that the host
// returns to.
func (a *Access) since(i int) int64 {
	for _, before := range a.Places[:i] {
		if before.Network == a.Places[i].Network {
			return a.Places[i].Plugged + returnTime
		}
	}
	return a.Places[i].Begin
}

// placeName is the place's number and router.
func (a *Access) placeName(i int) string {
	return fmt.Sprintf("place %d, %s", i+1, a.Places[i].Router)
}

// name is the name of a node's address, or of the DLIF whose link-local address it is.
func (a *Access) name(address netip.Addr) string {
	if name, ok := a.Names[address]; ok {
		return name
	}
	for _, p := range a.Places {
		for prefix, r := range p.routers() {
			if r.linkLocal == address {
				return a.anchor(prefix) + "'s DLIF"
			}
		}
	}
	return address.String()
}

// anchor is the router whose pool a prefix is of.
func (a *Access) anchor(prefix netip.Prefix) string {
	for _, p := range a.Places {
		if p.Pool.Contains(prefix.Addr()) {
			return p.Router
		}
	}
	return prefix.String()
}

// sorted are prefixes in the order of the places that they are of.
func (a *Access) sorted(routers map[netip.Prefix]router) []netip.Prefix {
	var out []netip.Prefix
	for prefix := range routers {
		out = append(out, prefix)
	}
	slices.SortFunc(out, func(x, y netip.Prefix) int { return x.Addr().Compare(y.Addr()) })
	return out
}
