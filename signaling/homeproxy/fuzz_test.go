package homeproxy

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// FuzzHandle hands octets in as they are, once with the checksum put right, and checks what goes for all of them: nothing that
// is not signed makes a binding, and its answers are not longer.
func FuzzHandle(f *testing.F) {
	seeds := []signaling.Received{
		holder(alice).request(f, 1, anything, time.Minute, noon),
		holder(alice).request(f, 1, anyNet, 0, noon),
		holder(alice).update(f, 1, plain, time.Minute, noon),
	}
	for _, r := range seeds {
		f.Add(r.Payload, byte(0))
		f.Add(r.Payload, byte(1))
	}
	inside := holder(alice).from(aliceHome).datagram(f, 1, anything, time.Minute, noon, outer, private)
	f.Add(inside.Payload, byte(8))
	for i, m := range []mh.Message{
		&mh.DMIPv6{Subtype: mh.DHPQuery, Options: mh.Options{&mh.CNAddress{Address: cn}, alice}},
		&mh.DMIPv6{Subtype: mh.DHPAdvertisementAcknowledgement, Sequence: 1},
		&mh.Experimental{Data: make([]byte, 10)},
		&mh.BindingUpdate{HomeRegistration: true, Lifetime: time.Minute},
	} {
		b, err := mh.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, byte(i))
	}
	anycast := netip.MustParseAddr("2001:db8:c:7:fdff:ffff:ffff:fffd")
	f.Fuzz(func(t *testing.T, payload []byte, how byte) {
		w := start(t, func(c *Config) { c.Anycast = true })
		w.tick()
		r := signaling.Received{Source: careOf1, Destination: proxy, Payload: payload}
		if how&2 != 0 {
			r.Destination = anycast
		}
		if how&8 != 0 {
			r.Source, r.Outer, r.OuterLocal = aliceHome, outer, outside
		}
		from := r.Source
		if how&4 != 0 {
			r.HomeAddress = plain
			from = plain
		}
		if how&1 == 0 && len(payload) >= 8 && len(payload) <= 2048 {
			mh.SetChecksum(payload, from, r.Destination)
		}
		e := effects(w.handle(r))
		if len(of[signaling.Bind](e)) == 0 {
			if n := w.m.inner.Cache().Len(); n != 0 {
				t.Errorf("%d bindings", n)
			}
		}
		for _, s := range of[signaling.Send](e) {
			m, err := mh.Parse(s.Payload)
			if err != nil {
				t.Fatalf("sent %x: %v", s.Payload, err)
			}
			if _, ok := m.(*mh.BindingError); ok && how&8 != 0 && len(s.Payload) > len(payload) || s.Outer != r.Outer {
				t.Errorf("sent %+v in answer to %d octets", s, len(payload))
			}
			if d, ok := m.(*mh.DMIPv6); ok && !d.Status.Accepted() && len(s.Payload) > len(payload) {
				t.Errorf("sent %d octets in answer to %d", len(s.Payload), len(payload))
			}
		}
		if how&8 != 0 && len(of[signaling.SendParameterProblem](e)) != 0 {
			t.Error("Parameter Problem in answer to a datagram")
		}
		w.m.Status(w.now)
	})
}
