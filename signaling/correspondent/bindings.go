package correspondent

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

// valid is the binding of home, if there is one that is not Invalid.
func (m *Machine) valid(home netip.Addr) (binding.Binding, bool) {
	if !home.IsValid() {
		return binding.Binding{}, false
	}
	b, ok := m.cache.Get(host(home))
	return b, ok && b.Flags&binding.Invalid == 0
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, 128) }

// expire ends what has come to its end by now (RFC 6275 section 9.6).
func (m *Machine) expire(now time.Time) {
	for {
		b, ok := m.cache.Due(now)
		if !ok {
			return
		}
		switch {
		case b.Flags&binding.Invalid != 0:
			_, _ = m.cache.Delete(b.Home) // there is no store that could fail
		case now.Before(b.Expires):
			m.requestRefresh(b)
		default:
			m.counters.Expired++
			accepted := b.Expires.Add(-b.Lifetime)
			m.end(now, b, accepted.Add(routability.MaxNonceLifetime), b.Sequence, BindingExpired, "")
		}
	}
}

// requestRefresh sends a Binding Refresh Request to a mobile node's home address, once for each time that it registers (RFC
// 6275 section 9.5.5). Mobile nodes that want to go on have registered again by then.
func (m *Machine) requestRefresh(b binding.Binding) {
	b.Flags &^= binding.AskRefresh
	_ = m.cache.Put(b) // in its own place
	payload, err := mh.Append(nil, &mh.BindingRefreshRequest{})
	if err != nil {
		return
	}
	home := b.Home.Addr()
	mh.SetChecksum(payload, m.cfg.Address, home)
	m.counters.RefreshRequests++
	m.send(signaling.Send{Destination: home, Payload: payload})
	m.emit(signaling.Report{Kind: RefreshRequested, Home: home, CareOf: b.CareOf, Peer: m.cfg.Address, Sequence: b.Sequence})
}

// end takes a binding out of use, but remembers its sequence number until nonces are gone that updates for it may have been
// made with: they could be replayed else (RFC 6275 sections 5.2.8 and 9.5.3).
func (m *Machine) end(now time.Time, b binding.Binding, until time.Time, sequence uint16, kind signaling.ReportKind, why string) {
	home := b.Home.Addr()
	delete(m.troubles, home)
	if b.Flags&binding.Invalid == 0 {
		m.emit(signaling.Deoptimize{Home: home, Correspondent: m.cfg.Address})
		m.emit(signaling.Report{Kind: kind, Home: home, CareOf: b.CareOf, Peer: m.cfg.Address, Sequence: sequence, Detail: why})
	}
	if !until.After(now) {
		_, _ = m.cache.Delete(b.Home)
		return
	}
	b.Flags, b.Sequence, b.Expires = binding.Invalid, sequence, until
	_ = m.cache.Put(b)
}

// trouble is what ICMPv6 errors say about the way to a care-of address.
type trouble struct {
	first, last time.Time
	count       int
}

// Destination Unreachable messages about a care-of address are persistent when there were troubleCount in at least
// troubleTime, with no more than troubleGap between them.
const (
	troubleCount = 4
	troubleTime  = 10 * time.Second
	troubleGap   = 30 * time.Second
)

// unreachable deletes a binding whose care-of address persistently cannot be reached (RFC 6275 section 9.3.4).
func (m *Machine) unreachable(now time.Time, b binding.Binding) {
	home := b.Home.Addr()
	t := m.troubles[home]
	if t.count == 0 || now.Sub(t.last) > troubleGap {
		t = trouble{first: now}
	}
	t.last = now
	t.count++
	m.troubles[home] = t
	if t.count >= troubleCount && now.Sub(t.first) >= troubleTime {
		accepted := b.Expires.Add(-b.Lifetime)
		m.end(now, b, accepted.Add(routability.MaxNonceLifetime), b.Sequence, BindingDeleted, "care-of address is unreachable")
	}
}
