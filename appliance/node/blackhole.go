package node

import (
	"net/netip"
	"sync"

	"kedge/netstack/kernel"
)

// blackhole is a route that makes the host's kernel drop what arrives for an address of kedge's own. The kernel sees every
// frame that kedge sees: one that forwards would send each of them back out, and one without a route would tell the
// sender that there is none. It is made and removed on a goroutine of its own: a handoff does not wait for the journal
// and the kernel.
type blackhole struct {
	mu      sync.Mutex // guards change, and orders making before removing
	change  *kernel.Change
	removed bool
}

func (n *Node) blackhole(a netip.Addr) *blackhole {
	b := &blackhole{}
	n.chores.Go(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.removed {
			return
		}
		var err error
		if b.change, err = n.journal.AddBlackhole(a); err != nil {
			n.log.Warn("the kernel may answer packets for an address of kedge's own", "address", a, "error", err)
		}
	})
	return b
}

// ignoreHomeLink does for all addresses of the home prefixes what blackhole does for one: a home agent on a physical home
// link receives what is for each mobile node that is away.
func (n *Node) ignoreHomeLink() error {
	const beforeSteering = 90
	h := n.cfg.HomeAgent
	if h == nil || h.HomeLink == "" {
		return nil
	}
	for _, p := range h.HomePrefixes {
		if _, err := n.journal.AddRule(kernel.Rule{Priority: beforeSteering, Interface: h.HomeLink, To: p}); err != nil {
			return err
		}
	}
	return nil
}

func (b *blackhole) remove(chores *sync.WaitGroup) {
	if b == nil {
		return
	}
	chores.Go(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.removed = true
		if b.change != nil {
			_ = b.change.Undo() // else the journal's Restore does
		}
	})
}
