package accessrouter

import (
	"time"

	"kedge/signaling/mh"
)

// sender is whose RFC 4285 timestamps are compared with each other.
type sender struct {
	spi  uint32
	kind mh.Type
	id   identity
}

type remembered struct {
	timestamp mh.NTPTime
	at        time.Time
}

// memory has the latest timestamp that was accepted from each sender, for as long as an earlier one could be accepted again.
type memory struct {
	most   int
	keep   time.Duration
	latest map[sender]remembered
	swept  time.Time
}

func newMemory(most int) memory { return memory{most: most, latest: make(map[sender]remembered)} }

// get is the latest timestamp from s; 0 if none could be accepted once more. full says that there is no room for s.
func (m *memory) get(now time.Time, s sender) (last mh.NTPTime, full bool) {
	if now.Sub(m.swept) > m.keep {
		m.swept = now
		for k, r := range m.latest {
			if now.Sub(r.at) > m.keep {
				delete(m.latest, k)
			}
		}
	}
	r, ok := m.latest[s]
	return r.timestamp, !ok && len(m.latest) >= m.most
}

func (m *memory) put(now time.Time, s sender, timestamp mh.NTPTime) {
	m.latest[s] = remembered{timestamp, now}
}
