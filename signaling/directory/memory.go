package directory

import (
	"container/list"
	"time"

	"kedge/signaling/mh"
)

// sender is whose timestamps are compared with each other.
type sender struct {
	spi        uint32
	subtype    uint8
	identifier string
}

// remembered is the latest timestamp that was accepted from a sender, and when.
type remembered struct {
	sender    sender
	timestamp mh.NTPTime
	at        time.Time
}

// memory has the latest timestamps of as many senders as may be. Each is kept for as long as it or an earlier one could be
// accepted once more.
type memory struct {
	most   int
	keep   time.Duration
	latest map[sender]*list.Element
	// order has *remembered, those accepted first in front.
	order *list.List
}

func newMemory(most int) memory {
	return memory{most: most, latest: make(map[sender]*list.Element), order: list.New()}
}

// get is the latest timestamp accepted from s, 0 if none could be accepted once more. full says that there is no room to
// remember one from s.
func (m *memory) get(now time.Time, s sender) (last mh.NTPTime, full bool) {
	for e := m.order.Front(); e != nil; e = m.order.Front() {
		r := e.Value.(*remembered)
		if now.Sub(r.at) <= m.keep {
			break
		}
		delete(m.latest, r.sender)
		m.order.Remove(e)
	}
	if e, ok := m.latest[s]; ok {
		return e.Value.(*remembered).timestamp, false
	}
	return 0, len(m.latest) >= m.most
}

// put remembers that timestamp was accepted from s.
func (m *memory) put(now time.Time, s sender, timestamp mh.NTPTime) {
	if e, ok := m.latest[s]; ok {
		r := e.Value.(*remembered)
		r.timestamp, r.at = timestamp, now
		m.order.MoveToBack(e)
		return
	}
	m.latest[s] = m.order.PushBack(&remembered{s, timestamp, now})
}
