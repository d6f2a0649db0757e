package simulation

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/directory"
	"kedge/signaling/homeagent"
	"kedge/signaling/homeproxy"
	"kedge/signaling/mh"
)

// anchoring is what forwarding does at a home agent or DHP: tunnels, by the address inside.
type anchoring struct {
	host
	address netip.Addr
	tunnels map[netip.Addr]netip.Addr
	defends map[netip.Addr]bool
	store   memory
}

func newAnchoring(w *internet, name string, number uint64, address netip.Addr) anchoring {
	return anchoring{host: newHost(w, name, number), address: address, store: memory{}}
}

func (a *anchoring) start(m signaling.Machine, restore func(time.Time) ([]signaling.Effect, error)) {
	a.begin(m)
	a.tunnels, a.defends = map[netip.Addr]netip.Addr{}, map[netip.Addr]bool{}
	a.carry = a.carryOut
	effects, err := restore(a.time())
	if err != nil {
		a.w.fatal("%s: %v", a.name, err)
	}
	a.carryAll(effects)
	a.arm()
}

// stopAnchor is a crash; what was kept in memory only is gone.
func (a *anchoring) stopAnchor() {
	if !a.up {
		return
	}
	a.stop()
	a.tunnels, a.defends = map[netip.Addr]netip.Addr{}, map[netip.Addr]bool{}
	if !a.w.c.kept {
		clear(a.store)
		maps.DeleteFunc(a.w.freed, func(h netip.Addr, _ time.Duration) bool { return placeOf(h) == placeOf(a.address) })
	}
}

func (a *anchoring) carryOut(effect signaling.Effect) {
	switch x := effect.(type) {
	case signaling.Send:
		if x.Source != a.address {
			a.w.fatal("%s sends from %v", a.name, x.Source)
		}
		to := x.Destination
		if x.Tunnel.IsValid() {
			if to = a.tunnels[x.Tunnel]; !to.IsValid() {
				return
			}
		}
		a.w.send(x, a.address, to, x.Tunnel.IsValid())
	case signaling.SendEcho:
		a.w.echo(&a.host, x)
	case signaling.Bind:
		if x.Mobile || x.Local != a.address {
			a.w.fatal("%s makes %+v", a.name, x)
		}
		a.tunnels[x.Home.Addr()] = x.Remote
	case signaling.Unbind:
		delete(a.tunnels, x.Home.Addr())
		a.w.freed[x.Home.Addr()] = a.w.now
	case signaling.Defend:
		a.defends[x.Address] = true
	case signaling.Undefend:
		delete(a.defends, x.Address)
	case signaling.ProbeDuplicate:
		life := a.life
		a.w.after(time.Second, func() {
			if a.life != life {
				return
			}
			duplicate := slices.ContainsFunc(a.w.mobiles, func(m *roamer) bool { return m.home == x.Address && m.isHome() && m.defends })
			a.handle(signaling.DuplicateResult{Link: x.Link, Address: x.Address, Duplicate: duplicate})
		})
	}
}

// outbound is a packet from inner to peer that came out of a tunnel from outer: if the binding bears it out the correspondent
// answers it, and otherwise refused hears of it.
func (a *anchoring) outbound(inner, outer, peer netip.Addr, answered, refused func()) {
	switch {
	case !a.up:
	case a.tunnels[inner] != outer:
		a.w.transport(a.address, outer, refused)
	default:
		a.w.transport(a.address, peer, func() {
			a.w.transport(peer, a.address, func() {
				if to := a.tunnels[inner]; a.up && to.IsValid() {
					a.w.transport(a.address, to, answered)
				}
			})
		})
	}
}

// keeper is the home agent with its directory of DHPs.
type keeper struct {
	anchoring
	directory *directory.Machine
}

func newKeeper(w *internet) *keeper {
	k := &keeper{anchoring: newAnchoring(w, "home agent", 50, agentAddr)}
	k.boot()
	return k
}

// agentRole is a home agent as appliance/node composes it.
type agentRole struct {
	*homeagent.Machine
	directory *directory.Machine
}

func (r agentRole) Handle(now time.Time, e signaling.Event) []signaling.Effect {
	switch x := e.(type) {
	case signaling.Received:
		if len(x.Payload) > 2 && mh.Type(x.Payload[2]) == mh.TypeExperimental {
			return r.directory.Handle(now, e)
		}
	case signaling.Tick:
		return append(r.Machine.Handle(now, e), r.directory.Handle(now, e)...)
	}
	return r.Machine.Handle(now, e)
}

