package accessrouter

import (
	"container/heap"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// lifetimeUnit is that of all lifetimes in Mobility Headers.
const lifetimeUnit = mh.LifetimeUnit

// state is where a mobile node is, as far as this MAAR knows. The strings are part of the control API.
type state string

const (
	// attaching: on a link here, and the CMD has not acknowledged yet. Local service may be given.
	attaching state = "attaching"
	// serving: on a link here and registered.
	serving state = "serving"
	// absent: it left its link here and has not been heard of since.
	absent state = "absent"
	// previous: another MAAR serves it, and what is anchored here goes there.
	previous state = "previous"
	// leaving: being de-registered.
	leaving state = "leaving"
	// denied: on a link here, and not given service.
	denied state = "denied"
)

// session is what the MAAR knows of one mobile node.
type session struct {
	id        identity
	linkLayer signaling.LinkLayerAddress
	// link is where it is, or was last; empty if it was never seen here.
	link  string
	state state
	since time.Time

	// own is the prefix that is anchored here; invalid if there is none. older are others that the CMD or its earlier life
	// remembered: they are served alike, but deprecated.
	own   netip.Prefix
	older []netip.Prefix
	// told says that its routers are advertised on link.
	told bool
	// bound says that its prefixes are bound to link.
	bound bool
	// tunnel is the serving MAAR that own and older are bound to in state previous.
	tunnel netip.Addr
	// before is the serving MAAR that the mobile node came back from, until the CMD has acknowledged that.
	before netip.Addr
	// anchors are the prefixes of others that are bound to link, oldest first.
	anchors []*anchor
	// linkLocal is the router's address that the local mobility anchor gave; plain RFC 5213 only.
	linkLocal netip.Addr

	// request is the latest registration or de-registration, answered or not; cleanups are under way beside it.
	request  *request
	cleanups []*request
	// sent is when the last PBUs left (RFC 8885 section 3.6), the latest last.
	sent [maxUpdateRate]time.Time
	// sequence is the last number used, and stamp the last Timestamp.
	sequence uint16
	stamp    time.Time

	// expires is when the registration ends; zero if there is none, or its timer is stopped. refresh is when to renew it.
	expires, refresh time.Time
	// grace is when service begins without the CMD, or a prefix is looked for again.
	grace time.Time
	// takenAt are when others took the mobile node over lately; until hold it may not be taken back.
	takenAt []time.Time
	hold    time.Time
	// waiting is the attachment that is taken up when hold ends.
	waiting *signaling.MobileNodeAttached
	// repeated is when the advertisements were last repeated for a new sign of life.
	repeated time.Time

	// due and position are the timers'.
	due      time.Time
	position int
}

// present reports whether the mobile node is on a link here and served.
func (s *session) present() bool { return s.state == attaching || s.state == serving }

// prefixes are all that are anchored here, the preferred one first.
func (s *session) prefixes() []netip.Prefix {
	if !s.own.IsValid() {
		return s.older
	}
	return append([]netip.Prefix{s.own}, s.older...)
}

// next is when something of the session is due; zero if never.
func (s *session) next() time.Time {
	var next time.Time
	earliest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	earliest(s.grace)
	earliest(s.refresh)
	earliest(s.expires)
	if s.waiting != nil {
		earliest(s.hold)
	}
	if s.request != nil {
		earliest(s.request.due)
	}
	for _, r := range s.cleanups {
		earliest(r.due)
	}
	return next
}

func (m *Machine) enter(now time.Time, s *session, next state) {
	if s.state != next {
		s.state, s.since = next, now
	}
}

// schedule puts s in its place among the timers.
func (m *Machine) schedule(s *session) {
	if m.sessions[s.id] != s {
		m.timers.remove(s)
		return
	}
	s.due = s.next()
	m.timers.set(s)
}

// timers are the sessions with something due, as a heap.
type timers struct{ heap sessionHeap }

type sessionHeap []*session

func (h sessionHeap) Len() int           { return len(h) }
func (h sessionHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h sessionHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i+1, j+1
}

func (h *sessionHeap) Push(x any) {
	s := x.(*session)
	*h = append(*h, s)
	s.position = len(*h)
}

func (h *sessionHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.position = 0
	return s
}

func (t *timers) remove(s *session) {
	if s.position > 0 {
		heap.Remove(&t.heap, s.position-1)
	}
}

func (t *timers) set(s *session) {
	switch {
	case s.due.IsZero():
		t.remove(s)
	case s.position == 0:
		heap.Push(&t.heap, s)
	default:
		heap.Fix(&t.heap, s.position-1)
	}
}

func (t *timers) next() time.Time {
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].due
}

// due takes out a session with something due at now; nil if there is none.
func (t *timers) due(now time.Time) *session {
	if len(t.heap) == 0 || now.Before(t.heap[0].due) {
		return nil
	}
	return heap.Pop(&t.heap).(*session)
}
