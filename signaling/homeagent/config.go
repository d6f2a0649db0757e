package homeagent

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
)

// Config is what a home agent is told at its start.
type Config struct {
	// Address is the home agent's own global address: Binding Updates come to it, and tunnels start and end there.
	Address netip.Addr
	// HomePrefixes are served; there is at least one.
	HomePrefixes []HomePrefix
	// HomeLink is the link on which home addresses are checked for duplicates and defended; empty if the home link is
	// virtual, its prefixes being routed to this node.
	HomeLink string
	// Preference is this node's in home agent lists (RFC 6275 section 7.4).
	Preference uint16
	// MaxLifetime bounds granted lifetimes, 4 s to 262,140 s.
	MaxLifetime time.Duration
	// RefreshAdvice is the interval that Binding Refresh Advice suggests (RFC 6275 section 6.2.4); 0 suggests none. None
	// is ever suggested with a Store (section 10.3.1).
	RefreshAdvice time.Duration
	// NATRefresh is after which time mobile nodes whose datagrams come through a NAT are to refresh its binding (RFC 5555
	// section 4.3), in whole seconds; 0 is DefaultNATRefresh.
	NATRefresh time.Duration
	// MaxBindings bounds the bindings in total, MaxBindingsPerNode those with one MN-ID; 0 is no limit.
	MaxBindings, MaxBindingsPerNode int

	// MobileNodes may register. AllowAnyMobileNode lets others register too, with addresses of HomePrefixes that are
	// nobody's here.
	MobileNodes        []MobileNode
	AllowAnyMobileNode bool
	// AllowUnauthenticated takes Binding Updates without authentication from mobile nodes other than MobileNodes.
	AllowUnauthenticated bool
	// Associations are the security associations by SPI. Those that none of MobileNodes has for its own are for the
	// others, each of which can then speak for all others.
	Associations map[uint32]auth.Association

	// Authority takes the place of MobileNodes, AllowAnyMobileNode and AllowUnauthenticated if it is not nil.
	Authority Authority
	// Store makes the bindings survive a restart; nil if they need not.
	Store binding.Store
	// ErrorRate is how many Binding Errors and ICMPv6 errors a second are sent on average, with bursts of as many (RFC
	// 4443 section 2.4 f); 0 is 10.
	ErrorRate int
	// Random orders home agents of equal preference; nil is a source of its own.
	Random *rand.Rand
}

// HomePrefix is a subnet prefix of the home link.
type HomePrefix struct {
	Prefix netip.Prefix
	// ValidUntil and PreferredUntil are when the prefix's lifetimes end; zero if never.
	ValidUntil, PreferredUntil time.Time
}

// MobileNode is one mobile node that may register.
type MobileNode struct {
	// Identifier is its MN-ID; empty if it need not send one.
	Identifier string
	// HomeAddress is the only home address it may register; invalid if it may register any that is nobody's.
	HomeAddress netip.Addr
	// MobileNetworks are the prefixes that it may register as a mobile router (RFC 3963).
	MobileNetworks []netip.Prefix
	// SPI names its security association; 0 with AllowUnauthenticated.
	SPI                  uint32
	AllowUnauthenticated bool
}

// Check says what makes the configuration one that New cannot run.
func (c *Config) Check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !routable(c.Address) {
		wrong("home agent address %v is no unicast routable IPv6 address", c.Address)
	}
	if len(c.HomePrefixes) == 0 {
		wrong("there is no home prefix")
	}
	if c.MaxLifetime < binding.LifetimeUnit || c.MaxLifetime > binding.MaxLifetime {
		wrong("maximum lifetime %v is not from %v to %v", c.MaxLifetime, binding.LifetimeUnit, binding.MaxLifetime)
	}
	if c.NATRefresh != 0 && (c.NATRefresh < time.Second || c.NATRefresh > MaxNATRefresh) {
		wrong("NAT refresh time %v is not from 1s to %v", c.NATRefresh, MaxNATRefresh)
	}
	for i, n := range c.MobileNodes {
		if n.Identifier == "" && !n.HomeAddress.IsValid() {
			wrong("mobile node %d has neither identifier nor home address", i+1)
		}
		if _, ok := c.Associations[n.SPI]; !ok && n.SPI != 0 {
			wrong("mobile node %s: there is no security association with SPI %d", n.name(), n.SPI)
		}
		if n.HomeAddress.IsValid() && n.HomeAddress == c.Address {
			wrong("mobile node %s: home address %v is the home agent's own", n.name(), n.HomeAddress)
		}
		if n.HomeAddress.IsValid() && c.prefixOf(n.HomeAddress) == nil {
			wrong("mobile node %s: home address %v is in no home prefix", n.name(), n.HomeAddress)
		}
	}
	return errors.Join(problems...)
}

func (n *MobileNode) name() string {
	if n.Identifier != "" {
		return n.Identifier
	}
	return n.HomeAddress.String()
}

func (c *Config) prefixOf(home netip.Addr) *HomePrefix {
	for i := range c.HomePrefixes {
		if c.HomePrefixes[i].Prefix.Contains(home) {
			return &c.HomePrefixes[i]
		}
	}
	return nil
}

// validity is how long the prefix is valid and preferred from now on, at least 0; forever is how an endless one is told.
func (p *HomePrefix) validity(now time.Time, forever time.Duration) (valid, preferred time.Duration) {
	left := func(until time.Time) time.Duration {
		if until.IsZero() {
			return forever
		}
		return max(until.Sub(now), 0)
	}
	return left(p.ValidUntil), left(p.PreferredUntil)
}

// routable reports whether a is a unicast routable address (RFC 6275 section 3.1): of more than link-local scope.
func routable(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && a.Zone() == ""
}

// linkLocalOf replaces the subnet prefix of home by the link-local prefix (RFC 6275 section 10.3.1).
func linkLocalOf(home netip.Addr) netip.Addr {
	b := home.As16()
	copy(b[:8], []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0})
	return netip.AddrFrom16(b)
}
