package homeagent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/binding"
	"kedge/signaling/discovery"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// request is a Binding Update on its way through the home agent.
type request struct {
	// received is where it came from; its Payload, of length octets, is gone once Handle is over.
	received signaling.Received
	length   int
	update   *mh.BindingUpdate
	// identifier is the MN-ID that it came with; nil if none.
	identifier *mh.MobileNodeIdentifier
	home       netip.Addr
	// told is the care-of address that the mobile node speaks of, which authentication covers, and careOf where packets for it
	// go. They are the same unless it came in a datagram: told is not valid then if it has no option that tells.
	told, careOf netip.Addr
	// away says that it came with a Home Address option, so that its acknowledgement gets a type 2 routing header.
	away bool
	// badPrefix says that a Mobile Network Prefix option was malformed.
	badPrefix bool

	claim Claim
	// signed says that claim.Association signs the acknowledgement; authentic, that it also proved the request's origin and
	// freshness.
	signed, authentic bool
	// timestamp is the one for the acknowledgement, and if authentic the request's; 0 if there was none.
	timestamp mh.NTPTime

	// What was decided.
	networks []netip.Prefix
	granted  time.Duration
	expires  time.Time
	status   mh.Status
}

// deregisters says that the request is to delete the binding (RFC 6275 section 10.3.2, RFC 3963 section 6.2).
func (q *request) deregisters() bool {
	return q.update.Lifetime == 0 || q.careOf == q.home && !q.datagram()
}

// bindingUpdate goes through the tests of RFC 6275 sections 9.5.1 and 10.3.1 and RFC 3963 section 6.2, in their order.
func (m *Machine) bindingUpdate(now time.Time, r *signaling.Received, update *mh.BindingUpdate, badPrefix bool) {
	q := &m.request
	*q = request{received: *r, length: len(r.Payload), update: update, home: r.Source, badPrefix: badPrefix}
	if !fault.Answerable(r.Source) || r.Destination != m.cfg.Address || !FitDatagram(r) {
		m.counters.Discarded.BadAddresses++
		return
	}
	if r.HomeAddress.IsValid() {
		q.home, q.away = r.HomeAddress, true
	}
	if !routable(q.home) {
		m.counters.Discarded.BadAddresses++
		if q.away {
			m.bindingError(now, mh.UnknownBinding, r.Source, r.Destination, r.HomeAddress)
		}
		return
	}
	if _, ok := mh.Find[*mh.NonceIndices](update.Options); ok && update.HomeRegistration {
		m.counters.Discarded.NonceIndices++
		return
	}
	if q.datagram() {
		q.told, q.careOf = ToldCareOf(r, update.Options), r.Outer.Addr()
	} else {
		q.careOf = auth.CareOf(update.Options, r.Source)
		q.told = q.careOf
	}
	if !q.deregisters() && !q.datagram() && !routable(q.careOf) {
		// "MUST be silently discarded" (section 6.1.7)
		m.counters.Discarded.BadAddresses++
		return
	}
	if !q.away && !q.datagram() && !q.deregisters() {
		m.counters.Discarded.NoHomeAddressOption++
		return
	}
	q.identifier, _ = mh.Find[*mh.MobileNodeIdentifier](update.Options)
	q.claim = m.authority.Claim(now, update, q.home)
	if !m.authenticate(now, q) {
		return
	}
	m.do(signaling.Report{
		Kind: BindingUpdateReceived, Home: q.home, CareOf: q.careOf, Peer: r.Source, Link: r.Link,
		Sequence: update.Sequence, Lifetime: update.Lifetime,
	})
	if last, ok := m.inSequence(q); !ok {
		q.update.Sequence = last
		m.refuse(q, mh.StatusSequenceOutOfWindow, fmt.Sprintf("sequence number is not greater than %d", last))
		return
	}
	status, why := m.judge(q)
	switch {
	case status == mh.StatusNotHomeAgent:
		// The mobile node came home before the binding was made; it is not to be made any more.
		if m.pending.remove(q.home) {
			m.counters.Superseded++
		}
		m.refuse(q, status, why)
	case status != mh.StatusAccepted:
		m.refuse(q, status, why)
	case why != "":
		m.counters.Discarded.NotHomeRegistration++
	case q.deregisters():
		m.deregister(now, q)
	default:
		m.register(now, q)
	}
}

