package node

import (
	"net/netip"
	"sync"

	"kedge/netstack/kernel"
)

// blackhole is a route that makes the host's kernel drop what arrives for an address of kedge's own. The kernel sees every
// frame that kedge sees; one that forwards would send each of them back out. It is made and removed on a goroutine of its
// own: a handoff does not wait for the journal and the kernel.
type blackhole struct {
	mu      sync.Mutex // guards change, and orders making before removing
	change  *kernel.Change
	removed bool
}

// blackhole returns nil where the kernel does not forward and needs none.
func (n *Node) blackhole(name string, a netip.Addr) *blackhole {
	if !n.forwards(name) {
		return nil
	}
	b := &blackhole{}
	n.chores.Go(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.removed {
			return
		}
		var err error
		if b.change, err = n.journal.AddBlackhole(a); err != nil {
			n.log.Warn("the kernel forwards and may bounce packets for an address of kedge's own", "address", a, "error", err)
		}
	})
	return b
}

// forwards reports whether the kernel forwards what arrives at an interface.
func (n *Node) forwards(name string) bool {
	return kernel.ExamineForwarding(name).State != kernel.Absent
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
