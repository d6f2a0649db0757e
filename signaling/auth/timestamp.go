package auth

import (
	"fmt"
	"time"

	"kedge/signaling/mh"
)

// later reports whether a is after b, modulo 2^64, since NTP time wraps in 2036.
func later(a, b mh.NTPTime) bool { return int64(a-b) > 0 }

// Fresh checks the timestamp of an authentic Binding Update that arrived at now: it has to be within the association's
// window and later than last, the latest that was accepted from the same mobile node, 0 if none was (RFC 4285 section 6).
// The error wraps ErrStale.
func (a Association) Fresh(timestamp, last mh.NTPTime, now time.Time) error {
	if off := timestamp.Time().Sub(now); off > a.window() || off < -a.window() {
		return fmt.Errorf("%w: it is %v off this node's clock, %v allowed", ErrStale, off.Round(time.Millisecond), a.window())
	}
	if last != 0 && !later(timestamp, last) {
		return fmt.Errorf("%w: one as late was accepted before", ErrStale)
	}
	return nil
}

// Memory is how long a receiver has to remember the timestamp it accepted last from a mobile node: by then it and every
// earlier one are out of the window.
func (a Association) Memory() time.Duration { return 2 * a.window() }

// MismatchReply is the timestamp in a Binding Acknowledgement that refuses received: its lower half with the upper half of
// this node's own time (RFC 4285 section 6).
func MismatchReply(received mh.NTPTime, now time.Time) mh.NTPTime {
	return mh.NTPTimeOf(now)&^0xffffffff | received&0xffffffff
}

// Clock makes the timestamps of a mobile node's Binding Updates. The zero value follows the node's own time of day.
type Clock struct {
	offset time.Duration
	last   mh.NTPTime
}

// Stamp is a timestamp for now, later than every one before (RFC 4285 section 6).
func (c *Clock) Stamp(now time.Time) mh.NTPTime {
	s := mh.NTPTimeOf(now.Add(c.offset))
	if c.last != 0 && !later(s, c.last) {
		s = c.last + 1
	}
	c.last = s
	return s
}

// Time is now by the clock that timestamps are made with, which after Resynchronise is the peer's.
func (c *Clock) Time(now time.Time) time.Time { return now.Add(c.offset) }

// Resynchronise takes over the home agent's time, to the second, from the timestamp in its authentic acknowledgement with
// status 144 (RFC 4285 section 6). The timestamps that were refused need not be surpassed.
func (c *Clock) Resynchronise(reply mh.NTPTime, now time.Time) {
	const halfSecond = 1 << 31
	c.offset = (reply&^0xffffffff | halfSecond).Time().Sub(now.Round(0))
	c.last = 0
}
