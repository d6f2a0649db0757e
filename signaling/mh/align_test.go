package mh_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling/mh"
)

// alignments are the requirements xn+y as the RFCs word them, and this project's own.
var alignments = []struct {
	option mh.Option
	x, y   int
}{
	{&mh.BindingRefreshAdvice{}, 2, 0},
	{&mh.AlternateCareOf{Address: careOf}, 8, 6},
	{&mh.NonceIndices{}, 2, 0},
	{&mh.BindingAuthorizationData{Authenticator: twelve}, 8, 2},
	{&mh.BindingAuthorizationData{Authenticator: twelve[:11]}, 8, 3},
	{&mh.MobileNetworkPrefix{Prefix: prefix}, 8, 4},
	{&mh.MobileNodeIdentifier{}, 1, 0},
	{&mh.MessageAuthentication{Data: twelve}, 4, 1},
	{&mh.ReplayProtection{}, 8, 2},
	{&mh.ExperimentalOption{}, 1, 0},
	{&mh.CNAddress{Address: home}, 8, 4},
	{&mh.DHoA{Prefix: netip.PrefixFrom(home, 64)}, 8, 2},
	{&mh.DHPInformation{Coverage: prefix, Address: home}, 8, 4},
	{&mh.KeyTicket{Expiry: time.Unix(0, 0)}, 8, 4},
	{&mh.KeyTicket{Expiry: time.Unix(0, 0), Address: home}, 8, 4},
	{&mh.HomeNetworkPrefix{Prefix: prefix}, 8, 4},
	{&mh.HandoffIndicator{}, 1, 0},
	{&mh.AccessTechnologyType{}, 1, 0},
	{&mh.LinkLayerIdentifier{Identifier: twelve[:6]}, 2, 0},
	{&mh.LinkLayerIdentifier{Identifier: twelve[:4]}, 4, 0},
	{&mh.LinkLayerIdentifier{Identifier: twelve[:8]}, 8, 4},
	{&mh.LinkLocalAddress{Address: local}, 8, 6},
	{&mh.RestartCounter{}, 4, 2},
	{&mh.IPv4HomeAddress{PrefixLength: 32, Address: netip.IPv4Unspecified()}, 4, 0},
	{&mh.IPv4AddressAcknowledgement{Address: netip.IPv4Unspecified()}, 4, 0},
	{&mh.NATDetection{}, 4, 0},
	{&mh.IPv4CareOfAddress{Address: netip.IPv4Unspecified()}, 4, 0},
	{&mh.UDPEndpoint{Endpoint: netip.AddrPortFrom(home, 4191)}, 8, 0},
	{&mh.BindingIdentifier{}, 2, 0},
	{&mh.BindingIdentifier{CareOf: careOf}, 8, 2},
	{&mh.FlowSummary{FIDs: []uint16{1}}, 2, 0},
	{&mh.FlowIdentification{}, 2, 0},
	// Their selectors stand 8 octets after the option: 4n, 8n.
	{&mh.FlowIdentification{Selector: &mh.IPv4Selector{SPI: &mh.Range[uint32]{}}}, 4, 0},
	{&mh.FlowIdentification{Selector: &mh.IPv6Selector{Source: &mh.Range[netip.Addr]{First: home, Last: home}}}, 8, 0},
	{&mh.AnchoredPrefix{Prefix: prefix}, 8, 4},
	{&mh.LocalPrefix{Prefix: prefix}, 8, 4},
	{&mh.PreviousMAAR{Address: careOf, Prefix: prefix}, 8, 4},
	{&mh.ServingMAAR{Address: careOf}, 8, 6},
	{&mh.DLIFLinkLocalAddress{Address: local}, 8, 6},
	{&mh.DLIFLinkLayerAddress{Address: twelve[:6]}, 2, 0},
}

func TestAlignment(t *testing.T) {
	for _, a := range alignments {
		for before := range 8 {
			t.Run(fmt.Sprintf("option %d after %d", a.option.OptionType(), before), func(t *testing.T) {
				filler := &mh.UnknownOption{Type: 200, Data: make([]byte, before)}
				b, err := mh.Append(nil, &mh.BindingRefreshRequest{Options: mh.Options{filler, a.option}})
				if err != nil {
					t.Fatal(err)
				}
				if len(b)%8 != 0 || int(b[1]) != len(b)/8-1 {
					t.Errorf("%d octets with Header Len %d", len(b), b[1])
				}
				at := onlyPadding(t, b, 8+2+before)
				if mh.OptionType(b[at]) != a.option.OptionType() || at%a.x != a.y {
					t.Errorf("at octet %d, want %dn+%d: %x", at, a.x, a.y, b)
				}
				if end := onlyPadding(t, b, at+2+int(b[at+1])); end != len(b) {
					t.Errorf("padding ends at %d of %d", end, len(b))
				}
			})
		}
	}
}

