package simulation

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/clocktest"
	"kedge/signaling/discovery"
	"kedge/signaling/homeagent"
)

// agent is the home agent's host.
type agent struct {
	w     *world
	life  int
	m     *homeagent.Machine
	timer timer
	clock int64
	up    bool
	// careOf is where its tunnel for the home address ends; invalid if there is none.
	careOf  netip.Addr
	defends bool
	store   memory
}

// memory is a store that outlives the home agent.
type memory map[string][]byte

func (s memory) Save(key, record []byte) error { s[string(key)] = record; return nil }

func (s memory) Delete(key []byte) error { delete(s, string(key)); return nil }

func (s memory) Load(each func(key, record []byte) error) error {
	for k, r := range s {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return nil
}

func newAgent(w *world) *agent {
	a := &agent{w: w, store: memory{}}
	a.start()
	return a
}

func (a *agent) time() time.Time { return clocktest.Step(a.w.epoch.Add(a.w.now), a.clock) }

func (a *agent) start() {
	cfg := homeagent.Config{
		Address:      agentAddr,
		HomePrefixes: []homeagent.HomePrefix{{Prefix: homePrefix}},
		MaxLifetime:  time.Hour,
		MobileNodes:  []homeagent.MobileNode{{HomeAddress: home, SPI: key.SPI}},
		Associations: map[uint32]auth.Association{key.SPI: key},
		Random:       rand.New(rand.NewPCG(a.w.c.seed, 2)),
	}
	if a.w.c.unauthenticated {
		cfg.MobileNodes[0].SPI, cfg.MobileNodes[0].AllowUnauthenticated, cfg.Associations = 0, true, nil
	}
	if a.w.c.physical {
		cfg.HomeLink = "home"
	}
	if a.w.c.stored {
		cfg.Store = a.store
	}
	var err error
	if a.m, err = homeagent.New(cfg, a.time()); err != nil {
		a.w.t.Fatal(err)
	}
	a.life++
	a.timer = timer{-1}
	a.up, a.careOf, a.defends = true, netip.Addr{}, false
	if a.w.c.stored {
		effects, err := a.m.Restore(a.time())
		if err != nil {
			a.w.t.Fatal(err)
		}
		a.carryOut(effects)
	}
}

func (a *agent) stop() {
	a.up, a.careOf, a.defends = false, netip.Addr{}, false
	a.life++
}

func (a *agent) handle(e signaling.Event) {
	if a.up {
		a.carryOut(a.m.Handle(a.time(), e))
	}
}

func (a *agent) carryOut(effects []signaling.Effect) {
	life := a.life
	for _, effect := range effects {
		switch x := effect.(type) {
		case signaling.Send:
			to, r := x.Destination, signaling.Received{Source: x.Source, Destination: x.Destination, RoutingHome: x.RoutingHome, Payload: x.Payload}
			if x.Tunnel.IsValid() {
				to, r.Tunneled = a.careOf, true
			}
			a.w.transport(func() { a.w.mn.receive(to, r) })
		case signaling.Report:
			a.w.trace("home agent ", x)
		case signaling.SendICMP:
			r := signaling.ReceivedICMP{Source: x.Source, Destination: x.Destination, RoutingHome: x.RoutingHome, Payload: x.Payload}
			if !discovery.ChecksumValid(x.Payload, x.Source, x.Destination) {
				a.w.t.Fatalf("seed %d: bad checksum of %x", a.w.c.seed, x.Payload)
			}
			a.w.transport(func() {
				if a.w.mn.reaches(r.Destination) {
					a.w.mn.handle(r)
				}
			})
		case signaling.Bind:
			a.careOf = x.Remote
		case signaling.Unbind:
			a.careOf = netip.Addr{}
		case signaling.Defend:
			a.defends = true
		case signaling.Undefend:
			a.defends = false
		case signaling.ProbeDuplicate:
			a.w.after(time.Second, func() {
				if a.life == life {
					duplicate := a.w.mn.defends && a.w.mn.reaches(home)
					a.handle(signaling.DuplicateResult{Link: x.Link, Address: x.Address, Duplicate: duplicate})
				}
			})
		}
	}
	a.w.arm(&a.timer, a.m.Next(), a.time, func() {
		if a.life == life {
			a.handle(signaling.Tick{})
		}
	})
}

// tunnelled is a packet out of a tunnel from local.
func (a *agent) tunnelled(local netip.Addr) {
	switch {
	case !a.up:
	case a.careOf == local:
		a.w.delivered = a.w.now
	default:
		a.w.transport(func() { a.w.mn.refuse(local) })
	}
}
