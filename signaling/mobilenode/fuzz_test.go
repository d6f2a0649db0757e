package mobilenode

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// FuzzHandle hands arbitrary messages to a mobile node in each situation: it must neither panic nor believe them.
func FuzzHandle(f *testing.F) {
	for _, m := range []mh.Message{
		&mh.BindingRefreshRequest{}, &mh.HomeTestInit{}, &mh.CareOfTestInit{}, &mh.HomeTest{}, &mh.CareOfTest{},
		&mh.BindingUpdate{}, &mh.BindingAcknowledgement{Sequence: 1, Lifetime: time.Minute}, &mh.BindingError{Status: 1, HomeAddress: home},
		&mh.BindingError{Status: 2}, &mh.Heartbeat{}, &mh.Experimental{Data: []byte{1, 2}},
	} {
		b, err := mh.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(0), true)
		f.Add(b, uint8(1), true)
		f.Add(b, uint8(3), true)
		f.Add(b, uint8(5), true)
	}
	for _, m := range []discovery.Message{
		&discovery.HomeAgentAddressReply{Identifier: 41, Addresses: []netip.Addr{agent}}, &discovery.MobilePrefixAdvertisement{},
	} {
		b, err := discovery.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(4), false)
		f.Add(b, uint8(1), false)
	}
	f.Add(icmp(1, 5, agent, ipv6(6, home, careOfB, nil)).Payload, uint8(5), false)
	f.Add(icmp(1, 5, agent, ipv6(41, careOfA, agent, ipv6(6, home, careOfB, nil))).Payload, uint8(1), false)
	f.Fuzz(func(t *testing.T, payload []byte, situation uint8, mobility bool) {
		b := newBench(t)
		switch situation % 6 {
		case 0:
			b.do(attachment(careOfA))
		case 1:
			b.register(careOfA)
		case 2:
			b.do(atHome())
		case 3:
			b.register(careOfA)
			b.do(signaling.Shutdown{})
		case 4:
			b = newBench(t, discovering)
			b.do(attachment(careOfA))
		case 5:
			b = newBench(t, over(Auto))
			b.accept(b.do(hosted(netip.Addr{}, netip.Addr{}, hostIPv4A)), nat(0))
		}
		b.now = b.now.Add(5 * time.Second)
		before := b.state()
		var out effects
		if mobility {
			payload = slices.Clone(payload)
			if len(payload) >= 6 {
				mh.SetChecksum(payload, agent, home)
			}
			r := signaling.Received{Source: agent, Destination: careOfA, RoutingHome: home, Payload: payload}
			if situation%6 == 5 {
				r.Destination, r.RoutingHome, r.Outer = home, netip.Addr{}, endpoint4
			}
			out = b.do(r)
		} else {
			r := signaling.ReceivedICMP{Source: agent, Destination: careOfA, RoutingHome: home, Payload: payload}
			if situation%6 == 5 {
				r.Destination, r.RoutingHome = home, netip.Addr{}
			}
			out = b.do(r)
		}
		for _, e := range out {
			switch e.(type) {
			case signaling.Bind, signaling.Unbind:
				// Retransmission when stopping or moving is the machine's own doing; a binding is not.
				if situation%6 != 3 {
					t.Errorf("%T because of an unauthentic message", e)
				}
			}
		}
		if after := b.state(); before == StateRegistered && after != before {
			t.Errorf("state %q, was %q", after, before)
		}
		b.wait(2 * time.Minute)
	})
}