// onlyPadding checks that at most one padding option, of at most 7 octets, all zero, begins at b[at], and returns where
// it ends.
func onlyPadding(t *testing.T, b []byte, at int) int {
	t.Helper()
	if at == len(b) {
		return at
	}
	switch mh.OptionType(b[at]) {
	case mh.OptionPad1:
		return at + 1
	case mh.OptionPadN:
		n := int(b[at+1])
		for _, v := range b[at+2 : at+2+n] {
			if v != 0 {
				t.Errorf("padding at %d is not zero: %x", at, b)
			}
		}
		if n > 5 {
			t.Errorf("%d octets of padding at %d", n+2, at)
		}
		return at + 2 + n
	}
	return at
}

func TestAppendErrors(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.1")
	long := make([]byte, 256)
	brr := func(opts ...mh.Option) mh.Message { return &mh.BindingRefreshRequest{Options: opts} }
	flow := func(s mh.TrafficSelector) mh.Message { return brr(&mh.FlowIdentification{Selector: s}) }
	many := make(mh.Options, 10)
	for i := range many {
		many[i] = &mh.ExperimentalOption{Data: long[:255]}
	}
	for name, m := range map[string]mh.Message{
		"lifetime too long":          &mh.BindingUpdate{Lifetime: mh.MaxLifetime + mh.LifetimeUnit},
		"lifetime negative":          &mh.BindingAcknowledgement{Lifetime: -1},
		"flag O with P":              &mh.BindingUpdate{ProxyRegistration: true, Overwrite: true},
		"flag B without P":           &mh.BindingUpdate{BulkUpdate: true},
		"home address not IPv6":      &mh.BindingError{HomeAddress: v4},
		"data not 8n+2":              &mh.Experimental{Data: long[:3]},
		"address missing":            brr(&mh.AlternateCareOf{}),
		"prefix missing":             brr(&mh.HomeNetworkPrefix{}),
		"prefix not IPv6":            brr(&mh.MobileNetworkPrefix{Prefix: netip.PrefixFrom(v4, 24)}),
		"MAAR missing":               brr(&mh.PreviousMAAR{Prefix: prefix}),
		"MAAR prefix missing":        brr(&mh.PreviousMAAR{Address: careOf}),
		"timestamp before 1970":      brr(&mh.Timestamp{}),
		"BID-PRI too high":           brr(&mh.BindingIdentifier{Priority: 128}),
		"no FID":                     brr(&mh.FlowSummary{}),
		"authorization not last":     brr(&mh.BindingAuthorizationData{}, &mh.NonceIndices{}),
		"padding by hand":            brr(&mh.UnknownOption{Type: mh.OptionPadN}),
		"option too long":            brr(&mh.ExperimentalOption{Data: long}),
		"message too long":           brr(many...),
		"CN address missing":         brr(&mh.CNAddress{}),
		"CN address not IPv6":        brr(&mh.CNAddress{Address: v4}),
		"DHoA missing":               brr(&mh.DHoA{}),
		"DHoA of 65 bits":            brr(&mh.DHoA{Prefix: netip.PrefixFrom(home, 65)}),
		"DHoA not IPv6":              brr(&mh.DHoA{Prefix: netip.PrefixFrom(v4, 64)}),
		"coverage missing":           brr(&mh.DHPInformation{Address: home}),
		"coverage not IPv6":          brr(&mh.DHPInformation{Address: home, Coverage: netip.PrefixFrom(v4, 24)}),
		"DHP address missing":        brr(&mh.DHPInformation{Coverage: prefix}),
		"information for too long":   brr(&mh.DHPInformation{Coverage: prefix, Address: home, Lifetime: 100 * time.Hour}),
		"ticket without expiry":      brr(&mh.KeyTicket{}),
		"ticket until 2107":          brr(&mh.KeyTicket{Expiry: time.Unix(1<<32, 0)}),
		"ticket of an IPv4 address":  brr(&mh.KeyTicket{Expiry: time.Unix(0, 0), Address: v4}),
		"DMIPv6 lifetime too long":   &mh.DMIPv6{Lifetime: mh.MaxLifetime + mh.LifetimeUnit},
		"selector not IPv4":          flow(&mh.IPv4Selector{Source: &mh.Range[netip.Addr]{First: home, Last: home}}),
		"selector not IPv6":          flow(&mh.IPv6Selector{Source: &mh.Range[netip.Addr]{First: v4, Last: v4}}),
		"selector runs backwards":    flow(&mh.IPv4Selector{DS: &mh.Range[uint8]{First: 2, Last: 1}}),
		"flow label has 25 bits":     flow(&mh.IPv6Selector{FlowLabel: &mh.Range[uint32]{First: 1, Last: 1 << 24}}),
		"selector too long":          flow(&mh.UnknownSelector{TSFormat: 3, Data: long}),
		"binding reference too long": brr(&mh.FlowIdentification{BIDs: make([]uint16, 128)}),
		"sub-option too long":        brr(&mh.FlowIdentification{Unknown: []mh.UnknownSubOption{{Type: 9, Data: long}}}),
	} {
		b, err := mh.Append([]byte("before"), m)
		if err == nil || string(b) != "before" {
			t.Errorf("%s: error %v, %q", name, err, b)
		}
	}
}
