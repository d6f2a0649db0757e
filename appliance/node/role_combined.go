package node

import (
	"errors"
	"net/netip"
	"time"

	"kedge/appliance/control"
	"kedge/signaling"
)

// combined are several roles of one node, each at an address of its own. All are handed every event.
type combined []role

func (c combined) Handle(now time.Time, e signaling.Event) (effects []signaling.Effect) {
	for _, r := range c {
		if concerns(r, e) {
			effects = append(effects, r.Handle(now, e)...)
		}
	}
	return effects
}

// concerns reports whether an event is for a role: a message is for that at whose address it came in.
func concerns(r role, e signaling.Event) bool {
	m, ok := e.(signaling.Received)
	if !ok {
		return true
	}
	switch x := r.(type) {
	case *accessRouter:
		return m.Destination == x.cfg.Address
	case *mobilityDatabase:
		return m.Destination == x.cfg.Address
	}
	return true
}

func (c combined) Next() time.Time {
	var next time.Time
	for _, r := range c {
		next = earliest(next, r.Next())
	}
	return next
}

func (c combined) stopped() bool {
	for _, r := range c {
		if !r.stopped() {
			return false
		}
	}
	return true
}

func (c combined) show(now time.Time, s *control.Status) (reason string) {
	for _, r := range c {
		if why := r.show(now, s); reason == "" {
			reason = why
		}
	}
	return reason
}

func (c combined) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	for _, r := range c {
		list = append(list, r.bindings(now)...)
	}
	return list
}

func (c combined) removeBinding(now time.Time, home netip.Addr) (effects []signaling.Effect, removed bool) {
	for _, r := range c {
		more, did := r.removeBinding(now, home)
		effects, removed = append(effects, more...), removed || did
	}
	return effects, removed
}

func (c combined) start(now time.Time) (effects []signaling.Effect, err error) {
	for _, r := range c {
		more, failed := r.start(now)
		effects, err = append(effects, more...), errors.Join(err, failed)
	}
	return effects, err
}

func (c combined) close() (err error) {
	for _, r := range c {
		err = errors.Join(err, r.close())
	}
	return err
}

// roleOf finds a node's role of one kind; false if it has none.
func roleOf[R role](n *Node) (found R, ok bool) {
	if r, ok := n.role.(R); ok {
		return r, true
	}
	if c, is := n.role.(combined); is {
		for _, r := range c {
			if found, ok = r.(R); ok {
				return found, true
			}
		}
	}
	return found, false
}
