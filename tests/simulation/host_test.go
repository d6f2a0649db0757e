package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"

	"kedge/signaling"
	"kedge/signaling/clocktest"
)

// host runs one node's machine.
type host struct {
	w    *internet
	name string
	// life counts starts of the program, and clock is how many seconds its clock was set forward.
	life    int
	clock   int64
	up      bool
	machine signaling.Machine
	carry   func(signaling.Effect)
	// timer is this life's.
	timer  *timer
	events []signaling.Event
	busy   bool

	second         time.Duration
	ticks, effects int
	// total counts effects that others see, and stuck the ticks in one instant.
	total int
	stuck int
	at    time.Duration
}

func newHost(w *internet, name string, number uint64) host {
	h := host{w: w, name: name}
	if s := int64(w.c.skew / time.Second); s > 0 {
		h.clock = rand.New(rand.NewPCG(w.c.seed, number)).Int64N(2*s+1) - s
	}
	return h
}

func (h *host) time() time.Time { return clocktest.Step(h.w.epoch.Add(h.w.now), h.clock) }

// begin is a start of the program with a machine.
func (h *host) begin(m signaling.Machine) {
	h.machine, h.up, h.timer, h.events = m, true, &timer{-1}, nil
	h.life++
}

// stop is a crash.
func (h *host) stop() {
	h.up, h.events = false, nil
	h.life++
	h.w.tally.restarts++
}

// handle hands the machine an event and carries out what it wants; what that leads to comes after.
func (h *host) handle(e signaling.Event) {
	if !h.up {
		return
	}
	if h.events = append(h.events, e); h.busy {
		return
	}
	h.busy = true
	for len(h.events) > 0 {
		e := h.events[0]
		h.events = h.events[1:]
		effects := h.machine.Handle(h.time(), e)
		h.count(e, len(effects))
		h.carryAll(effects)
	}
	h.busy = false
	h.arm()
}

func (h *host) carryAll(effects []signaling.Effect) {
	for _, x := range effects {
		switch x := x.(type) {
		case signaling.Report:
			if h.w.traced {
				h.w.t.Logf("%10v %s %s home %v care-of %v peer %v sequence %d lifetime %v status %d %s", h.w.now.Round(time.Millisecond/10),
					h.name, x.Kind, x.Home, x.CareOf, x.Peer, x.Sequence, x.Lifetime, x.Status, x.Detail)
			}
		default:
			h.total++
		}
		h.carry(x)
	}
}

func (h *host) arm() {
	life := h.life
	h.w.arm(h.timer, h.machine.Next(), h.time, func() {
		if h.life == life {
			h.handle(signaling.Tick{})
		}
	})
}

const (
	// mostTicks and mostEffects bound what a machine does in one second; mostStuck is how often it may want a tick in the
	// same instant.
	mostTicks   = 400
	mostEffects = 4000
	mostStuck   = 20
)

// count looks whether the machine spins.
func (h *host) count(e signaling.Event, effects int) {
	if s := h.w.now.Truncate(time.Second); s != h.second {
		h.second, h.ticks, h.effects = s, 0, 0
	}
	h.effects += effects
	if _, tick := e.(signaling.Tick); tick {
		h.ticks++
		if h.at != h.w.now {
			h.at, h.stuck = h.w.now, 0
		}
		h.stuck++
	}
	h.w.tally.ticks, h.w.tally.effects = max(h.w.tally.ticks, h.ticks), max(h.w.tally.effects, h.effects)
	switch {
	case h.stuck > mostStuck:
		h.w.fatal("%s wants tick after tick: next is %v after now", h.name, h.machine.Next().Sub(h.time()))
	case !h.w.flooded && (h.ticks > mostTicks || h.effects > mostEffects):
		h.w.fatal("%s spins: %d ticks and %d effects in a second", h.name, h.ticks, h.effects)
	}
}

func (h *host) String() string { return fmt.Sprintf("%s (life %d)", h.name, h.life) }
