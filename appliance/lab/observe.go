package lab

import (
	"context"
	"net/netip"
	"path/filepath"

	"kedge/appliance/control"
	"kedge/appliance/lab/topology"
)

// client speaks to a kedge node.
func (d *node) client() *control.Client {
	return control.NewClient(filepath.Join(d.directory, controlSocket))
}

// observe asks the kedge nodes what they know of the flows, before the first move.
func (s *session) observe(ctx context.Context, f *flows) {
	if f.holders != nil || len(f.services) == 0 {
		return
	}
	f.holders = map[netip.Prefix]string{}
	for _, spec := range s.lab.Nodes {
		if spec.Kind != topology.KedgeKind {
			continue
		}
		client := s.network.nodes[spec.Name].client()
		if status, err := client.Status(ctx); err == nil {
			s.name(status, spec.Name)
		}
		bindings, err := client.Bindings(ctx)
		if err != nil {
			continue
		}
		for _, b := range bindings {
			// A mobile node's own list names the peer.
			if !b.Peer.IsValid() {
				f.holders[b.Home] = spec.Name
			}
		}
	}
	for _, v := range f.services {
		if v.session != nil {
			v.before = s.ask(ctx, v)
		}
	}
}

// holder is the node that had a binding for an address before the first move, empty if none had.
func (f *flows) holder(a netip.Addr) string {
	for prefix, holder := range f.holders {
		if prefix.Contains(a) {
			return holder
		}
	}
	return ""
}

// name notes which addresses are a node's.
func (s *session) name(status control.Status, node string) {
	if s.result.Names == nil {
		s.result.Names = map[netip.Addr]string{}
	}
	for _, l := range status.Links {
		for _, a := range l.Addresses {
			s.result.Names[a] = node
		}
	}
}

// mobileEnd is the session's addresses at the mobile node.
func (v *service) mobileEnd() (local, remote netip.AddrPort) {
	if v.mobile == v.spec.From {
		return v.session.Opener()
	}
	return v.session.Acceptor()
}

// seen is the mobile node's address as the correspondent sees it.
func (v *service) seen() netip.Addr {
	_, remote := v.session.Acceptor()
	if v.mobile != v.spec.From {
		_, remote = v.session.Opener()
	}
	return remote.Addr()
}

// ask finds what the mobile node knows of a session, nil if it does not.
func (s *session) ask(ctx context.Context, v *service) *control.Flow {
	client := s.network.nodes[v.mobile].client()
	all, err := client.Flows(ctx, 1000)
	if err != nil {
		return nil
	}
	local, remote := v.mobileEnd()
	for _, f := range all {
		if f.Remote != remote.Addr() || f.RemotePort != remote.Port() || f.LocalPort != local.Port() {
			continue
		}
		if detailed, err := client.Flow(ctx, f.Number); err == nil {
			return &detailed
		}
		return &f
	}
	return nil
}
