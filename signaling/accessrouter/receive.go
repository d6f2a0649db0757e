package accessrouter

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// received takes a PBU or PBA; other messages are for other roles.
func (m *Machine) received(now time.Time, r *signaling.Received) {
	const typeOffset = 2
	if len(r.Payload) <= typeOffset || r.Destination != m.cfg.Address {
		return
	}
	if t := mh.Type(r.Payload[typeOffset]); t != mh.TypeBindingUpdate && t != mh.TypeBindingAcknowledgement {
		return
	}
	if r.HomeAddress.IsValid() || r.RoutingHome.IsValid() || !fault.Answerable(r.Source) {
		// Those are a mobile node's, not a MAAR's (RFC 5213 section 6.9.1.5).
		m.counters.Discarded.BadAddresses++
		return
	}
	if !mh.ChecksumValid(r.Payload, r.Source, r.Destination) {
		m.counters.Discarded.BadChecksum++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil {
		m.counters.Discarded.Malformed++
		return
	}
	switch message := message.(type) {
	case *mh.BindingUpdate:
		m.update(now, r, message)
	case *mh.BindingAcknowledgement:
		m.acknowledgement(now, r, message)
	}
}

// verify checks that r is from who has the association a (RFC 4285 section 5.1.1). careOf is the address of who sent the PBU.
func (m *Machine) verify(r *signaling.Received, message mh.Message, a auth.Association, careOf netip.Addr) error {
	lookup := func(spi uint32) (auth.Association, bool) { return a, spi == a.SPI }
	_, err := auth.Verify(r.Payload, message, lookup, careOf, unspecified)
	if err != nil {
		m.counters.Discarded.Unauthenticated++
	}
	return err
}

// errFull says that there is no room to remember one more timestamp.
var errFull = errors.New("too many senders")

// fresh checks and remembers the RFC 4285 timestamp of a message that does not answer one of this MAAR's.
func (m *Machine) fresh(now time.Time, a auth.Association, kind mh.Type, id identity, options mh.Options) (mh.NTPTime, error) {
	stamp, err := auth.Timestamp(options)
	if err != nil {
		return 0, err
	}
	from := sender{a.SPI, kind, id}
	last, full := m.seen.get(now, from)
	if full {
		m.counters.Discarded.Full++
		return 0, errFull
	}
	if err := a.Fresh(stamp, last, m.timeOfDay(now)); err != nil {
		m.counters.Discarded.Replayed++
		return stamp, err
	}
	m.seen.put(now, from, stamp)
	return stamp, nil
}

// subject is the mobile node that a message is about.
func subject(options mh.Options) (identity, bool) {
	o, ok := mh.Find[*mh.MobileNodeIdentifier](options)
	if !ok || len(o.Identifier) == 0 {
		return identity{}, false
	}
	return identityOf(o), true
}