func (r agentRole) Next() time.Time { return soonest(r.Machine.Next(), r.directory.Next()) }

// soonest is the first of times that are not zero.
func soonest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func (k *keeper) boot() {
	c := k.w.c
	cfg := homeagent.Config{Address: agentAddr, HomePrefixes: []homeagent.HomePrefix{{Prefix: homePrefix}}, MaxLifetime: time.Hour,
		Associations: map[uint32]auth.Association{}, Random: rand.New(rand.NewPCG(c.seed, 2))}
	d := directory.Config{Address: agentAddr, Associations: cfg.Associations, TicketLifetime: c.tickets}
	for i := range c.mobiles {
		cfg.Associations[mnha(i).SPI] = mnha(i)
		cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{Identifier: identifier(i), HomeAddress: homeOf(i), SPI: mnha(i).SPI})
		d.MobileNodes = append(d.MobileNodes, directory.MobileNode{Identifier: identifier(i), SPI: mnha(i).SPI})
	}
	for i := range c.proxies {
		cfg.Associations[kd(i).SPI] = kd(i)
		d.Proxies = append(d.Proxies, directory.Proxy{Address: proxyAddress(i), SPI: kd(i).SPI, Coverage: []netip.Prefix{region(i), region(i + 1)}})
	}
	if c.physical {
		cfg.HomeLink = "home"
	}
	if c.kept {
		cfg.Store = k.store
	}
	inner, err := homeagent.New(cfg, k.time())
	if err != nil {
		k.w.t.Fatal(err)
	}
	if k.directory, err = directory.New(d, k.time()); err != nil {
		k.w.t.Fatal(err)
	}
	k.start(agentRole{inner, k.directory}, inner.Restore)
}

// lender is a DHP.
type lender struct {
	anchoring
	number int
	proxy  *homeproxy.Machine
	// change alters its settings in scenarios; nil does not.
	change func(*homeproxy.Config)
}

func newLender(w *internet, i int) *lender {
	l := &lender{anchoring: newAnchoring(w, fmt.Sprintf("dhp%d", i), uint64(60+i), proxyAddress(i)), number: i}
	l.boot()
	return l
}

// regions are what it covers.
func (l *lender) regions() []int {
	if l.w.c.overlap {
		return []int{l.number, l.number + 1}
	}
	return []int{l.number}
}

func (l *lender) boot() {
	c := l.w.c
	// Without a store an address may be lent to another while its first holder does not know yet, if chance has it: then the
	// pool is large.
	here := placeProxy + place(l.number)
	pool := homeproxy.Pool{Prefix: netip.PrefixFrom(here.address(1, 0), 64), Lend: 128}
	switch {
	case c.delegated && c.kept:
		pool = homeproxy.Pool{Prefix: netip.PrefixFrom(here.address(0x100, 0), 56), Lend: 64}
	case c.delegated:
		pool = homeproxy.Pool{Prefix: netip.PrefixFrom(here.address(0x8000, 0), 49), Lend: 64}
	case c.kept:
		pool.Prefix = netip.PrefixFrom(here.address(1, 0), 120)
	}
	cfg := homeproxy.Config{Address: l.address, Pools: []homeproxy.Pool{pool},
		HomeAgents:   []homeproxy.HomeAgent{{Address: agentAddr, SPI: kd(l.number).SPI}},
		Associations: map[uint32]auth.Association{kd(l.number).SPI: kd(l.number)}, MaxLifetime: 10 * time.Minute, Quarantine: c.quarantine,
		AdvertisementInterval: c.advertised, AdvertisementLifetime: 3 * c.advertised, MaxBindings: 10000, Anycast: c.anycast,
		Random: rand.New(rand.NewPCG(c.seed, uint64(100*l.life+l.number)))}
	for _, i := range l.regions() {
		cfg.Coverage = append(cfg.Coverage, homeproxy.Coverage{Prefix: region(i), Probe: peerIn(i, 0)})
	}
	if c.kept {
		cfg.Store = l.store
	}
	if l.change != nil {
		l.change(&cfg)
	}
	var err error
	if l.proxy, err = homeproxy.New(cfg, l.time()); err != nil {
		l.w.t.Fatal(err)
	}
	l.start(l.proxy, l.proxy.Restore)
}

// leases are the addresses that are lent, in order.
func (l *lender) leases() []netip.Addr {
	return slices.SortedFunc(maps.Keys(l.tunnels), netip.Addr.Compare)
}

var _ binding.Store = memory(nil)
