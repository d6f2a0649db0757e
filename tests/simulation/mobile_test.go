package simulation

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/clocktest"
	"kedge/signaling/mobilenode"
	"kedge/signaling/movement"
)

// mobile is the mobile node's host.
type mobile struct {
	w     *world
	life  int
	move  *movement.Machine
	node  *mobilenode.Machine
	timer [2]timer
	// clock is how many seconds the clock was set forward.
	clock int64
	up    bool
	at    int

	held     map[netip.Addr]bool
	bind     *signaling.Bind
	defends  bool
	updates  []time.Duration
	trace    []signaling.ReportKind
	tracedAt []time.Duration
}

func newMobile(w *world) *mobile {
	m := &mobile{w: w}
	m.start()
	return m
}

// start is a fresh start of the program; what it did before is gone.
func (m *mobile) start() {
	cfg := mobilenode.Config{HomeAddress: home, HomePrefix: homePrefix, HomeAgent: agentAddr, Lifetime: m.w.c.lifetime,
		Association: &key, Random: func() uint16 { return uint16(m.w.rng.Uint32()) }}
	if m.w.c.unauthenticated {
		cfg.Association, cfg.AllowUnauthenticated = nil, true
	}
	if m.w.c.discover {
		cfg.HomeAgent = netip.Addr{}
	}
	var err error
	if m.node, err = mobilenode.New(cfg); err != nil {
		m.w.t.Fatal(err)
	}
	if m.move, err = movement.New(movement.Config{Uplink: "eth0", Secret: make([]byte, 16), Autoconfigure: true, MTU: 1500, Random: m.w.rng.Float64}); err != nil {
		m.w.t.Fatal(err)
	}
	m.life++
	m.timer = [2]timer{{-1}, {-1}}
	m.held, m.bind, m.defends, m.updates = map[netip.Addr]bool{}, nil, false, nil
	if m.up {
		m.detect(movement.Carrier{Up: true})
	}
}

func (m *mobile) time() time.Time { return clocktest.Step(m.w.epoch.Add(m.w.now), m.clock) }

// is has do done if the program still runs that asked for it.
func (m *mobile) is(life int, do func()) func() {
	return func() {
		if m.life == life {
			do()
		}
	}
}

// detect hands an event to movement detection.
func (m *mobile) detect(e movement.Event) {
	for _, effect := range m.move.Handle(m.time(), e) {
		switch x := effect.(type) {
		case movement.SendRouterSolicitation:
			if at := m.at; m.up {
				m.w.local(func() { m.w.local(func() { m.hear(at) }) })
			}
		case movement.AddAddress:
			m.held[x.Address.Addr()] = true
		case movement.RemoveAddress:
			delete(m.held, x.Address)
		case movement.ProbeRouter:
			// Three solicitations, 30 ms apart.
			m.w.after(100*time.Millisecond, m.is(m.life, func() {
				if !m.up || links[m.at].router != x.Router {
					m.detect(movement.RouterUnreachable(x))
				}
			}))
		case movement.Attach:
			m.handle(x.Attachment)
		case movement.Report:
			m.report(x.Report)
		}
	}
	m.w.arm(&m.timer[0], m.move.Next(), m.time, m.is(m.life, func() { m.detect(movement.Tick{}) }))
}

// hear is a router advertisement of link i.
func (m *mobile) hear(i int) {
	if !m.up || m.at != i {
		return
	}
	l := &links[i]
	ra := movement.RouterAdvertisement{Router: l.router, LinkLayerKnown: true, Lifetime: 30 * time.Minute,
		Prefixes: []movement.PrefixInformation{{Prefix: l.prefix, OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour}}}
	if m.w.c.told {
		ra.Interval = m.w.c.interval
	}
	m.detect(ra)
}

