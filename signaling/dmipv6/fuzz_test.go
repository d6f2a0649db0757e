package dmipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// FuzzHandle hands arbitrary messages to a mobile node in each situation: it must neither panic nor believe them.
func FuzzHandle(f *testing.F) {
	information := &mh.DHPInformation{RTT: -1, Coverage: coverageOf(0), Lifetime: time.Hour, Address: proxyAddr(0)}
	for _, m := range []mh.Message{
		&mh.DMIPv6{Subtype: mh.DHPQueryReply, Options: mh.Options{information, &mh.KeyTicket{SPI: 1000, Expiry: epoch.Add(time.Hour), Address: proxyAddr(0)}}},
		&mh.DMIPv6{Subtype: mh.DHPQueryReply, Status: mh.StatusNoDHPKnown},
		&mh.DMIPv6{Subtype: mh.DHoAResponse, Lifetime: time.Minute, Options: mh.Options{&mh.DHoA{Prefix: netip.PrefixFrom(careOfC, 128)}}},
		&mh.DMIPv6{Subtype: mh.DHoAResponse, Status: mh.StatusTicketRefused},
		&mh.DMIPv6{Subtype: mh.DHPQuery}, &mh.DMIPv6{Subtype: mh.DHoARequest}, &mh.DMIPv6{Subtype: mh.DHPAdvertisement}, &mh.DMIPv6{Subtype: 77},
		&mh.BindingAcknowledgement{Lifetime: time.Minute}, &mh.BindingAcknowledgement{Status: mh.StatusTicketRefused},
		&mh.BindingError{Status: mh.UnrecognizedType}, &mh.BindingError{Status: mh.UnknownBinding}, &mh.BindingRefreshRequest{},
	} {
		b, err := mh.Append(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		for situation := range uint8(6) {
			f.Add(b, situation, situation%2 == 0, true)
		}
	}
	quote := make([]byte, 8+40+16)
	quote[0], quote[8], quote[8+6] = 4, 6<<4, mh.Protocol
	copy(quote[8+24:], agent.AsSlice())
	quote[8+40+2] = byte(mh.TypeExperimental)
	f.Add(quote, uint8(1), false, false)
	f.Fuzz(func(t *testing.T, payload []byte, situation uint8, fromProxy, mobility bool) {
		w := newWorld(t, 1)
		if situation%6 > 0 {
			w.online()
		}
		if situation%6 > 1 {
			a, _ := w.settle(1, 0, cnOf(0, 1))
			w.use(a, 1)
		}
		switch situation % 6 {
		case 1:
			w.flow(2, 0, cnOf(0, 1)) // a query is outstanding
		case 3:
			w.m.epoch++
			w.flow(2, 3, cnOf(0, 1)) // a request is
		case 4:
			w.silent[proxyAddr(0)] = true
			w.attach(careOfB) // a Binding Update is
		case 5:
			w.handle(signaling.Shutdown{})
		}
		source, home := agent, netip.Addr{}
		if fromProxy {
			source = proxyAddr(0)
			for a := range w.bound {
				home = a.Addr()
			}
		}
		from := w.now + 1
		w.now++
		if mobility {
			payload = slices.Clone(payload)
			to := w.careOf
			if home.IsValid() && situation%2 == 0 {
				to = home
			} else {
				home = netip.Addr{}
			}
			if len(payload) >= 6 && to.IsValid() {
				mh.SetChecksum(payload, source, to)
			}
			w.handle(signaling.Received{Source: source, Destination: w.careOf, RoutingHome: home, Payload: payload})
		} else {
			w.handle(signaling.ReceivedICMP{Source: source, Destination: w.careOf, Payload: payload})
		}
		for _, k := range w.kinds(from) {
			switch k {
			case DHoALent, DHoALost, TicketReceived, FlowsTerminated, mobilenode.BindingRegistered:
				t.Errorf("%s because of an unauthentic message", k)
			}
		}
		w.silent = map[netip.Addr]bool{}
		w.run(time.Minute)
	})
}

// FuzzRecord reads arbitrary leases: what is taken for one has to be of use.
func FuzzRecord(f *testing.F) {
	record := make([]byte, recordFixed, recordFixed+1+2*recordEndpoint)
	record[0], record[2], record[9] = recordVersion, 128, 4
	dhp := proxyAddr(0).As16()
	copy(record[18:], dhp[:])
	f.Add(poolOf(0).Addr().Next().AsSlice(), append(record, 0))
	record[1] = recordFlagUDP
	f.Add(poolOf(0).Addr().Next().AsSlice(), appendEndpoint(appendEndpoint(append(record, 1), endpointOf(0)), endpoint6Of(0)))
	f.Fuzz(func(t *testing.T, key, record []byte) {
		l, err := parseRecord(key, record)
		if err != nil {
			return
		}
		if !mh.UnicastRoutable(l.address) || !mh.UnicastRoutable(l.proxy) || !l.prefix.IsValid() || len(l.endpoints) > mh.MaxUDPEndpoints ||
			l.endpoint.IsValid() && !mh.UDPReachable(l.endpoint) {
			t.Errorf("took %+v", l)
		}
	})
}
