package accessrouter

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// FuzzMachine plays events by a script to a MAAR, or a gateway, and has authentic messages with any octets arrive. Nothing may
// panic, no event may have the machine ask for a time that has passed, and effects have to be in order.
func FuzzMachine(f *testing.F) {
	for _, m := range []mh.Message{
		noticeOf(1, maar(2), netip.MustParsePrefix("2001:db8:a1:1::/64")),
		noticeOf(2, netip.Addr{}, netip.MustParsePrefix("2001:db8:a1:1::/64")),
		answer(noticeOf(3, maar(2), netip.MustParsePrefix("2001:db8:a1:1::/64")), 0, previousOf(2, netip.MustParsePrefix("2001:db8:a2:1::/64"))...),
		answer(noticeOf(4, maar(3)), mh.StatusSequenceOutOfWindow),
		answer(noticeOf(5, maar(3)), mh.StatusGatewayNotAuthorized, &mh.HomeNetworkPrefix{Prefix: hnp}),
	} {
		b, err := mh.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		for _, gateway := range []bool{false, true} {
			f.Add(gateway, uint8(0), []byte{0, 1, 6, 2, 6, 0, 9, 6, 3, 7, 4, 8, 5, 6}, b)
			f.Add(gateway, uint8(3), []byte{0, 6, 6, 1, 6, 0, 6, 6, 9, 9, 9, 6}, b)
		}
	}
	f.Fuzz(func(t *testing.T, gateway bool, options uint8, script, message []byte) {
		if len(script) > 200 {
			return
		}
		change := func(c *Config) {
			if gateway {
				asGateway(c)
			}
			c.Ordering, c.Deregistration = Ordering(options&1), Method(options>>1&1)
			c.Locator, c.MaxPreviousMAARs, c.Lifetime = options&4 != 0, 2, time.Minute
		}
		s := alone(t, change)
		w := &world{t: t, nodes: make(map[netip.Addr]*node)}
		n := w.add(maar(1), s.m)
		n.maar = s.m
		var latest *mh.BindingUpdate
		take := func(e effects) {
			w.take(n, e)
			for _, m := range s.messages(e) {
				if u, ok := m.(*mh.BindingUpdate); ok {
					latest = u
				}
			}
			if next := s.m.Next(); !next.IsZero() && !next.After(s.now) {
				t.Fatalf("at %v it wants %v", s.now, next)
			}
		}
		for _, op := range script {
			switch op % 10 {
			case 0:
				take(s.attach())
			case 1:
				take(s.handle(signaling.MobileNodeAttached{Link: "other", LinkLayer: host}))
			case 2:
				take(s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host}))
			case 3:
				take(s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: signaling.LinkLayerAddress{2, op}}))
			case 4:
				for prefix := range n.native {
					take(s.handle(signaling.PrefixIdle{Prefix: prefix, Since: s.now.Add(-time.Hour)}))
					break
				}
			case 5:
				take(s.handle(signaling.Shutdown{}))
			case 6:
				s.fuzzed(take, latest, message, false)
			case 7:
				s.fuzzed(take, latest, message, true)
			case 8:
				if latest != nil {
					take(s.acknowledge(latest, mh.Status(op)))
				}
			default:
				take(s.after(time.Duration(op) * 100 * time.Millisecond))
			}
		}
		s.m.Nodes(s.now)
	})
}

// fuzzed has message arrive, signed; as an answer to latest if it is one and there is that.
func (s *solo) fuzzed(take func(effects), latest *mh.BindingUpdate, message []byte, peer bool) {
	m, err := mh.Parse(message)
	if err != nil {
		take(s.handle(signaling.Received{Source: cmd, Destination: maar(1), Payload: message}))
		return
	}
	source, a, careOf, stamp := s.m.control, s.m.association, s.m.cfg.Address, s.later()
	if peer && !s.m.gateway {
		source, a = maar(2), key(between(1, 2))
	}
	switch m := m.(type) {
	case *mh.BindingUpdate:
		careOf = source
	case *mh.BindingAcknowledgement:
		if latest != nil {
			m.Sequence = latest.Sequence
			if !peer {
				stamp, _ = auth.Timestamp(latest.Options)
			}
		}
	}
	b, err := auth.Sign(m, a, careOf, unspecified, stamp)
	if err != nil {
		return
	}
	mh.SetChecksum(b, source, maar(1))
	take(s.handle(signaling.Received{Source: source, Destination: maar(1), Payload: b}))
}

// FuzzRecord reads records of any octets, and what it can read is written again alike.
func FuzzRecord(f *testing.F) {
	r := record{
		prefix: netip.MustParsePrefix("2001:db8:a1:1::/64"), preferred: true, linkLayer: host, tunnel: maar(2),
		released: noon, expires: noon, id: mnID, link: "radio",
	}
	f.Add(recordKey(r.prefix), r.append())
	f.Fuzz(func(t *testing.T, key, b []byte) {
		r, err := parseRecord(key, b)
		if err != nil {
			return
		}
		again, err := parseRecord(recordKey(r.prefix), r.append())
		if err != nil || *again != *r {
			t.Errorf("%+v, then %+v, %v", r, again, err)
		}
	})
}
