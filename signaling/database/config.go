package database

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

// Mode is what the database does for a mobile node that moved (RFC 8885 section 3).
type Mode uint8

// The modes.
const (
	// Relay collects what P-MAARs answer and passes it on to the S-MAAR (section 3.2).
	Relay Mode = iota + 1
	// Locator has each P-MAAR answer the S-MAAR itself (3.3).
	Locator
	// Proxy answers for the P-MAARs at once and tells them at the same time (3.4).
	Proxy
	// PlainOnly is a local mobility anchor that does not know RFC 8885: it refuses PBUs with flag D (section 4.1).
	PlainOnly
)

var modes = [...]string{Relay: "relay", Locator: "locator", Proxy: "proxy", PlainOnly: "plain"}

// String is the mode's name in configuration files.
func (m Mode) String() string {
	if m >= Relay && m <= PlainOnly {
		return modes[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Ordering is how the PBUs of the domain are put in order (RFC 5213 section 5.5). It decides about those that the database
// sends; those it receives are put in order by the Timestamp option if they have one, else by sequence number.
type Ordering uint8

// The orderings.
const (
	ByTimestamp Ordering = iota
	BySequence
)

// Method is what becomes of a P-MAAR's de-registration (RFC 8885 section 3.5).
type Method uint8

// The methods.
const (
	// DenyPrevious refuses it: P-MAARs stop their timers when they hear of the S-MAAR.
	DenyPrevious Method = iota
	// RenewPrevious answers it with what is left of the session's lifetime.
	RenewPrevious
)

// Defaults of Config.
const (
	DefaultMaxLifetime        = time.Hour
	DefaultAggregationTimeout = 500 * time.Millisecond
	DefaultPacingInterval     = 100 * time.Microsecond
	DefaultMaxSessions        = 1 << 20
	DefaultMaxPreviousMAARs   = 8
	// DefaultTimestampWindow and DefaultDeleteDelay are RFC 5213 section 9.1's.
	DefaultTimestampWindow = 300 * time.Millisecond
	DefaultDeleteDelay     = 10 * time.Second
	defaultErrorRate       = 10
)

const (
	// prefixBits is the length of every prefix of a mobile node.
	prefixBits = 64
	// maxGroups bounds the prefixes that one router may register for one mobile node, maxLocal the Local Prefixes of each.
	maxGroups  = 4
	maxLocal   = 4
	maxRouters = 1<<16 - 1
	// maxPrevious is MaxPreviousMAARs at most: so many fit a message.
	maxPrevious = 16
)

// Config is what a database is told at its start.
type Config struct {
	// Address is its own global address, which messages come to and go from, and one end of its tunnels.
	Address netip.Addr
	Mode    Mode
	// Routers are the MAARs and MAGs that it takes PBUs from.
	Routers []Router
	// Associations are the security associations with them by SPI.
	Associations map[uint32]auth.Association
	Ordering     Ordering
	// Nodes are the mobile nodes that get service; AllowAnyNode has others get it too.
	Nodes        []Node
	AllowAnyNode bool
	// MaxLifetime is the longest lifetime granted, 4 s to 262,140 s; 0 is an hour.
	MaxLifetime time.Duration
	// AggregationTimeout is how long an S-MAAR waits for its P-MAARs' answers in relay mode; 0 is 0.5 s, which is less than
	// the S-MAAR waits before it sends its PBU again.
	AggregationTimeout time.Duration
	// PacingInterval is the least time between two PBUs that the database sends to whomever; 0 is 0.1 ms.
	PacingInterval time.Duration
	// MaxSessions bounds the sessions, and the mobile nodes whose latest PBU is remembered against replay, in each
	// association's Memory; 0 is 1,048,576.
	MaxSessions int
	// MaxPreviousMAARs bounds the prefixes in a session beside those that the S-MAAR registers; the oldest leaves. 0 is 8,
	// the most is 16.
	MaxPreviousMAARs int
	// ServePlain serves PBUs without flag D, with prefixes of /64 out of HomePrefixes; otherwise they are refused with
	// status 129.
	ServePlain   bool
	HomePrefixes []netip.Prefix
	// Deregistration is what a P-MAAR's de-registration leads to.
	Deregistration Method
	// DeleteDelay is RFC 5213 section 9.1's MinDelayBeforeBCEDelete, for sessions without flag D; 0 is 10 s.
	DeleteDelay time.Duration
	// TimestampWindow is RFC 5213 section 9.1's TimestampValidityWindow; 0 is 300 ms.
	TimestampWindow time.Duration
	// ErrorRate is how many Binding Errors, Parameter Problems and refusals of what failed to authenticate are sent a second
	// on average, with bursts of as many; 0 is 10.
	ErrorRate int
	// Store keeps the sessions beyond the process; nil keeps them in memory only.
	Store binding.Store
	// Clock turns now into the time of day that timestamps are held against; nil is the host's at the start, running on by
	// its monotonic clock.
	Clock func(now time.Time) time.Time
}

// Router is one MAAR or mobile access gateway.
type Router struct {
	// Address is its global address, the source of its PBUs and its Proxy-CoA.
	Address netip.Addr
	// SPI names its association with the database, which is no other router's.
	SPI uint32
	// Prefixes are the pools that it alone may anchor prefixes of /64 from.
	Prefixes []netip.Prefix
	// Plain says that it is no MAAR: it may not send flag D. A MAAR may leave it out as well.
	Plain bool
}

// Node is one mobile node.
type Node struct {
	Identifier mh.MobileNodeIdentifier
	// Prefix is its home network prefix, a /64, with a router without flag D; invalid if it gets one out of HomePrefixes.
	Prefix netip.Prefix
	// Barred refuses it network-based mobility (status 152).
	Barred bool
}

// withDefaults has the defaults in place of zero values.
func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	count := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	set(&c.MaxLifetime, DefaultMaxLifetime)
	set(&c.AggregationTimeout, DefaultAggregationTimeout)
	set(&c.PacingInterval, DefaultPacingInterval)
	set(&c.DeleteDelay, DefaultDeleteDelay)
	set(&c.TimestampWindow, DefaultTimestampWindow)
	count(&c.MaxSessions, DefaultMaxSessions)
	count(&c.MaxPreviousMAARs, DefaultMaxPreviousMAARs)
	count(&c.ErrorRate, defaultErrorRate)
	return c
}

// Check says what makes the configuration one that New cannot run.
func (c *Config) Check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !mh.UnicastRoutable(c.Address) {
		wrong("database address %v is no unicast routable IPv6 address", c.Address)
	}
	if c.Mode < Relay || c.Mode > PlainOnly {
		wrong("%v is unknown", c.Mode)
	}
	if c.Mode == PlainOnly && !c.ServePlain {
		wrong("mode %v serves nobody if PBUs without flag D are not served", c.Mode)
	}
	if l := c.MaxLifetime; l != 0 && (l < mh.LifetimeUnit || l > mh.MaxLifetime) {
		wrong("lifetime %v is not from %v to %v", l, mh.LifetimeUnit, mh.MaxLifetime)
	}
	for _, d := range []time.Duration{c.AggregationTimeout, c.PacingInterval, c.DeleteDelay, c.TimestampWindow} {
		if d < 0 {
			wrong("%v is negative", d)
		}
	}
	if c.MaxSessions < 0 || c.MaxPreviousMAARs < 0 || c.MaxPreviousMAARs > maxPrevious {
		wrong("at most %d sessions with %d P-MAARs each: that is negative, or more than %d P-MAARs",
			c.MaxSessions, c.MaxPreviousMAARs, maxPrevious)
	}
	c.checkRouters(wrong)
	for _, p := range c.HomePrefixes {
		if !isPool(p) {
			wrong("home network prefixes %v: not an IPv6 prefix of at most /%d", p, prefixBits)
		}
	}
	seen, owners := make(map[string]bool), make(map[netip.Prefix]string)
	for i, n := range c.Nodes {
		id := key(&n.Identifier)
		if n.Identifier.Identifier == "" || len(id) > 255 || seen[id] {
			wrong("mobile node %d: identifier %q is empty, longer than 254 octets or another's", i+1, n.Identifier.Identifier)
		}
		seen[id] = true
		if !n.Prefix.IsValid() {
			continue
		}
		if _, ok := prefixOf(n.Prefix); !ok || owners[n.Prefix.Masked()] != "" {
			wrong("mobile node %d: %v is no IPv6 prefix of /%d, or another's", i+1, n.Prefix, prefixBits)
		}
		owners[n.Prefix.Masked()] = id
		for _, r := range c.Routers {
			if slices.ContainsFunc(r.Prefixes, n.Prefix.Overlaps) {
				wrong("mobile node %d: %v is in a pool of router %v", i+1, n.Prefix, r.Address)
			}
		}
	}
	return errors.Join(problems...)
}

func (c *Config) checkRouters(wrong func(string, ...any)) {
	if len(c.Routers) >= maxRouters {
		wrong("%d routers are more than %d", len(c.Routers), maxRouters-1)
		return
	}
	addresses, spis := make(map[netip.Addr]bool), make(map[uint32]bool)
	var pools []netip.Prefix
	for _, r := range c.Routers {
		if !mh.UnicastRoutable(r.Address) || r.Address == c.Address || addresses[r.Address] {
			wrong("router address %v is no unicast routable IPv6 address, another's, or the database's", r.Address)
		}
		addresses[r.Address] = true
		if a, ok := c.Associations[r.SPI]; !ok || a.Algorithm.Size() == 0 || spis[r.SPI] {
			wrong("router %v: SPI %d names no security association, or another router's", r.Address, r.SPI)
		}
		spis[r.SPI] = true
		if r.Plain && len(r.Prefixes) > 0 {
			wrong("router %v anchors no prefixes, as a plain mobile access gateway", r.Address)
		}
		for _, p := range r.Prefixes {
			if !isPool(p) {
				wrong("router %v: %v is not an IPv6 prefix of at most /%d", r.Address, p, prefixBits)
			}
			for _, o := range append(pools, c.HomePrefixes...) {
				if o.Overlaps(p) {
					wrong("router %v: %v overlaps %v, but pools are exclusive", r.Address, p, o)
				}
			}
		}
		pools = append(pools, r.Prefixes...)
	}
}

func isPool(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p.Bits() <= prefixBits
}
