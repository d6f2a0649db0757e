package database

import (
	"time"

	"kedge/signaling/mh"
)

// stampOf is a Timestamp in units of 1/65536 s since 1 January 1970.
func stampOf(o *mh.Timestamp) uint64 {
	t := o.Time
	return uint64(t.Unix())<<16 + (uint64(t.Nanosecond())<<16+uint64(time.Second)/2)/uint64(time.Second)
}

// timely reports whether q's Timestamp, if it has one, is close enough to the time of day (RFC 5213 section 5.5, 6 and 9). If not,
// q has been refused.
func (m *Machine) timely(now time.Time, q *request) bool {
	if q.timestamp == nil {
		return true
	}
	clock := m.clock(now)
	if off := q.timestamp.Time.Sub(clock); off <= m.cfg.TimestampWindow && off >= -m.cfg.TimestampWindow {
		return true
	}
	q.timestamp = &mh.Timestamp{Time: clock}
	m.refuse(now, q, mh.StatusTimestampMismatch)
	return false
}

// later reports whether q comes after what s had last (RFC 5213 section 5.5): by Timestamp if it has one, else by sequence number
// (RFC 6275 section 9.5.1). If not, q has been refused. s is nil if there is no session yet.
func (m *Machine) later(now time.Time, q *request, s *session) bool {
	switch {
	case s == nil:
	case q.timestamp == nil:
		if int16(q.sequence-s.sequence) <= 0 {
			q.sequence = s.sequence
			m.refuse(now, q, mh.StatusSequenceOutOfWindow)
			return false
		}
	case stampOf(q.timestamp) <= s.stamp:
		q.timestamp = &mh.Timestamp{Time: m.clock(now)}
		m.refuse(now, q, mh.StatusTimestampLower)
		return false
	}
	return true
}

// ordered has s remember what q came with.
func (s *session) ordered(q *request) {
	s.sequence = q.sequence
	if q.timestamp != nil {
		s.stamp = stampOf(q.timestamp)
	}
}
