package routeoptimization

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// entry is one of the Binding Update List (RFC 6275 section 11.1).
type entry struct {
	pair
	// wanted is false once the pair has been cancelled, and only the binding is still to be deleted.
	wanted bool
	// at is when something is to be done next; zero if nothing.
	at time.Time

	homeTested, careOfTested test
	request                  request
	bound                    bound
	// remembered is until when the correspondent node may have a binding.
	remembered time.Time
	// published is what forwarding was told last; nil if nothing.
	published *signaling.Optimize

	// failures in a row; the pair is left alone until retryAt.
	failures int
	retryAt  time.Time
	refusals int
	// promptAfter is before when nobody's prompting counts.
	promptAfter time.Time
	lastError   string
}

// test is one half of the return routability procedure, and the token that it gave.
type test struct {
	attempt
	cookie mh.Cookie
	// address is the one tested.
	address netip.Addr
	token   mh.KeygenToken
	index   uint16
	// begun is when the first message left; the token is good for MAX_TOKEN_LIFETIME from then on.
	begun time.Time
	held  bool
}

// fresh says that there is a token for address that may be used.
func (t *test) fresh(now time.Time, address netip.Addr) bool {
	return t.held && t.address == address && now.Sub(t.begun) < routability.MaxTokenLifetime
}

// request is a registration or deregistration under way.
type request struct {
	attempt
	// careOf is the care-of address to be registered, or the home address in a deregistration.
	careOf netip.Addr
	sent   []transmission
}

type transmission struct {
	sequence uint16
	at       time.Time
	lifetime time.Duration
	key      routability.Key
}

// bound is the binding that the correspondent node has acknowledged.
type bound struct {
	careOf           netip.Addr
	lifetime         time.Duration
	until, refreshAt time.Time
}

func (b *bound) held(now time.Time) bool { return b.careOf.IsValid() && now.Before(b.until) }

// stop ends what is under way; tokens are kept.
func (e *entry) stop() {
	e.homeTested.attempt, e.careOfTested.attempt, e.request = attempt{}, attempt{}, request{}
}

func (e *entry) cancel() {
	if e.wanted {
		e.stop()
	}
	e.wanted, e.retryAt = false, time.Time{}
}

// moved is told when the care-of address has changed.
func (e *entry) moved() {
	e.stop()
	e.failures, e.retryAt, e.refusals = 0, time.Time{}, 0
}

// goal is what is to be reached for a pair.
type goal uint8

const (
	rest goal = iota
	register
	deregister
)

// goal decides on what the pair is to come to, with path; wake is when to decide again.
func (m *Machine) goal(now time.Time, e *entry, path *signaling.HomePath) (g goal, wake time.Time) {
	p := m.peerOf(e)
	switch {
	case now.Before(p.unsupportedUntil):
		return rest, p.unsupportedUntil
	case !e.wanted || path.AtHome:
		if now.Before(e.remembered) && (path.AtHome || path.CareOf.IsValid()) && !now.Before(e.retryAt) {
			return deregister, e.remembered
		}
		return rest, e.remembered
	case !path.CareOf.IsValid():
		return rest, e.remembered
	case now.Before(e.retryAt):
		return rest, e.retryAt
	case e.bound.held(now) && e.bound.careOf == path.CareOf && now.Before(e.bound.refreshAt):
		return rest, e.bound.refreshAt
	}
	return register, time.Time{}
}

// pursue does what is to be done for a pair now, and reports whether there will be more.
func (m *Machine) pursue(now time.Time, e *entry) bool {
	path := m.paths[e.home]
	g, wake := m.goal(now, e, &path)
	m.publish(now, e, &path) // what is not to be used any more, before anything is sent
	switch g {
	case rest:
		e.stop()
	case register:
		m.prove(now, e, &path, path.CareOf)
	case deregister:
		m.prove(now, e, &path, e.home)
	}
	m.publish(now, e, &path)
	e.at = time.Time{}
	for _, t := range [...]time.Time{wake, e.homeTested.at, e.careOfTested.at, e.request.at, e.bound.until, e.remembered, e.retryAt} {
		if t.After(now) && (e.at.IsZero() || t.Before(e.at)) {
			e.at = t
		}
	}
	return e.wanted || now.Before(e.remembered)
}

// publish tells forwarding where the pair's packets go, if that has changed.
func (m *Machine) publish(now time.Time, e *entry, path *signaling.HomePath) {
	var want *signaling.Optimize
	switch {
	case e.wanted && !path.AtHome && e.bound.held(now) && e.bound.careOf == path.CareOf:
		want = &signaling.Optimize{Mobile: true, Home: e.home, Correspondent: e.peer, CareOf: path.CareOf, Link: path.Link, Router: path.Router}
	case now.Before(e.remembered):
		want = &signaling.Optimize{Mobile: true, Home: e.home, Correspondent: e.peer}
	}
	switch {
	case want == nil && e.published == nil, want != nil && e.published != nil && *want == *e.published:
		return
	case want == nil:
		m.emit(signaling.Deoptimize{Mobile: true, Home: e.home, Correspondent: e.peer})
	default:
		m.emit(*want)
	}
	was := e.published != nil && e.published.CareOf.IsValid()
	is := want != nil && want.CareOf.IsValid()
	e.published = want
	switch {
	case is && !was:
		m.report(e, signaling.Report{Kind: Optimized, CareOf: want.CareOf, Link: want.Link, Lifetime: e.bound.lifetime})
	case was && !is:
		m.report(e, signaling.Report{Kind: Tunnelled, Detail: e.lastError})
	}
}

// fail leaves a pair alone for a while, in its tunnel.
func (m *Machine) fail(now time.Time, e *entry, why string) {
	e.stop()
	e.bound = bound{}
	e.failures++
	e.retryAt = now.Add(retryAfter(e.failures))
	if !e.wanted {
		e.remembered = now // nothing more can be done for a binding that ends by itself
	}
	m.counters.Failures++
	e.lastError = why
	m.report(e, signaling.Report{Kind: Failed, Detail: why})
}
