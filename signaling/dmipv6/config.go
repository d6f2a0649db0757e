package dmipv6

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// Class is what a service flow needs of its address (RFC 8653 section 3).
type Class uint8

// The classes.
const (
	// Fixed flows use the home address.
	Fixed Class = iota
	// SessionLasting flows use one address from beginning to end, of an anchor near their correspondent.
	SessionLasting
	// GracefulReplacement flows do too, but after a move new ones get a new address, and the old one ends some time later.
	GracefulReplacement
	// NonPersistent flows use the care-of address and never come here.
	NonPersistent
)

// String is the class's name in RFC 8653 and in configurations.
func (c Class) String() string {
	switch c {
	case Fixed:
		return "fixed"
	case SessionLasting:
		return "session-lasting"
	case GracefulReplacement:
		return "graceful-replacement"
	case NonPersistent:
		return "non-persistent"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// Profile is a class with bounds on the quality of the path to the correspondent. Its number is its place in
// Config.Profiles.
type Profile struct {
	Class Class
	// MaxRoundTrip is for the whole path by the anchor; 0 is no bound.
	MaxRoundTrip time.Duration
	// MaxLoss is the greatest tolerable part of lost packets between this node and the anchor, 0 to 1; 0 is no bound.
	MaxLoss float64
	Name    string
}

// bounded says that a path may fall short of the profile.
func (p *Profile) bounded() bool { return p.MaxRoundTrip > 0 || p.MaxLoss > 0 }

// anchored says that flows of the profile want an anchor near their correspondent.
func (p *Profile) anchored() bool { return p.Class == SessionLasting || p.Class == GracefulReplacement }

// Proxy is a DHP that the operator has named.
type Proxy struct {
	Address netip.Addr
	// Coverage is what it is near to.
	Coverage   []netip.Prefix
	Preference uint8
	// Transport is how it is reached; over UDP it is by one of Endpoints or, if there are none, by what the home agent tells.
	Transport mobilenode.Transport
	Endpoints []netip.AddrPort
}

// Config is what a mobile node is told by its operator. Durations of 0 are the defaults that they tell of.
type Config struct {
	HomeAddress netip.Addr
	// Identifier is the network access identifier (RFC 4283) that leases are held under; never empty.
	Identifier string
	// Association is shared with the home agent; nil only with AllowUnauthenticated. The home agent can issue no tickets then,
	// and no DHP is used.
	Association          *auth.Association
	AllowUnauthenticated bool
	Profiles             []Profile
	Proxies              []Proxy
	// Transport is how DHPs are reached that Proxies does not name, over UDP by the endpoints that the home agent tells.
	Transport mobilenode.Transport
	// UseHomeAgent has the home agent's directory asked.
	UseHomeAgent bool
	// Anycast has correspondents' networks asked whose DHPs the home agent does not know of. What they answer is used when
	// the home agent has issued a ticket for it.
	Anycast bool
	// Lifetime is what is asked for, 4 s to 262,140 s.
	Lifetime time.Duration
	// HoldTime is how long a flow waits for its anchor; 500 ms.
	HoldTime time.Duration
	// IdleTime is after how long without flows an address is given back; 30 s.
	IdleTime time.Duration
	// GracefulTime is how long after a move flows of GracefulReplacement may keep their address; 10 min.
	GracefulTime time.Duration
	// HeartbeatInterval is between two Echo Requests to an anchor that has flows; 10 s.
	HeartbeatInterval time.Duration
	// Hints asks for a second DHoA for the host itself of each DHP that is used.
	Hints bool
	// Delegated asks for a /64 rather than an address alone of each DHP.
	Delegated bool
	// MaxAnchors bounds the DHoAs held, 32; MaxCached the coverage prefixes and the DHPs that are known, 1024.
	MaxAnchors, MaxCached int
	// Store keeps the leases beyond the process; nil gives them up.
	Store binding.Store
	// Random gives random numbers for sequence numbers and Echo identifiers; nil makes them 0.
	Random func() uint16
}

// wish is what is asked for.
func (cfg *Config) wish() netip.Prefix {
	if cfg.Delegated {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 64)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 128)
}

const (
	defaultHoldTime          = 500 * time.Millisecond
	defaultIdleTime          = 30 * time.Second
	defaultGracefulTime      = 10 * time.Minute
	defaultHeartbeatInterval = 10 * time.Second
	defaultMaxAnchors        = 32
	defaultMaxCached         = 1024
)

// check returns cfg with its defaults filled in.
func (cfg Config) check() (Config, error) {
	switch {
	case !mh.UnicastRoutable(cfg.HomeAddress):
		return cfg, fmt.Errorf("home address %s is not a global IPv6 address", cfg.HomeAddress)
	case cfg.Identifier == "":
		return cfg, errors.New("there is no identifier to hold leases under")
	case cfg.Association == nil && !cfg.AllowUnauthenticated:
		return cfg, errors.New("there is no security association with the home agent, and going without is not allowed")
	case cfg.Lifetime < mh.LifetimeUnit || cfg.Lifetime > mh.MaxLifetime:
		return cfg, fmt.Errorf("lifetime %v is not between %v and %v", cfg.Lifetime, mh.LifetimeUnit, mh.MaxLifetime)
	}
	if cfg.Transport > mobilenode.Auto {
		return cfg, fmt.Errorf("%s is not known", cfg.Transport)
	}
	for i, p := range cfg.Profiles {
		if p.Class > NonPersistent || p.MaxRoundTrip < 0 || p.MaxLoss < 0 || p.MaxLoss > 1 {
			return cfg, fmt.Errorf("profile %d (%s) is out of range", i, p.Name)
		}
	}
	for _, p := range cfg.Proxies {
		if !mh.UnicastRoutable(p.Address) {
			return cfg, fmt.Errorf("proxy %s is not a global IPv6 address", p.Address)
		}
		if p.Transport > mobilenode.Auto {
			return cfg, fmt.Errorf("proxy %s: %s is not known", p.Address, p.Transport)
		}
		for _, c := range p.Coverage {
			if !c.IsValid() || !c.Addr().Is6() {
				return cfg, fmt.Errorf("proxy %s: coverage %s is not an IPv6 prefix", p.Address, c)
			}
		}
	}
	fill(&cfg.HoldTime, defaultHoldTime)
	fill(&cfg.IdleTime, defaultIdleTime)
	fill(&cfg.GracefulTime, defaultGracefulTime)
	fill(&cfg.HeartbeatInterval, defaultHeartbeatInterval)
	fill(&cfg.MaxAnchors, defaultMaxAnchors)
	fill(&cfg.MaxCached, defaultMaxCached)
	cfg.UseHomeAgent = cfg.UseHomeAgent && cfg.Association != nil
	cfg.Anycast = cfg.Anycast && cfg.UseHomeAgent
	return cfg, nil
}

func fill[T int | time.Duration](v *T, byDefault T) {
	if *v <= 0 {
		*v = byDefault
	}
}
