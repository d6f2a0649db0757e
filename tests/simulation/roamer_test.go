package simulation

import (
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/dmipv6"
	"kedge/signaling/mobilenode"
)

// The profiles of flows, by number.
const (
	sessionProfile = iota
	fixedProfile
	voiceProfile
	gracefulProfile
	profileCount
)

var profiles = []dmipv6.Profile{
	sessionProfile:  {Class: dmipv6.SessionLasting, Name: "session"},
	fixedProfile:    {Class: dmipv6.Fixed, Name: "fixed"},
	voiceProfile:    {Class: dmipv6.SessionLasting, MaxRoundTrip: 150 * time.Millisecond, MaxLoss: 0.3, Name: "voice"},
	gracefulProfile: {Class: dmipv6.GracefulReplacement, Name: "graceful"},
}

// roamer is a mobile node: the machines of its home address and of its flows, and what forwarding does for it.
type roamer struct {
	host
	number int
	home   netip.Addr
	role   *mobileRole
	store  memory
	// at is where each uplink is, and careOf the address that it has there; an uplink that is down is in neither.
	at      map[string]place
	careOf  map[string]netip.Addr
	defends bool
	// stopping says that it was told to stop in good order.
	stopping bool

	// held are the DHoAs, bound where the tunnels of addresses end.
	held   map[netip.Addr]bool
	bound  map[netip.Addr]signaling.Bind
	chosen map[choice]netip.Addr
	hinted map[choice]netip.Addr

	flows  []*flow
	byID   map[uint64]*flow
	serial uint64
	uses   map[netip.Addr]int
	news   []signaling.Event
	// homeHeard is when a packet of the home address was answered last.
	homeHeard time.Duration
	// change alters its settings in scenarios; nil does not.
	change func(*dmipv6.Config)
}

// choice is what a Choose is for or, with profile -1, a Hint.
type choice struct {
	profile int
	prefix  netip.Prefix
}

func newRoamer(w *internet, i int) *roamer {
	m := &roamer{host: newHost(w, fmt.Sprintf("mn%d", i), uint64(70+i)), number: i, home: homeOf(i), store: memory{},
		at: map[string]place{}, careOf: map[string]netip.Addr{}, byID: map[uint64]*flow{}}
	m.boot()
	if w.c.beat > 0 {
		w.after(w.upTo(w.c.beat), m.data)
	}
	return m
}

// mobileRole is a mobile node as appliance/node composes it.
type mobileRole struct {
	home         *mobilenode.Machine
	flows        *dmipv6.Machine
	registration signaling.HomeRegistration
}

func (r *mobileRole) Handle(now time.Time, e signaling.Event) []signaling.Effect {
	effects := append(r.home.Handle(now, e), r.flows.Handle(now, e)...)
	if s := r.register(now); s != r.registration {
		r.registration = s
		effects = append(effects, r.flows.Handle(now, s)...)
	}
	return effects
}

func (r *mobileRole) register(now time.Time) signaling.HomeRegistration {
	t := r.home.Status(now)
	return signaling.HomeRegistration{HomeAgent: t.HomeAgent, CareOf: t.CareOf, Uplink: t.Uplink, RoundTrip: t.RTT,
		Registered: t.State == mobilenode.StateRegistered, AtHome: t.State == mobilenode.StateAtHome}
}

func (r *mobileRole) Next() time.Time { return soonest(r.home.Next(), r.flows.Next()) }

// boot is a fresh start of the program. Flows that are translated go on if their addresses are taken up again.
func (m *roamer) boot() {
	c := m.w.c
	a := mnha(m.number)
	random := func() uint16 { return uint16(m.w.rng.Uint32()) }
	cfg := dmipv6.Config{HomeAddress: m.home, Identifier: identifier(m.number), Association: &a, Profiles: profiles, UseHomeAgent: true,
		Anycast: c.anycast, Lifetime: c.lifetime, HoldTime: holdTime, IdleTime: c.idle, GracefulTime: c.graceful, Hints: c.hints,
		MaxAnchors: c.maxAnchors, Delegated: c.delegated, Random: random}
	if c.static {
		cfg.Proxies = []dmipv6.Proxy{{Address: proxyAddress(0), Coverage: []netip.Prefix{region(0)}}}
	}
	if c.stored {
		cfg.Store = m.store
	}
	if m.change != nil {
		m.change(&cfg)
	}
	m.role = &mobileRole{}
	var err error
	if m.role.home, err = mobilenode.New(mobilenode.Config{HomeAddress: m.home, HomePrefix: homePrefix, HomeAgent: agentAddr,
		Identifier: identifier(m.number), Lifetime: time.Minute, Association: &a, Random: random}); err != nil {
		m.w.t.Fatal(err)
	}
	if m.role.flows, err = dmipv6.New(cfg); err != nil {
		m.w.t.Fatal(err)
	}
	for h := range m.held {
		m.w.forget(m, h)
	}
	m.begin(m.role)
	m.held, m.bound = map[netip.Addr]bool{}, map[netip.Addr]signaling.Bind{}
	m.chosen, m.hinted, m.uses = map[choice]netip.Addr{}, map[choice]netip.Addr{}, map[netip.Addr]int{}
	m.news, m.defends, m.stopping = nil, false, false
	m.carry = m.carryOut
	effects, _ := m.role.flows.Restore(m.time()) // what is over by now is an error
	m.carryAll(effects)
	m.restoreFlows()
	m.arm()
	for uplink := range m.careOf {
		m.attachment(uplink)
	}
}

// owns says whether an uplink has the address now.
func (m *roamer) owns(a netip.Addr) bool {
	for _, c := range m.careOf {
		if c == a {
			return true
		}
	}
	return false
}

