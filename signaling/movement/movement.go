// Package movement notices where one uplink of a mobile node is attached, and gives it addresses there: router discovery
// (RFC 4861 section 6.3), stateless address autoconfiguration (RFC 4862 section 5.5) with optimistic duplicate address
// detection (RFC 4429), and movement detection (RFC 6275 section 11.5).
//
// Nothing in it waits. The story of a move: carrier comes up and a router solicitation leaves in the same instant; what
// was learnt on the former link is kept but not trusted. The first router advertisement that names a prefix decides. A
// prefix that the former link had too says that this is the same link, and all is as it was, with the care-of address that
// the home agent knows. Any other says that the node has moved: what was known goes, an address is formed in the new
// prefix and is usable at once, optimistically. Without a carrier to watch, a router that is silent for longer than its
// Advertisement Interval option promises, or another that makes itself heard, has the current one probed (section
// 11.5.1), and its loss is a move.
//
// A link may have several routers, each with a prefix of its own. Behind mobility anchors and access routers (RFC 8885)
// there is one for each that the node came by, and the earlier ones deprecate their prefixes. The care-of address is of a
// prefix that is not deprecated, if there is one, and its packets leave by a router that advertised it. The other addresses
// stay on the link while they are valid and their routers last, for what is still sent to them (section 11.5.4).
//
// The machine does no I/O: it is handed events and returns effects, to be carried out in order.
package movement

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
)

// Limits on what the routers of a link can make the machine hold. What exceeds them is counted and ignored.
const (
	maxRouters  = 8
	maxPrefixes = 16
)

// Config is what one uplink is told by its operator.
type Config struct {
	// Uplink is the interface's name; it is also the Net_Iface of RFC 7217.
	Uplink string
	// Secret is the key that interface identifiers are made with (RFC 7217 section 5), 16 octets or more.
	Secret []byte
	// Autoconfigure takes addresses and routers from router advertisements.
	Autoconfigure bool
	// Addresses are static addresses with the prefix length of the link, and Gateway their default router; invalid if
	// none.
	Addresses []netip.Prefix
	Gateway   netip.Addr
	// KeepCareOf stays with the care-of address on the links that it moves to, though deprecated, while it is valid there.
	KeepCareOf bool
	// Preference orders uplinks; higher wins.
	Preference int
	// MTU is the interface's in octets, at least 1280. Routers can lower what is used of it.
	MTU int
	// Random gives numbers from 0 up to but not including 1, which spread retransmissions; nil leaves them unspread.
	Random func() float64
}

// Counters count what was refused.
type Counters struct {
	// Invalid counts router advertisements that are not from a link-local address, and prefixes that RFC 4862 section
	// 5.5.3 has ignored.
	Invalid uint64
	// RoutersIgnored and PrefixesIgnored count what was one too many.
	RoutersIgnored, PrefixesIgnored uint64
	// Duplicates counts addresses that another node held.
	Duplicates uint64
}

// Machine is one uplink. It is not safe for concurrent use.
type Machine struct {
	cfg Config

	up bool
	// trusted says that what is known was heard, or confirmed, since the link came up or the router was lost.
	trusted   bool
	trustedAt time.Time
	// recognised says that it was trusted because a prefix was known from before.
	recognised bool
	linkLocal  linkLocal
	routers    []router
	prefixes   []prefix
	static     []staticAddress
	gateway    gateway
	mtu        int
	timers     SetNeighborTimers

	solicitation solicitation
	// router and careOf are those in use.
	router netip.Addr
	careOf netip.Addr
	// last is the care-of address that was in use last, and awaited until when the routers of its prefix have time to be
	// heard on a new link; zero if that is not waited for.
	last    netip.Addr
	awaited time.Time

	attachment signaling.Attachment
	next       time.Time
	counters   Counters

	effects []Effect
	// removed are addresses to take away once the attachment that replaces them has been handed over.
	removed []netip.Addr
}

