package homeagent

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/index"
	"kedge/signaling/mh"
)

// nodes is the Authority of the mobile nodes of a Config. There may be a million of them, so that it has them in a form of
// its own and lets go of the Config's.
type nodes struct {
	// cfg is without MobileNodes and Associations.
	cfg          Config
	seed         maphash.Seed
	list         []node
	associations []association
	// networks are those of mobile routers; the first are nobody's.
	networks              [][]netip.Prefix
	byHome, byName, bySPI index.Index
}

// node is a MobileNode.
type node struct {
	// home is unspecified if it may register any address.
	home [16]byte
	name string
	// association is the number of its own, plus one; 0 is none.
	association uint32
	// networks is the number of its prefixes in networks, below unauthenticated, which is set if it may go without
	// association.
	networks uint32
}

const unauthenticated = 1 << 31

func (n *node) fixed() bool { return n.home != [16]byte{} }

// association is an auth.Association. Its identifier is not needed: the mobile node's own is what goes back to it.
type association struct {
	key       auth.Key
	window    time.Duration
	spi       uint32
	algorithm auth.Algorithm
	// exclusive says that it is a mobile node's own.
	exclusive bool
}

// Nodes is the Authority of c.MobileNodes, c.AllowAnyMobileNode, c.AllowUnauthenticated and c.Associations.
func (c *Config) Nodes() Authority {
	a := &nodes{
		cfg: *c, seed: maphash.MakeSeed(), list: make([]node, 0, len(c.MobileNodes)),
		associations: make([]association, 0, len(c.Associations)), networks: make([][]netip.Prefix, 1),
	}
	a.cfg.MobileNodes, a.cfg.Associations = nil, nil
	for spi, s := range c.Associations {
		a.bySPI.Add(a.hashSPI(spi), uint32(len(a.associations)))
		a.associations = append(a.associations, association{key: s.Key, window: s.Window, spi: spi, algorithm: s.Algorithm})
	}
	for i := range c.MobileNodes {
		a.add(&c.MobileNodes[i])
	}
	return a
}

// add takes one in. Where two have the same home address or name, the later one has it.
func (a *nodes) add(m *MobileNode) {
	number := uint32(len(a.list))
	n := node{name: m.Identifier}
	if i, ok := a.findSPI(m.SPI); ok && m.SPI != 0 {
		a.associations[i].exclusive = true
		n.association = i + 1
	}
	if len(m.MobileNetworks) > 0 {
		n.networks = uint32(len(a.networks))
		a.networks = append(a.networks, m.MobileNetworks)
	}
	if m.AllowUnauthenticated && m.SPI == 0 {
		n.networks |= unauthenticated
	}
	if m.HomeAddress.IsValid() {
		n.home = m.HomeAddress.As16()
		hash := a.hashHome(&n.home)
		if i, ok := a.findHome(m.HomeAddress); ok {
			a.byHome.Remove(hash, i)
		}
		a.byHome.Add(hash, number)
	}
	if n.name != "" {
		hash := maphash.String(a.seed, n.name)
		if i, ok := a.findName(n.name); ok {
			a.byName.Remove(hash, i)
		}
		a.byName.Add(hash, number)
	}
	a.list = append(a.list, n)
}

func (a *nodes) hashHome(home *[16]byte) uint64 { return maphash.Bytes(a.seed, home[:]) }

// hashSPI spreads what operators number from 256 on. They choose the numbers, so that it needs no key.
func (*nodes) hashSPI(spi uint32) uint64 { return uint64(spi) * 0x9e3779b97f4a7c15 }

func (a *nodes) findSPI(spi uint32) (uint32, bool) {
	return a.bySPI.Find(a.hashSPI(spi), func(i uint32) bool { return a.associations[i].spi == spi })
}

func (a *nodes) findName(name string) (uint32, bool) {
	return a.byName.Find(maphash.String(a.seed, name), func(i uint32) bool { return a.list[i].name == name })
}

func (a *nodes) findHome(home netip.Addr) (uint32, bool) {
	b := home.As16()
	return a.byHome.Find(a.hashHome(&b), func(i uint32) bool { return a.list[i].home == b })
}

// node finds the mobile node that a request comes from: the one whose home address it is, else the one with its MN-ID; nil
// if there is none.
func (a *nodes) node(home netip.Addr, name string) *node {
	if i, ok := a.findHome(home); ok {
		return &a.list[i]
	}
	if i, ok := a.findName(name); ok {
		return &a.list[i]
	}
	return nil
}

func (a *nodes) networksOf(n *node) []netip.Prefix { return a.networks[n.networks&^unauthenticated] }

func (a *nodes) Claim(_ time.Time, update *mh.BindingUpdate, home netip.Addr) Claim {
	var name string
	identifier, named := mh.Find[*mh.MobileNodeIdentifier](update.Options)
	if named {
		name = identifier.Identifier
	}
	n := a.node(home, name)
	c := Claim{Owner: name, Unauthenticated: a.cfg.AllowUnauthenticated, MobileRouters: len(a.networks) > 1}
	if n != nil {
		c.Unauthenticated = n.networks&unauthenticated != 0
		c.Networks = a.networksOf(n)
		if n.name != "" {
			c.Owner = n.name
		}
		c.Fixed = n.fixed()
	}
	if spi, signed := auth.SPI(update.Options); signed {
		c.Association, c.Known = a.associationOf(n, spi)
	}
	switch {
	case n == nil && !a.cfg.AllowAnyMobileNode:
		c.Prohibited = "mobile node is not known"
	case n != nil && n.fixed() && n.home != home.As16():
		c.Prohibited = "home address is not the mobile node's"
	case n != nil && n.name != "" && named && n.name != name:
		c.Prohibited = "home address is another mobile node's"
	}
	return c
}

// associationOf is that with the SPI, if n may use it: a mobile node its own, and the others, for whom n is nil, those that
// are no mobile node's.
func (a *nodes) associationOf(n *node, spi uint32) (auth.Association, bool) {
	var s *association
	if n != nil && n.association != 0 {
		s = &a.associations[n.association-1]
	} else if i, ok := a.findSPI(spi); ok && n == nil && !a.associations[i].exclusive {
		s = &a.associations[i]
	}
	if s == nil || s.spi != spi {
		return auth.Association{}, false
	}
	return auth.Association{SPI: spi, Algorithm: s.algorithm, Key: s.key, Window: s.window}, true
}

func (a *nodes) Keeps(b *binding.Binding) bool {
	home := b.Home.Addr()
	if a.cfg.prefixOf(home) == nil {
		return false
	}
	n := a.node(home, b.Owner)
	if n == nil {
		return a.cfg.AllowAnyMobileNode && len(b.Networks) == 0
	}
	if n.fixed() && n.home != home.As16() {
		return false
	}
	networks := a.networksOf(n)
	return !slices.ContainsFunc(b.Networks, func(p netip.Prefix) bool { return !slices.Contains(networks, p) })
}

func (a *nodes) Fixed(home netip.Addr) bool {
	_, ok := a.findHome(home)
	return ok
}

func (*nodes) Quarantine(*binding.Binding) time.Duration { return 0 }
