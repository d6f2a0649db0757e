package homeagent

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
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
	var (
		unknown *mh.UnknownTypeError
		header  *mh.HeaderError
		option  *mh.OptionError
	)
	switch {
	case errors.As(err, &unknown):
		m.counters.Discarded.UnknownType++
		m.bindingError(now, mh.UnrecognizedType, r.Source, r.Destination, r.HomeAddress)
		return
	case errors.As(err, &header):
		m.counters.Discarded.Malformed++
		m.parameterProblem(now, r, header.Pointer)
		return
	case errors.As(err, &option) && option.Type == mh.OptionMobileNetworkPrefix && message != nil:
		// Refused later by a status code of its own, if it is authentic.
	case err != nil:
		m.counters.Discarded.Malformed++
		return
	}
	update, ok := message.(*mh.BindingUpdate)
	switch {
	case extension(message):
		// The codec knows it, but no role here does: RFC 5847 section 3 wants a peer to be told so.
		m.counters.Discarded.UnknownType++
		m.bindingError(now, mh.UnrecognizedType, r.Source, r.Destination, r.HomeAddress)
		return
	case !ok:
		// The other messages of RFC 6275 belong to the roles of mobile nodes and correspondent nodes.
		m.counters.Discarded.NotForHomeAgent++
		return
	}
	m.counters.BindingUpdates++
	m.bindingUpdate(now, r, update, err != nil)
}

// extension reports whether message is of a type that extends RFC 6275.
func extension(message mh.Message) bool { return message.Type() > mh.TypeBindingError }

// bindingError sends a Binding Error to source, if that may be answered (RFC 6275 section 9.3.3).
func (m *Machine) bindingError(now time.Time, status mh.BindingErrorStatus, source, destination, home netip.Addr) {
	if !unicast(source) || destination != m.cfg.Address {
		return
	}
	if !m.errors.take(now) {
		m.counters.Throttled++
		return
	}
	payload, err := mh.Append(nil, &mh.BindingError{Status: status, HomeAddress: home})
	if err != nil {
		return
	}
	mh.SetChecksum(payload, destination, source)
	m.counters.BindingErrors++
	m.do(signaling.Send{Source: destination, Destination: source, Payload: payload})
}

func (m *Machine) parameterProblem(now time.Time, r *signaling.Received, pointer int) {
	if !unicast(r.Source) || r.Destination != m.cfg.Address {
		return
	}
	if !m.errors.take(now) {
		m.counters.Throttled++
		return
	}
	m.counters.ParameterProblems++
	about := *r
	about.Payload = slices.Clone(r.Payload)
	m.do(signaling.SendParameterProblem{InReplyTo: about, Pointer: pointer})
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
