package report

import (
	"net/netip"
	"slices"

	"kedge/appliance/lab/measure"
)

type (
	jsonAccess struct {
		Host   string      `json:"host"`
		Places []jsonPlace `json:"places"`
	}
	// A place is where the host was from one move to the next. Absent figures are 0.
	jsonPlace struct {
		Network     string         `json:"network"`
		Router      string         `json:"router"`
		LocalPrefix netip.Prefix   `json:"local_prefix,omitzero"`
		Way         string         `json:"arrived_by,omitempty"`
		Cut         float64        `json:"unplugged_ms,omitempty"`
		Messages    map[string]int `json:"signalling_messages"`
		Octets      int            `json:"signalling_octets"`
		Host        float64        `json:"host_seen_ms"`
		Signalling  float64        `json:"first_signalling_ms"`
		Local       float64        `json:"local_prefix_advertised_ms"`
		Others      float64        `json:"other_prefixes_advertised_ms"`
		LocalUsed   float64        `json:"local_prefix_used_ms"`
		Native      int            `json:"packets_of_local_prefix_not_tunnelled"`
		Tunnelled   int            `json:"packets_of_local_prefix_tunnelled"`

		Addresses []jsonHostAddress `json:"addresses"`
		Neighbors []jsonNeighbor    `json:"neighbours"`
		Routers   []netip.Addr      `json:"default_routers"`
		Tunnels   []jsonTunnel      `json:"tunnels"`
		Seen      []jsonSeenTunnel  `json:"tunnels_seen"`
	}
	jsonHostAddress struct {
		Address   netip.Addr `json:"address"`
		State     string     `json:"state"`
		Preferred float64    `json:"preferred_seconds"`
		Valid     float64    `json:"valid_seconds"`
	}
	jsonNeighbor struct {
		Address   netip.Addr `json:"address"`
		LinkLayer string     `json:"link_layer_address"`
		Router    bool       `json:"router"`
		State     string     `json:"state"`
	}
	jsonTunnel struct {
		Node   string       `json:"node"`
		Prefix netip.Prefix `json:"prefix"`
		Remote string       `json:"to"`
	}
	jsonSeenTunnel struct {
		From    string `json:"from"`
		To      string `json:"to"`
		Packets int    `json:"packets"`
		Octets  int    `json:"octets"`
	}
	jsonMoveSilence struct {
		// Move counts from 1.
		Move     int         `json:"move"`
		Downlink jsonSilence `json:"to_mobile_node"`
		Uplink   jsonSilence `json:"from_mobile_node"`
	}
)

func (r *Result) jsonAccess() *jsonAccess {
	a := r.Access
	if a == nil {
		return nil
	}
	out := &jsonAccess{Host: a.Host}
	for i, p := range a.Places {
		kinds, _, octets := p.counts()
		local := p.local()
		j := jsonPlace{
			Network: p.Network, Router: p.Router, LocalPrefix: local, Way: string(p.Way), Cut: float64(p.Plugged-p.Begin) / 1e6,
			Messages: kinds, Octets: octets, Routers: p.Host.Routers,
		}
		if i > 0 {
			host, _ := p.first(func(m measure.Message) bool { return a.signalled(m, p) })
			first, _ := p.first(signalling)
			preferred, deprecated := p.told(local)
			j.Host, j.Signalling, j.Local, j.Others = milliseconds(host), milliseconds(first), milliseconds(preferred), milliseconds(deprecated)
			j.LocalUsed = milliseconds(r.localUsed(p))
		}
		j.Native, j.Tunnelled = p.traffic(local, a.since(i))
		for _, v := range p.Host.Addresses {
			j.Addresses = append(j.Addresses, jsonHostAddress{v.Address, stateText(v), v.Preferred.Seconds(), v.Valid.Seconds()})
		}
		for _, v := range p.Host.Neighbors {
			j.Neighbors = append(j.Neighbors, jsonNeighbor{v.Address, v.LinkLayer, v.Router, v.State})
		}
		for _, v := range p.Tunnels {
			j.Tunnels = append(j.Tunnels, jsonTunnel{v.Node, v.Prefix, a.name(v.Remote)})
		}
		for _, v := range p.tunnels() {
			j.Seen = append(j.Seen, jsonSeenTunnel{a.name(v.from), a.name(v.to), v.packets, v.octets})
		}
		out.Places = append(out.Places, j)
	}
	return out
}

func jsonSilences(all []MoveSilence) (out []jsonMoveSilence) {
	for _, s := range all {
		out = append(out, jsonMoveSilence{Move: s.Move + 1, Downlink: silence(s.Downlink), Uplink: silence(s.Uplink)})
	}
	return slices.Clip(out)
}