// New checks cfg and returns the machine of an uplink whose carrier is down.
func New(cfg Config) (*Machine, error) {
	if cfg.Uplink == "" {
		return nil, errors.New("an uplink needs a name")
	}
	if cfg.Autoconfigure && len(cfg.Secret) < 16 {
		return nil, fmt.Errorf("uplink %s: the secret for interface identifiers has %d octets, and needs 16", cfg.Uplink, len(cfg.Secret))
	}
	if cfg.MTU < minMTU {
		return nil, fmt.Errorf("uplink %s: MTU %d is below IPv6's minimum of %d", cfg.Uplink, cfg.MTU, minMTU)
	}
	m := &Machine{cfg: cfg, mtu: cfg.MTU}
	for _, p := range cfg.Addresses {
		if !p.Addr().Is6() || p.Addr().Is4In6() || !p.Addr().IsGlobalUnicast() {
			return nil, fmt.Errorf("uplink %s: %s is not a global IPv6 address", cfg.Uplink, p)
		}
		m.static = append(m.static, staticAddress{prefix: p})
	}
	m.attachment = m.detached()
	return m, nil
}

// minMTU is the least MTU of an IPv6 link (RFC 8200 section 5).
const minMTU = 1280

// Handle takes one event that happened at now and returns what is to be done, in order. Carrying it out may cause further
// events, which may be handed over before the rest is done.
func (m *Machine) Handle(now time.Time, event Event) []Effect {
	m.effects = nil
	switch e := event.(type) {
	case Carrier:
		m.handleCarrier(now, e.Up)
	case RouterAdvertisement:
		m.handleAdvertisement(now, &e)
	case RouterUnreachable:
		m.handleUnreachable(now, e.Router)
	case RouterReachable:
		m.handleReachable(e.Router)
		m.answered(e.Router)
	case DuplicateFound:
		m.handleDuplicate(e.Address)
	case AddressConfirmed:
		m.handleConfirmed(e.Address)
	case Tick:
	}
	m.expire(now)
	m.giveUp(now)
	m.watchInterval(now)
	m.probeGateway(now)
	m.settle(now)
	m.solicit(now)
	m.schedule(now)
	return m.effects
}

// Next is when the machine wants a Tick at the latest; the zero time if never.
func (m *Machine) Next() time.Time { return m.next }

// Attachment is what was handed over last.
func (m *Machine) Attachment() signaling.Attachment { return m.attachment }

// Counters returns the counts so far.
func (m *Machine) Counters() Counters { return m.counters }

// handleCarrier starts over on whatever link is there now. The addresses stay where they are, unused, because the link may
// turn out to be the same one.
func (m *Machine) handleCarrier(now time.Time, up bool) {
	if up == m.up {
		return
	}
	m.up = up
	m.distrust()
	m.gateway = gateway{}
	if !up {
		m.solicitation.stop()
		m.report(signaling.Report{Kind: LinkDown, Link: m.cfg.Uplink})
		return
	}
	m.report(signaling.Report{Kind: LinkUp, Link: m.cfg.Uplink})
	for i := range m.static {
		m.static[i].duplicate = false
		m.emit(AddAddress{Address: m.static[i].prefix, Detection: Assigned})
	}
	if m.cfg.Autoconfigure {
		m.beginLinkLocal()
		m.solicitation.begin(now)
	}
}

func (m *Machine) emit(e Effect) { m.effects = append(m.effects, e) }

func (m *Machine) report(r signaling.Report) { m.emit(Report{r}) }

// schedule finds the earliest time at which something runs out.
func (m *Machine) schedule(now time.Time) {
	m.next = time.Time{}
	at := func(t time.Time) {
		if !t.IsZero() && (m.next.IsZero() || t.Before(m.next)) {
			m.next = t
		}
	}
	at(m.solicitation.at)
	at(m.awaited)
	for i := range m.routers {
		r := &m.routers[i]
		at(r.until)
		if m.trusted && r.address == m.router {
			at(r.nextMiss(now))
		}
	}
	for i := range m.prefixes {
		p := &m.prefixes[i]
		if p.onLink {
			at(p.onLinkUntil)
		}
		if p.autonomous {
			at(p.validUntil)
			if p.preferredUntil.After(now) {
				at(p.preferredUntil)
			}
		}
	}
	at(m.gateway.probeAt)
}