func (m *roamer) isHome() bool { return m.at["eth0"] == placeHome }

var preferences = map[string]int{"eth0": 10, "wlan0": 5}

// attach takes an uplink to a place.
func (m *roamer) attach(uplink string, to place) {
	if m.at[uplink] == to {
		return
	}
	m.w.tally.moves++
	m.at[uplink] = to
	m.careOf[uplink] = to.address(0, uint16(0x1000+16*m.number+preferences[uplink]))
	m.defends = m.defends && uplink != "eth0"
	m.attachment(uplink)
}

func (m *roamer) detach(uplink string) {
	delete(m.at, uplink)
	delete(m.careOf, uplink)
	m.attachment(uplink)
}

func (m *roamer) attachment(uplink string) {
	a := signaling.Attachment{Uplink: uplink, CareOf: m.careOf[uplink], Preference: preferences[uplink]}
	if to, ok := m.at[uplink]; ok {
		a.Router, a.OnLink, a.MTU = netip.MustParseAddr("fe80::1"), []netip.Prefix{to.prefix(64)}, 1500
	}
	m.handle(a)
}

func (m *roamer) carryOut(effect signaling.Effect) {
	w := m.w
	switch x := effect.(type) {
	case signaling.Send:
		if !m.owns(x.Source) && !(x.Source == m.home && m.isHome()) {
			w.fatal("%s sends from %v, which it does not have: %+v", m.name, x.Source, x)
		}
		if x.HomeAddress.IsValid() && x.HomeAddress != m.home && !m.held[x.HomeAddress] {
			w.fatal("%s sends for %v, which it does not hold", m.name, x.HomeAddress)
		}
		w.send(x, x.Source, x.Destination, false)
	case signaling.SendEcho:
		if !m.owns(x.Source) {
			w.fatal("%s sends an echo request from %v, which it does not have", m.name, x.Source)
		}
		w.echo(&m.host, x)
	case signaling.Bind:
		a := m.within(x.Home)
		m.mustHold(a, x)
		if !x.Native && !m.owns(x.Local) {
			w.fatal("%s has a tunnel from %v, which it does not have", m.name, x.Local)
		}
		m.bound[a] = x
	case signaling.Unbind:
		delete(m.bound, m.within(x.Home))
	case signaling.Defend:
		m.defends = true
	case signaling.Undefend:
		m.defends = false
	case signaling.ProbeDuplicate:
		life := m.life
		w.after(time.Second, func() {
			if m.life == life {
				m.handle(signaling.DuplicateResult{Link: x.Link, Address: x.Address, Duplicate: w.agent.defends[x.Address]})
			}
		})
	case signaling.Report:
		switch x.Kind {
		case dmipv6.DHoALent:
			w.tally.lent++
			m.hold(x.Home)
		case dmipv6.DHoARestored:
			w.tally.restored++
			m.hold(x.Home)
		case dmipv6.DHoALost:
			w.tally.lost++
		}
	case signaling.Decide:
		m.decide(x)
	case signaling.Choose:
		m.mustHold(x.Address, x)
		m.chosen[choice{x.Profile, x.Prefix}] = x.Address
	case signaling.Unchoose:
		delete(m.chosen, choice{x.Profile, x.Prefix})
	case signaling.Hint:
		m.mustHold(x.Address, x)
		m.hinted[choice{-1, x.Prefix}] = x.Address
	case signaling.Unhint:
		if m.hinted[choice{-1, x.Prefix}] == x.Address {
			delete(m.hinted, choice{-1, x.Prefix})
		}
	case signaling.Terminate:
		m.terminate(x)
	case signaling.Release:
		m.release(x.Address)
	}
}

// within is the address of this node that a prefix was bound for; the prefix's own if there is none.
func (m *roamer) within(p netip.Prefix) netip.Addr {
	if p.Bits() < 128 {
		for a := range m.held {
			if p.Contains(a) {
				return a
			}
		}
	}
	return p.Addr()
}

func (m *roamer) mustHold(a netip.Addr, why any) {
	if a != m.home && !m.held[a] {
		m.w.fatal("%s uses %v, which it does not hold: %T%+v", m.name, a, why, why)
	}
}

// hold begins the possession of a DHoA.
func (m *roamer) hold(a netip.Addr) {
	w := m.w
	if o := w.holders[a]; o != nil {
		w.fatal("%v is lent to %s while %s holds it", a, m.name, o.name)
	}
	if freed, ok := w.freed[a]; ok && w.last[a] != m && w.last[a] != nil && w.now-freed < w.c.quarantine {
		w.fatal("%v is lent to %s %v after %s gave it back", a, m.name, w.now-freed, w.last[a].name)
	}
	w.holders[a], w.last[a], m.held[a] = m, m, true
}

// forget ends it.
func (w *internet) forget(m *roamer, a netip.Addr) {
	delete(w.holders, a)
	delete(m.held, a)
}

func (m *roamer) release(a netip.Addr) {
	m.mustHold(a, "Release")
	if _, ok := m.bound[a]; ok {
		m.w.fatal("%s releases %v, which is bound", m.name, a)
	}
	for c, x := range m.chosen {
		if x == a {
			m.w.fatal("%s releases %v, which is chosen for %v", m.name, a, c)
		}
	}
	for c, x := range m.hinted {
		if x == a {
			m.w.fatal("%s releases %v, which is hinted for %v", m.name, a, c.prefix)
		}
	}
	if m.uses[a] > 0 {
		m.w.fatal("%s releases %v, which %d flows use", m.name, a, m.uses[a])
	}
	m.w.forget(m, a)
}