// judge decides on a request that is authentic and in sequence. Accepted with a reason is silence.
func (m *Machine) judge(q *request) (mh.Status, string) {
	old, bound := m.valid(q.home)
	u := q.update
	switch {
	case u.ProxyRegistration:
		// RFC 5213 section 5.3.1
		return mh.StatusProxyNotEnabled, "proxy registration at a home agent"
	case !u.HomeRegistration && u.MobileRouter:
		return mh.StatusMobileRouterNotPermitted, "mobile router without home registration (RFC 3963 section 6.2)"
	case !u.HomeRegistration && bound:
		return mh.StatusRegistrationTypeChangeDisallowed, "the binding is a home registration"
	case !u.HomeRegistration:
		// Section 9.5.1 has nonces and an authenticator made from them checked, which this node never gave out.
		return mh.StatusAccepted, "not a home registration"
	case bound && !q.deregisters() && u.MobileRouter != (old.Flags&binding.MobileRouter != 0):
		return mh.StatusRegistrationTypeChangeDisallowed, "mobile router flag changed (RFC 3963 section 6.2)"
	}
	prefix := m.cfg.prefixOf(q.home)
	if prefix == nil {
		return mh.StatusNotHomeSubnet, "home address is in no home prefix"
	}
	if why := m.prohibits(q, prefix.Prefix); why != "" {
		return mh.StatusAdministrativelyProhibited, why
	}
	if q.deregisters() {
		if !bound {
			return mh.StatusNotHomeAgent, "there is no binding to delete"
		}
		return mh.StatusAccepted, ""
	}
	if why := q.unlikeDatagram(); why != "" {
		return mh.StatusUnspecified, why
	}
	if why := m.unfit(q.careOf, q.claim.Networks); why != "" {
		return mh.StatusInvalidCareOfAddress, why
	}
	if status, why := m.mobileNetworks(q); status != mh.StatusAccepted {
		return status, why
	}
	if _, exists := m.cache.Get(q.host()); !exists && m.pending.get(q.home) == nil {
		if err := m.cache.Allows(q.claim.Owner, m.pending.len()); err != nil {
			return mh.StatusInsufficientResources, err.Error()
		}
	}
	return mh.StatusAccepted, ""
}

func (q *request) host() netip.Prefix { return host(q.home) }

// prohibits says why the mobile node may not have the home address; empty if it may.
func (m *Machine) prohibits(q *request, prefix netip.Prefix) string {
	switch {
	case q.claim.Prohibited != "" || q.claim.Fixed:
		return q.claim.Prohibited
	case q.home == m.cfg.Address:
		return "home address is the home agent's own"
	case q.home == prefix.Masked().Addr() && prefix.Bits() < 127, q.home == discovery.HomeAgentsAnycast(prefix):
		return "home address is an anycast address"
	}
	return ""
}

// unfit says why the care-of address, a unicast routable one or that of a datagram, cannot be one here (RFC 6275 section
// 6.1.8, status 174); empty if it can. A tunnel to an address behind a tunnel of ours would never come out.
func (m *Machine) unfit(careOf netip.Addr, networks []netip.Prefix) string {
	if careOf.Is4() {
		return ""
	}
	if careOf == m.cfg.Address {
		return "care-of address is the home agent's"
	}
	if _, bound := m.valid(careOf); bound || m.authority.Fixed(careOf) {
		return "care-of address is a home address"
	}
	if slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(careOf) }) {
		return "care-of address is in the mobile node's own network"
	}
	return ""
}

// mobileNetworks decides on the prefixes of a mobile router (RFC 3963 sections 6.2 and 6.6) and leaves them in q.
func (m *Machine) mobileNetworks(q *request) (mh.Status, string) {
	q.networks = slices.Clone(q.claim.Delegated)
	if !q.update.MobileRouter {
		return mh.StatusAccepted, ""
	}
	if !q.claim.MobileRouters {
		return mh.StatusMobileRouterNotPermitted, "there are no mobile networks"
	}
	if q.badPrefix {
		return mh.StatusInvalidPrefix, "malformed mobile network prefix"
	}
	own := q.claim.Networks
	for _, o := range mh.FindAll[*mh.MobileNetworkPrefix](q.update.Options) {
		p := o.Prefix
		switch {
		case p.Bits() == 0 || !routable(p.Addr()):
			return mh.StatusInvalidPrefix, fmt.Sprintf("%v is no unicast routable prefix", p)
		case !slices.Contains(own, p):
			return mh.StatusNotAuthorizedForPrefix, fmt.Sprintf("%v is not the mobile node's", p)
		case !slices.Contains(q.networks, p):
			q.networks = append(q.networks, p)
		}
	}
	if len(q.networks) == 0 {
		// Implicit mode.
		q.networks = slices.Clone(own)
	}
	if len(q.networks) == 0 {
		return mh.StatusForwardingSetupFailed, "no prefix is known for the mobile router"
	}
	return mh.StatusAccepted, ""
}
