package database

import (
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"

	"net/netip"
)

// FuzzReceived hands a database in the middle of a handoff whatever a MAAR that it trusts can send: the fuzzer's messages are
// signed, so that they get past authentication.
func FuzzReceived(f *testing.F) {
	w := start(f, Relay)
	for _, p := range []*pbu{
		w.update(1, 1, time.Minute, described(1)), w.update(2, 1, 0), w.update(9, 1, time.Minute, homes(nowhere), linkLayer(1)),
		w.update(2, 1, time.Minute, func(p *pbu) { p.Options = append(p.Options, locals(2)...) }),
		w.update(3, 1, 0, anchoring(), with(&mh.PreviousMAAR{Address: maar(1), Prefix: pref(1)})),
		w.update(1, 1, time.Minute, with(&mh.ServingMAAR{Address: maar(1)})),
		w.update(9, 1, time.Minute, homes(pref(1)), with(&mh.LinkLocalAddress{Address: cmd})),
	} {
		f.Add(uint8(p.from), p.received(f).Payload)
	}
	w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute)
	_, r := w.acknowledgement(1, w.asked[1], mh.StatusAccepted, dlif(1)...)
	f.Add(uint8(1), r.Payload)

	f.Fuzz(func(t *testing.T, from uint8, payload []byte) {
		w := start(t, Mode(1+len(payload)%4))
		i := 1 + int(from)%gateway
		w.registers(1, 1, time.Minute).at(time.Second).registers(2, 1, time.Minute).registers(9, 1, time.Minute, homes(nowhere))
		for n := range 3 {
			r := signaling.Received{Source: maar(i), Destination: cmd, Payload: payload}
			if m, err := mh.Parse(payload); err == nil {
				careOf, stamp := maar(i), w.clock.Stamp(w.now)
				if _, is := m.(*mh.BindingAcknowledgement); is {
					careOf = cmd
					stamp, _ = auth.Timestamp(*m.OptionList())
				}
				if n > 0 { // first as it is
					if b, err := auth.Sign(m, association(i), careOf, netip.IPv6Unspecified(), stamp); err == nil {
						r.Payload = b
					}
				}
				mh.SetChecksum(r.Payload, r.Source, r.Destination)
			}
			w.take(w.m.Handle(w.now, r))
			w.m.check(t)
			w.at(time.Duration(n+1) * 40 * time.Second)
			w.m.check(t)
		}
	})
}