// handle hands an event to the mobile node role.
func (m *mobile) handle(e signaling.Event) {
	for _, effect := range m.node.Handle(m.time(), e) {
		switch x := effect.(type) {
		case signaling.Send:
			m.send(x)
		case signaling.SendICMP:
			if m.reaches(x.Source) {
				m.w.transport(func() {
					m.w.ha.handle(signaling.ReceivedICMP{Source: x.Source, Destination: x.Destination, Payload: x.Payload})
				})
			}
		case signaling.Bind:
			m.bind = &x
		case signaling.Unbind:
			m.bind = nil
		case signaling.Defend:
			m.defends = true
		case signaling.Undefend:
			m.defends = false
		case signaling.ProbeDuplicate:
			m.w.after(time.Second, m.is(m.life, func() {
				m.handle(signaling.DuplicateResult{Link: x.Link, Address: x.Address, Duplicate: m.w.ha.defends})
			}))
		case signaling.Report:
			m.report(x)
		}
	}
	m.w.arm(&m.timer[1], m.node.Next(), m.time, m.is(m.life, func() { m.handle(signaling.Tick{}) }))
}

func (m *mobile) report(r signaling.Report) {
	m.w.trace("mobile node", r)
	m.trace = append(m.trace, r.Kind)
	m.tracedAt = append(m.tracedAt, m.w.now)
}

// reaches says whether what is sent from a leaves the link that the node is on.
func (m *mobile) reaches(a netip.Addr) bool {
	if a == home {
		return m.up && m.at == homeLink && m.w.c.physical
	}
	return m.up && m.held[a] && links[m.at].prefix.Contains(a)
}

func (m *mobile) send(s signaling.Send) {
	w := m.w
	m.updates = append(m.updates, w.now)
	if n := len(m.updates); n > 3 && m.updates[n-1]-m.updates[n-4] <= time.Second {
		w.t.Fatalf("seed %d: four binding updates in %v at %v (RFC 6275 section 11.8)", w.c.seed, m.updates[n-1]-m.updates[n-4], w.now)
	}
	if s.Source != home && !m.held[s.Source] {
		w.t.Fatalf("seed %d: sends from %v, which it does not have", w.c.seed, s.Source)
	}
	if m.reaches(s.Source) {
		w.transport(func() {
			w.ha.handle(signaling.Received{Source: s.Source, Destination: s.Destination, HomeAddress: s.HomeAddress, Payload: s.Payload})
		})
	}
}

// receive is a Mobility Header message for address to.
func (m *mobile) receive(to netip.Addr, r signaling.Received) {
	if to == home && !m.defends || !m.reaches(to) {
		return
	}
	m.handle(r)
}

// data is the node's programs: a packet every half second.
func (m *mobile) data() {
	m.w.after(500*time.Millisecond, m.data)
	b := m.bind
	if b == nil {
		return
	}
	if b.Native {
		if m.reaches(home) && !m.w.ha.defends {
			m.w.delivered = m.w.now
		}
		return
	}
	if m.reaches(b.Local) {
		m.w.transport(func() { m.w.ha.tunnelled(b.Local) })
	}
}

// refuse is the home agent's answer to a packet out of the tunnel from local.
func (m *mobile) refuse(local netip.Addr) {
	if !m.reaches(local) {
		return
	}
	header := func(next byte, src, dst netip.Addr) []byte {
		s, d := src.As16(), dst.As16()
		return append(append([]byte{0x60, 0, 0, 0, 0, 40, next, 64}, s[:]...), d[:]...)
	}
	quoted := append(header(41, local, agentAddr), header(59, home, links[0].prefix.Addr())...)
	m.handle(signaling.ReceivedICMP{Source: agentAddr, Destination: local, Payload: append([]byte{1, 5, 0, 0, 0, 0, 0, 0}, quoted...)})
}

// goTo takes the node to a link; noticed, its carrier goes down and up.
func (m *mobile) goTo(i int, noticed bool) {
	m.at = i
	if noticed && m.up {
		m.detect(movement.Carrier{Up: false})
		m.detect(movement.Carrier{Up: true})
	}
}

func (m *mobile) carrier(up bool) {
	m.up = up
	m.detect(movement.Carrier{Up: up})
}

func (m *mobile) status() mobilenode.Status { return m.node.Status(m.time()) }
