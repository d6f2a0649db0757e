package dmipv6

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

const (
	// maxTries is how often a message is sent that is not answered.
	maxTries = 3
	// The first wait is twice the round trip but not less than minWait, and firstWait if the round trip is unknown.
	firstWait = time.Second
	minWait   = 100 * time.Millisecond
	// maxResent is how often an answer that this node's clock is off brings on another try at once.
	maxResent = 2
)

// exchange is a message that awaits its reply. All its transmissions have one sequence number, so that the peer knows them
// to be the same, but each its own timestamp.
type exchange struct {
	peer     *peer
	sequence uint16
	sent     []transmission
	tries    int
	resent   int
	// at is when to transmit again, and wait what was waited for the last time; 0 before the first.
	at   time.Time
	wait time.Duration
}

type transmission struct {
	at        time.Time
	timestamp mh.NTPTime
	// place is the way that it took, and source that of its IPv6 header.
	place  mobilenode.Place
	source netip.Addr
}

// maxTransmissions bounds exchange.sent.
const maxTransmissions = maxTries + maxResent

// over says that no reply came to the last try.
func (x *exchange) over(now time.Time) bool { return x.tries >= maxTries && !now.Before(x.at) }

// restart has the exchange sent anew, from where this node is now.
func (x *exchange) restart(now time.Time, sequence uint16) {
	*x = exchange{peer: x.peer, sequence: sequence, at: now}
}

var errLimited = errors.New("the rate limit defers it")

// send transmits message from place, without authentication if association is nil, unless the rate limit defers that. Over UDP
// its source is the home address, and what authenticates it covers that one (RFC 5555 section 4.2).
func (m *Machine) send(now time.Time, x *exchange, place *mobilenode.Place, message *mh.DMIPv6, association *auth.Association, roundTrip time.Duration) error {
	if free := x.peer.experimental.Earliest(now); free.After(now) {
		x.at = free
		return errLimited
	}
	message.Sequence = x.sequence
	t := transmission{at: now, place: *place, source: place.CareOf}
	e := signaling.Send{Destination: x.peer.address, Link: place.Uplink, Router: place.Router}
	if place.UDP() {
		t.source = m.cfg.HomeAddress
		e.Outer, e.OuterLocal = place.Endpoint, place.CareOf
	}
	var payload []byte
	var err error
	if association != nil {
		t.timestamp = x.peer.clock.Stamp(now)
		payload, err = auth.Sign(message, *association, t.source, netip.IPv6Unspecified(), t.timestamp)
	} else {
		payload, err = mh.Append(nil, message)
	}
	if err != nil {
		return err
	}
	mh.SetChecksum(payload, t.source, x.peer.address)
	x.peer.experimental.Record(now)
	e.Source, e.Payload = t.source, payload
	m.emit(e)
	if len(x.sent) == maxTransmissions {
		x.sent = append(x.sent[:0], x.sent[1:]...)
	}
	x.sent = append(x.sent, t)
	x.tries++
	switch {
	case x.wait > 0:
		x.wait *= 2
	case roundTrip > 0:
		x.wait = max(2*roundTrip, minWait)
	default:
		x.wait = firstWait
	}
	x.at = now.Add(x.wait)
	return nil
}

var errUnsent = errors.New("it answers no message that was sent")

// match finds the transmission that the authentic reply answers, by its timestamp.
func (x *exchange) match(r *signaling.Received, reply *mh.DMIPv6) (*transmission, error) {
	stamp, err := auth.Timestamp(reply.Options)
	if err != nil {
		return nil, err
	}
	for i := range x.sent {
		t := &x.sent[i]
		if t.source == r.Destination && t.place.Endpoint == r.Outer && (stamp == t.timestamp || reply.Status == mh.StatusIDMismatch && uint32(stamp) == uint32(t.timestamp)) {
			return t, nil
		}
	}
	return nil, errUnsent
}

// resynchronise takes in a status 144 and sends again at once, unless that did not help before.
func (x *exchange) resynchronise(now time.Time, reply *mh.DMIPv6, t *transmission, window time.Duration) bool {
	if x.resent == maxResent {
		return false
	}
	stamp, _ := auth.Timestamp(reply.Options)
	// One within the window was refused because a later one had overtaken it; the clock is right then.
	if ahead := stamp.Time().Sub(t.timestamp.Time()); ahead >= time.Second || ahead <= -window {
		x.peer.clock.Resynchronise(stamp, now)
	}
	x.resent++
	x.tries--
	x.at, x.wait = now, 0
	return true
}

// authentic checks a reply's authentication with association.
func authentic(r *signaling.Received, reply *mh.DMIPv6, association *auth.Association) error {
	known := func(spi uint32) (auth.Association, bool) { return *association, spi == association.SPI }
	_, err := auth.Verify(r.Payload, reply, known, r.Destination, netip.IPv6Unspecified())
	return err
}

func window(a *auth.Association) time.Duration {
	if a.Window > 0 {
		return a.Window
	}
	return auth.DefaultWindow
}
