package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kedge/appliance/lab/advertise"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/wire"
)

// nodesDirectory has a directory for each node, which the node sees as space.NodeDirectory.
const nodesDirectory = "/run/nodes"

// configName is a kedge node's configuration in its directory.
const configName = "kedge.toml"

// network is a lab's network as it stands in namespaces.
type network struct {
	lab    *topology.Lab
	root   *space.Namespace
	fabric *space.Fabric
	nodes  map[string]*node
	wires  []*wire.Wire

	// advertising are the goroutines that send router advertisements.
	advertising sync.WaitGroup
}

// node is a node as it stands in its namespace.
type node struct {
	*topology.Node
	space     *space.Namespace
	directory string
	process   *process
}

// build makes everything but traffic and processes. It runs in a furnished isolated process; there is nothing to undo.
func build(lab *topology.Lab) (*network, error) {
	root, err := space.Current("lab")
	if err != nil {
		return nil, err
	}
	n := &network{lab: lab, root: root, nodes: map[string]*node{}}
	if n.fabric, err = space.NewFabric(root); err != nil {
		return nil, space.Explain(err)
	}
	for _, w := range lab.Networks {
		if err := n.fabric.Bridge(w.Name); err != nil {
			return nil, err
		}
	}
	for i := range lab.Nodes {
		if err := n.addNode(&lab.Nodes[i]); err != nil {
			return nil, err
		}
	}
	wired := map[string]bool{}
	for i, w := range lab.Wires {
		if err := n.addWire(i, w); err != nil {
			return nil, err
		}
		wired[w.Ends[0]], wired[w.Ends[1]] = true, true
	}
	for _, spec := range lab.Nodes {
		if err := n.connect(n.nodes[spec.Name], wired); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *network) addNode(spec *topology.Node) error {
	s, err := space.Create(spec.Name)
	if err != nil {
		return err
	}
	d := &node{Node: spec, space: s, directory: filepath.Join(nodesDirectory, spec.Name)}
	n.nodes[spec.Name] = d
	// Before there are interfaces, which inherit these. A lab's addresses are unique by construction, so the kernel's
	// own duplicate address detection would only delay the start.
	settings := [][2]string{
		{"net.ipv6.conf.all.accept_dad", "0"},
		{"net.ipv6.conf.default.accept_dad", "0"},
		{"net.ipv6.conf.all.accept_ra", "0"},
		{"net.ipv6.conf.default.accept_ra", "0"},
	}
	if spec.Unmodified {
		settings = nil
	}
	if spec.Kind == topology.RouterKind {
		settings = append(settings, [2]string{"net.ipv6.conf.all.forwarding", "1"}, [2]string{"net.ipv4.ip_forward", "1"})
	}
	for _, v := range settings {
		if err := s.Sysctl(v[0], v[1]); err != nil {
			return err
		}
	}
	return d.furnish()
}

// furnish writes the node's files and configuration into its directory.
func (d *node) furnish() error {
	if err := os.MkdirAll(d.directory, 0o755); err != nil {
		return err
	}
	for name, text := range d.Files {
		if err := os.WriteFile(filepath.Join(d.directory, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if d.Config != "" {
		return os.WriteFile(filepath.Join(d.directory, configName), []byte(d.Config), 0o600)
	}
	return nil
}

func (n *network) addWire(i int, w topology.Wire) error {
	var ends [2]wire.End
	for j, end := range w.Ends {
		name, iface, _ := strings.Cut(end, ".")
		ends[j] = wire.End{Node: n.nodes[name].space, Interface: iface}
	}
	if w.Impaired() {
		made, err := wire.Connect(ends[0], ends[1], impairment(w.Impairment), impairment(w.Backward()), n.lab.Seed+uint64(2*i))
		if err == nil {
			n.wires = append(n.wires, made)
		}
		return err
	}
	if err := space.Wire(ends[0].Node, ends[0].Interface, ends[1].Node, ends[1].Interface, i); err != nil {
		return err
	}
	for _, end := range ends {
		if err := end.Node.SetOffload(end.Interface, n.lab.Offload); err != nil {
			return err
		}
	}
	return nil
}

func impairment(i topology.Impairment) wire.Impairment {
	return wire.Impairment{Delay: i.Delay.Std(), Loss: i.Loss, Rate: i.Rate.PerSecond()}
}

// connect gives a node its interfaces, addresses and routes.
func (n *network) connect(d *node, wired map[string]bool) error {
	for _, f := range d.Interfaces {
		if !wired[d.Name+"."+f.Name] {
			// The lab file has been validated.
			linkLayer, _ := net.ParseMAC(f.LinkLayer)
			if err := n.fabric.Port(d.space, f.Name, linkLayer); err != nil {
				return err
			}
			if err := d.space.SetOffload(f.Name, n.lab.Offload); err != nil {
				return err
			}
		}
		if f.Autoconfigure {
			if err := d.space.Sysctl("net.ipv6.conf."+f.Name+".accept_ra", "2"); err != nil {
				return err
			}
		}
		if err := d.space.Up(f.Name); err != nil {
			return err
		}
		if f.Network != "" {
			if err := n.fabric.Plug(d.space, f.Name, f.Network); err != nil {
				return err
			}
		}
		for _, a := range f.Addresses {
			if err := d.space.AddAddress(f.Name, a); err != nil {
				return err
			}
		}
	}
	if d.NAT != nil {
		if err := d.space.Masquerade(d.NAT.Interface, d.NAT.Timeout.Std()); err != nil {
			return err
		}
	}
	for _, f := range d.Interfaces {
		if err := d.lease(f.Name, f.Network); err != nil {
			return err
		}
	}
	for _, r := range d.Routes {
		if err := d.space.AddRoute(r.To, r.Via); err != nil {
			return err
		}
	}
	for name, value := range d.Sysctls {
		if err := d.space.Sysctl(name, value); err != nil {
			return err
		}
	}
	return nil
}

// advertise starts every router's advertisements, which end with ctx.
func (n *network) advertise(ctx context.Context, failed func(error)) {
	for i, spec := range n.lab.Nodes {
		for j, f := range spec.Interfaces {
			if f.Advertise == nil {
				continue
			}
			policy := advertise.Fast
			if f.Advertise.Policy == topology.RFC4861Policy {
				policy = advertise.RFC4861
			}
			router := advertise.Router{
				Policy:         policy,
				Prefixes:       f.Advertise.Prefixes,
				RouterLifetime: f.Advertise.RouterLifetime.Std(),
				Valid:          f.Advertise.Valid.Std(),
				Preferred:      f.Advertise.Preferred.Std(),
				RetransTimer:   f.Advertise.RetransTimer.Std(),
			}
			n.advertising.Go(func() {
				if err := advertise.Run(ctx, n.nodes[spec.Name].space, f.Name, router, n.lab.Seed+uint64(64*i+j)); err != nil {
					failed(err)
				}
			})
		}
	}
}

// lease gives an interface what a network has for it.
func (d *node) lease(iface, network string) error {
	if l := d.Interface(iface).Lease(network); l != nil {
		return d.space.TakeLease(iface, space.Lease{Address: l.Address, Router: l.Router})
	}
	return nil
}

// release takes from an interface what it had of networks.
func (d *node) release(iface string) error {
	for _, l := range d.Interface(iface).Leases {
		if err := d.space.DropLease(iface, space.Lease{Address: l.Address, Router: l.Router}); err != nil {
			return err
		}
	}
	return nil
}

// forget has NATs lose their mappings.
func (n *network) forget(at []string) (moment int64, err error) {
	moment = now()
	for _, name := range at {
		if err := n.nodes[name].space.ForgetMappings(); err != nil {
			return moment, err
		}
	}
	return moment, nil
}

// move plugs an interface into another network, or only unplugs it; plugged is the moment before the new carrier.
func (n *network) move(m topology.Move) (unplugged, plugged int64, err error) {
	d := n.nodes[m.Node]
	if d == nil || d.Interface(m.Interface) == nil {
		return 0, 0, fmt.Errorf("there is no interface %s.%s", m.Node, m.Interface)
	}
	if m.To != "" && n.lab.Network(m.To) == nil {
		return 0, 0, fmt.Errorf("there is no network %q", m.To)
	}
	if m.Way == topology.ForgetWay {
		moment, err := n.forget(m.At)
		return moment, moment, err
	}
	unplugged = now()
	if m.Way == topology.RestartWay {
		if err := d.space.Down(m.Interface); err != nil {
			return 0, 0, err
		}
	}
	if err := n.fabric.Unplug(d.space, m.Interface); err != nil {
		return 0, 0, err
	}
	if d.Interface(m.Interface).Autoconfigure {
		if err := d.space.ForgetAutoconfigured(m.Interface); err != nil {
			return 0, 0, err
		}
	}
	if err := d.release(m.Interface); err != nil {
		return 0, 0, err
	}
	time.Sleep(m.Gap.Std())
	plugged = now()
	if m.To != "" {
		err = n.fabric.Plug(d.space, m.Interface, m.To)
	}
	if m.Way == topology.RestartWay && err == nil {
		err = d.space.Up(m.Interface)
	}
	if err == nil && m.To != "" {
		err = d.lease(m.Interface, m.To)
	}
	return unplugged, plugged, err
}
