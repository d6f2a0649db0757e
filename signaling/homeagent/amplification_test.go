package homeagent

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// answeredOctets are the octets of the Mobility Headers that effects send, which come behind IPv6, UDP and outer headers as
// long as those of what they answer.
func (e effects) answeredOctets() (n int) {
	for _, s := range of[signaling.Send](e) {
		n += len(s.Payload)
	}
	return n
}

func TestNoAmplificationInDatagrams(t *testing.T) {
	arrives := func(payload []byte) signaling.Received {
		mh.SetChecksum(payload, signed, agent)
		return signaling.Received{Source: signed, Destination: agent, Outer: nat, OuterLocal: outside, Payload: payload}
	}
	check := func(name string, w *world, r signaling.Received, answers bool) {
		t.Helper()
		e := effects(w.handle(r))
		if n := e.answeredOctets(); n > len(r.Payload) {
			t.Errorf("%s: %d octets answer %d", name, n, len(r.Payload))
		}
		if p := of[signaling.SendParameterProblem](e); len(p) != 0 {
			t.Errorf("%s: Parameter Problem, which quotes all of it", name)
		}
		sends := of[signaling.Send](e)
		if len(sends) > 1 || (len(sends) == 1) != answers {
			t.Errorf("%s: sends %v", name, sends)
		}
		for _, s := range sends {
			if s.Outer != r.Outer || s.OuterLocal != r.OuterLocal || s.Link != "" {
				t.Errorf("%s: sent as %+v", name, s)
			}
		}
	}
	fixed := start(t)
	check("unknown type of 8 octets", fixed, arrives([]byte{59, 0, 99, 0, 0, 0, 0, 0}), false)
	check("unknown type of 24 octets", fixed, arrives(append([]byte{59, 2, 99, 0, 0, 0, 0, 0}, make([]byte, 16)...)), true)
	check("heartbeat", fixed, arrives([]byte{59, 1, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0}), false)
	check("Payload Proto", fixed, arrives(append([]byte{58, 5, 5, 0}, make([]byte, 44)...)), false)
	check("Header Len", fixed, arrives([]byte{59, 0, 5, 0, 0, 0, 0, 0}), false)
	check("unsigned", fixed, bu(signed, 1).datagram(t, nat, private), false)
	forged := sha1Key
	forged.Key = auth.Key("not the one it is")
	check("forged", fixed, bu(signed, 1, sign(forged, noon)).datagram(t, nat, private), true)
	check("forged, without option", fixed, bu(signed, 1, sign(forged, noon)).datagram(t, nat, nowhere), false)
	late := sha1Key
	check("late", fixed, bu(signed, 1, sign(late, noon.Add(-time.Hour))).datagram(t, nat, private), true)
	check("late, without option", fixed, bu(signed, 1, sign(late, noon.Add(-time.Hour))).datagram(t, nat, nowhere), false)

	// Where nobody authenticates, acknowledgements that accept are no longer either.
	open := start(t, func(c *Config) {
		c.AllowAnyMobileNode, c.AllowUnauthenticated, c.RefreshAdvice = true, true, 20*time.Second
	})
	home := netip.MustParseAddr("2001:db8:1::77")
	for n := range 40 {
		id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: string(bytes.Repeat([]byte{'a'}, n))}
		check("accepted", open, bu(home, uint16(2*n+1), options(id)).datagram(t, nat, private), true)
		r := bu(home, uint16(2*n+2), options(id, &mh.IPv4HomeAddress{PrefixLength: 32, Address: private})).datagram(t, nat, private)
		check("accepted with IPv4 home address", open, r, true)
		check("out of sequence", open, bu(home, 1, options(id)).datagram(t, nat, private), true)
	}

	random := rand.New(rand.NewPCG(1, 2))
	seeds := [][]byte{
		bu(signed, 1, sign(sha1Key, noon.Add(time.Minute))).datagram(t, nat, private).Payload,
		bu(home, 1, forceUDP).datagram(t, nat, host6).Payload,
	}
	for range 20_000 {
		b := bytes.Clone(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(4) {
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		r := arrives(b)
		for _, w := range []*world{fixed, open} {
			e := effects(w.after(time.Millisecond).handle(r))
			if n := e.answeredOctets(); n > len(b) || len(of[signaling.SendParameterProblem](e)) != 0 {
				t.Fatalf("%x is answered by %d octets: %v", b, n, e)
			}
		}
	}
}
