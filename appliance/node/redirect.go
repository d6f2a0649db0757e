package node

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"kedge/netstack/kernel"
)

// redirect is what makes programs reach destinations through kedge. Where the operator allows it, it is taken away while no
// home agent answers, so that they go by the host's own addresses, and comes back with the first registration. Sockets that
// have the home address already keep it.
type redirect struct {
	log *slog.Logger
	// journal is where changes of the kernel are written to.
	journal *kernel.Journal

	mu       sync.Mutex // guards what follows; its holder asks the kernel
	steering kernel.Steering
	changes  kernel.Changes
	// off says that programs are to go by the host's own addresses.
	off, applied bool
}

// apply sets the redirection up on a new device.
func (r *redirect) apply(s kernel.Steering) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.steering = s
	if r.off {
		return nil
	}
	return r.make()
}

func (r *redirect) make() (err error) {
	r.changes, err = r.steering.ApplyDestinations(r.journal)
	r.applied = err == nil
	return err
}

// undo takes it back.
func (r *redirect) undo() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.take()
}

func (r *redirect) take() error {
	err := r.changes.Undo()
	r.changes, r.applied = nil, false
	return err
}

// set has programs go through kedge or past it.
func (r *redirect) set(off bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off == off {
		return
	}
	r.off = off
	var err error
	if off {
		r.log.Warn("no home agent answers: programs use the host's own addresses until one does")
		err = r.take()
	} else if !r.applied && r.steering.TUN != "" {
		r.log.Info("programs use the home address again")
		err = r.make()
	}
	if err != nil {
		r.log.Error("redirection of programs", "error", err)
	}
}

// plainAfter is how long a mobile node without a home agent holds out before programs go past it: longer than any handoff.
const plainAfter = 10 * time.Second

// homeless watches whether a mobile node has a home agent, or is at home, for plain_ipv6_without_home_agent. It is a machine
// of the loop.
type homeless struct {
	node *Node
	// since is when there was none; zero while there is.
	since time.Time
	off   atomic.Bool
}

// observe is told after each event of the role.
func (h *homeless) observe(now time.Time, anchored bool) {
	switch {
	case anchored:
		h.since = time.Time{}
		h.set(false)
	case h.since.IsZero():
		h.since = now
	}
}

func (h *homeless) set(off bool) {
	if h.off.Swap(off) != off {
		// Whichever goroutine comes last does what was wanted last.
		h.node.chores.Go(func() { h.node.redirect.set(h.off.Load()) })
	}
}

func (h *homeless) next() time.Time {
	if h.since.IsZero() || h.off.Load() {
		return time.Time{}
	}
	return h.since.Add(plainAfter)
}

func (h *homeless) tick(time.Time) { h.set(true) }
