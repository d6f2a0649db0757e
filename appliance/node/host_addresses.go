package node

import (
	"net/netip"
	"sync"

	"kedge/forwarding/flow"
	"kedge/netstack/kernel"
	"kedge/signaling"
)

// hostAddresses are Distributed Home Addresses that the host itself holds, with the routes that have its programs use them.
// What is asked of the kernel is done by a goroutine of its own, in order: a flow does not wait for it.
type hostAddresses struct {
	node *Node
	// held are the addresses, with the hints of each.
	held map[netip.Addr]map[netip.Prefix]bool

	work chan func()
	done sync.WaitGroup

	// For the goroutine alone.
	addresses map[netip.Addr]kernel.Changes
	routes    map[signaling.Hint]*kernel.Change
}

// hostBacklog is how many changes may wait before whoever asks has to.
const hostBacklog = 1024

func newHostAddresses(n *Node) *hostAddresses {
	h := &hostAddresses{
		node: n, held: map[netip.Addr]map[netip.Prefix]bool{}, work: make(chan func(), hostBacklog),
		addresses: map[netip.Addr]kernel.Changes{}, routes: map[signaling.Hint]*kernel.Change{},
	}
	h.done.Go(func() {
		for f := range h.work {
			f()
		}
	})
	return h
}

// close waits for what was asked. The journal undoes the rest.
func (h *hostAddresses) close() {
	close(h.work)
	h.done.Wait()
}

func (h *hostAddresses) holds(a netip.Addr) bool { return h.held[a] != nil }

// hint has the host hold an address and prefer it towards a prefix.
func (h *hostAddresses) hint(e signaling.Hint) {
	if h.held[e.Address] == nil {
		if err := h.node.engine.SetAddressUse(e.Address, flow.Host); err != nil {
			h.node.log.Error("address for the host", "address", e.Address, "error", err)
			return
		}
		h.held[e.Address] = map[netip.Prefix]bool{}
	}
	h.held[e.Address][e.Prefix] = true
	h.work <- func() { h.hintNow(e) }
}

func (h *hostAddresses) hintNow(e signaling.Hint) {
	tun, mtu := h.node.cfg.TUN.Name, max(h.node.cfg.TUN.MTU-tunnelOverhead, 1280)
	if h.addresses[e.Address] == nil {
		changes, err := kernel.HostAddress{TUN: tun, Address: e.Address}.Apply(h.node.journal)
		if err != nil {
			h.node.log.Warn("programs will not use an address", "address", e.Address, "error", err)
			return
		}
		h.addresses[e.Address] = changes
	}
	change, err := kernel.Hint{TUN: tun, Address: e.Address, Prefix: e.Prefix, MTU: mtu}.Apply(h.node.journal)
	if err != nil {
		h.node.log.Warn("programs will not use an address", "address", e.Address, "for", e.Prefix, "error", err)
		return
	}
	h.routes[e] = change
}

// unhint takes a hint back; connections that use the address go on.
func (h *hostAddresses) unhint(e signaling.Unhint) {
	if h.held[e.Address] == nil {
		return
	}
	delete(h.held[e.Address], e.Prefix)
	h.work <- func() { h.dropRoute(signaling.Hint(e)) }
}

// release takes an address away from the host.
func (h *hostAddresses) release(a netip.Addr) {
	prefixes := h.held[a]
	if prefixes == nil {
		return
	}
	delete(h.held, a)
	h.work <- func() {
		for p := range prefixes {
			h.dropRoute(signaling.Hint{Address: a, Prefix: p})
		}
		if err := h.addresses[a].Undo(); err != nil {
			h.node.log.Warn("address of the host", "address", a, "error", err)
		}
		delete(h.addresses, a)
	}
}

// again does all of it anew: the device that it was done on is gone.
func (h *hostAddresses) again() {
	h.work <- func() {
		addresses, routes := h.addresses, h.routes
		h.addresses, h.routes = map[netip.Addr]kernel.Changes{}, map[signaling.Hint]*kernel.Change{}
		// They went with the device, but the rules did not, and the journal has to know.
		for _, change := range routes {
			_ = change.Undo()
		}
		for _, changes := range addresses {
			_ = changes.Undo()
		}
		for e := range routes {
			h.hintNow(e)
		}
	}
}

func (h *hostAddresses) dropRoute(e signaling.Hint) {
	if change := h.routes[e]; change != nil {
		delete(h.routes, e)
		if err := change.Undo(); err != nil {
			h.node.log.Warn("address of the host", "address", e.Address, "for", e.Prefix, "error", err)
		}
	}
}
