package homeagent

import (
	"errors"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/fault"
	"kedge/signaling/mh"
)

// received takes a Mobility Header message (RFC 6275 section 9.2).
func (m *Machine) received(now time.Time, r *signaling.Received) {
	from, to := r.Source, r.Destination
	if r.HomeAddress.IsValid() {
		from = r.HomeAddress
	}
	if r.RoutingHome.IsValid() {
		to = r.RoutingHome
	}
	if !from.IsValid() || !to.IsValid() || !mh.ChecksumValid(r.Payload, from, to) {
		m.counters.Discarded.BadChecksum++
		return
	}
	message, err := mh.Parse(r.Payload)
	if err != nil && !m.readable(now, r, message, err) {
		return
	}
	update, ok := message.(*mh.BindingUpdate)
	switch {
	case extension(message):
		// The codec knows it, but no role here does: RFC 5847 section 3 wants a peer to be told so.
		m.counters.Discarded.UnknownType++
		m.complain(now, r.Source, r.Destination, fault.Answer(r, &mh.UnknownTypeError{Type: message.Type()}))
		return
	case !ok:
		// The other messages of RFC 6275 belong to the roles of mobile nodes and correspondent nodes.
		m.counters.Discarded.NotForHomeAgent++
		return
	}
	m.counters.BindingUpdates++
	m.bindingUpdate(now, r, update, err != nil)
}

// readable reports whether a message that could not be parsed wholly, by err, is good enough to be answered like others. If
// not, it has been answered as far as it is to be.
func (m *Machine) readable(now time.Time, r *signaling.Received, message mh.Message, err error) bool {
	var (
		unknown *mh.UnknownTypeError
		option  *mh.OptionError
	)
	switch {
	case errors.As(err, &option) && option.Type == mh.OptionMobileNetworkPrefix && message != nil:
		// Refused later by a status code of its own, if it is authentic.
		return true
	case errors.As(err, &unknown):
		m.counters.Discarded.UnknownType++
	default:
		m.counters.Discarded.Malformed++
	}
	m.complain(now, r.Source, r.Destination, fault.Answer(r, err))
	return false
}

// extension reports whether message is of a type that extends RFC 6275.
func extension(message mh.Message) bool { return message.Type() > mh.TypeBindingError }

// bindingError sends a Binding Error to source, if that may be answered (RFC 6275 section 9.3.3).
func (m *Machine) bindingError(now time.Time, status mh.BindingErrorStatus, source, destination, home netip.Addr) {
	m.complain(now, source, destination, fault.BindingError(status, source, destination, home))
}

// complain sends the answer to a packet that could not be taken, unless it is nil, the packet was not for this home agent's
// own address, or there were too many lately.
func (m *Machine) complain(now time.Time, source, destination netip.Addr, answer signaling.Effect) {
	if answer == nil || !fault.Answerable(source) || destination != m.cfg.Address {
		return
	}
	if !m.errors.Take(now) {
		m.counters.Throttled++
		return
	}
	if _, problem := answer.(signaling.SendParameterProblem); problem {
		m.counters.ParameterProblems++
	} else {
		m.counters.BindingErrors++
	}
	m.do(answer)
}

// unverifiedHomeAddress answers a packet whose Home Address option no binding bore out (RFC 6275 section 9.3.1), unless a
// binding has come about since.
func (m *Machine) unverifiedHomeAddress(now time.Time, e signaling.UnverifiedHomeAddress) {
	if b, ok := m.valid(e.HomeAddress); ok && b.CareOf == e.Source {
		return
	}
	m.counters.Discarded.UnverifiedHomeAddress++
	m.bindingError(now, mh.UnknownBinding, e.Source, e.Destination, e.HomeAddress)
}

// storeFailed reports an error of the store, and returns one of the cache's limits.
func (m *Machine) storeFailed(home netip.Addr, err error) error {
	if !errors.Is(err, binding.ErrStore) {
		return err
	}
	m.counters.StoreErrors++
	m.do(signaling.Report{Kind: BindingStoreFailed, Home: home, Detail: err.Error()})
	return nil
}
