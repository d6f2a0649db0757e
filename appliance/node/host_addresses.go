package node

import (
	"net/netip"
	"slices"
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
	addresses map[netip.Addr]hostAddress
	// left are the rules of addresses that were released: sockets may still have them, and what they send has to go into the
	// TUN device, which drops it.
	left   []hostAddress
	routes map[signaling.Hint]*kernel.Change
}

// hostAddress is what was asked of the kernel for one address.
type hostAddress struct {
	netip.Addr
	address, rule *kernel.Change
}

// maxLeft bounds the rules that are kept for released addresses.
const maxLeft = 64

// hostBacklog is how many changes may wait before whoever asks has to.
const hostBacklog = 1024

func newHostAddresses(n *Node) *hostAddresses {
	h := &hostAddresses{
		node: n, held: map[netip.Addr]map[netip.Prefix]bool{}, work: make(chan func(), hostBacklog),
		addresses: map[netip.Addr]hostAddress{}, routes: map[signaling.Hint]*kernel.Change{},
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
	tun, mtu := h.node.cfg.TUN.Name, insideMTU(h.node.cfg)
	if _, held := h.addresses[e.Address]; !held {
		if i := slices.IndexFunc(h.left, func(a hostAddress) bool { return a.Addr == e.Address }); i >= 0 {
			_ = h.left[i].rule.Undo()
			h.left = slices.Delete(h.left, i, i+1)
		}
		address, rule, err := kernel.HostAddress{TUN: tun, Address: e.Address}.Apply(h.node.journal)
		if err != nil {
			h.node.log.Warn("programs will not use an address", "address", e.Address, "error", err)
			return
		}
		h.addresses[e.Address] = hostAddress{e.Address, address, rule}
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
		held, ok := h.addresses[a]
		if !ok {
			return
		}
		if err := held.address.Undo(); err != nil {
			h.node.log.Warn("address of the host", "address", a, "error", err)
		}
		delete(h.addresses, a)
		if h.left = append(h.left, held); len(h.left) > maxLeft {
			_ = h.left[0].rule.Undo()
			h.left = h.left[1:]
		}
	}
}

// again does all of it anew: the device that it was done on is gone.
func (h *hostAddresses) again() {
	h.work <- func() {
		addresses, routes := h.addresses, h.routes
		h.addresses, h.routes = map[netip.Addr]hostAddress{}, map[signaling.Hint]*kernel.Change{}
		// They went with the device, but the rules did not, and the journal has to know.
		for _, change := range routes {
			_ = change.Undo()
		}
		for _, a := range addresses {
			_ = kernel.Changes{a.rule, a.address}.Undo()
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
