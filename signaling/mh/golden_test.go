package mh_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kedge/signaling/mh"
)

var (
	home   = netip.MustParseAddr("2001:db8:1::10")
	careOf = netip.MustParseAddr("2001:db8:2::20")
	prefix = netip.MustParsePrefix("2001:db8:1:2::/64")
	local  = netip.MustParseAddr("fe80::1")
)

// The wire forms of the addresses above.
const (
	wireHome   = "20010db8 00010000 00000000 00000010"
	wireCareOf = "20010db8 00020000 00000000 00000020"
	wirePrefix = "20010db8 00010002 00000000 00000000"
	wireLocal  = "fe800000 00000000 00000000 00000001"
)

// golden is one of everything, its octets put together by hand from the drawings of the RFCs.
var golden = []struct {
	name    string
	message mh.Message
	wire    string
}{
	{"binding refresh request", &mh.BindingRefreshRequest{}, "3b000000 00000000"},
	{
		"home test init",
		&mh.HomeTestInit{Cookie: mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8}},
		"3b010100 00000000 01020304 05060708",
	},
	{
		"care-of test init",
		&mh.CareOfTestInit{Cookie: mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8}},
		"3b010200 00000000 01020304 05060708",
	},
	{
		"home test",
		&mh.HomeTest{
			NonceIndex: 0x1234,
			Cookie:     mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8},
			Token:      mh.KeygenToken{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18},
		},
		"3b020300 00001234 01020304 05060708 11121314 15161718",
	},
	{
		"care-of test",
		&mh.CareOfTest{
			NonceIndex: 0x1234,
			Cookie:     mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8},
			Token:      mh.KeygenToken{0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18},
		},
		"3b020400 00001234 01020304 05060708 11121314 15161718",
	},
	{
		"binding update without options",
		&mh.BindingUpdate{Sequence: 0x0102, LinkLocal: true, KeyManagement: true, Lifetime: 10 * time.Minute},
		"3b010500 00000102 30000096 01020000",
	},
	{
		// What UMIP's mip6d 0.4 sends: flags A and H, PadN, Alternate Care-of Address.
		"binding update of UMIP",
		&mh.BindingUpdate{
			Sequence: 1, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
			Options: mh.Options{&mh.AlternateCareOf{Address: careOf}},
		},
		"3b030500 00000001 c000000f 0100 0310" + wireCareOf,
	},
	{
		"binding update of a mobile router",
		&mh.BindingUpdate{
			Sequence: 2, Acknowledge: true, HomeRegistration: true, MobileRouter: true, Lifetime: mh.MaxLifetime,
			Options: mh.Options{&mh.MobileNetworkPrefix{Prefix: prefix}},
		},
		"3b030500 00000002 c400ffff 06120040" + wirePrefix,
	},
	{
		"binding update with flags M, F and O",
		&mh.BindingUpdate{MAP: true, ForceUDP: true, Overwrite: true},
		"3b010500 00000000 09400000 01020000",
	},
	{
		"proxy binding update with flags T, B, S and D",
		&mh.BindingUpdate{
			Acknowledge: true, ProxyRegistration: true, TLVHeader: true, BulkUpdate: true, Subscription: true,
			Distributed: true,
		},
		"3b010500 00000000 82f00000 01020000",
	},
	{
		"binding acknowledgement",
		&mh.BindingAcknowledgement{
			Status: mh.StatusSequenceOutOfWindow, KeyManagement: true, Sequence: 0x0102, Lifetime: 4 * time.Second,
		},
		"3b010600 00008780 01020001 01020000",
	},
	{
		"proxy binding acknowledgement with all flags",
		&mh.BindingAcknowledgement{
			Status: mh.StatusTimestampMismatch, KeyManagement: true, MobileRouter: true, ProxyRegistration: true,
			TLVHeader: true, BulkUpdate: true, Subscription: true, Distributed: true,
		},
		"3b010600 00009cfe 00000000 01020000",
	},
	{
		"binding error",
		&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home},
		"3b020700 00000100" + wireHome,
	},
	{
		"experimental",
		&mh.Experimental{Data: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		"3b010b00 00000102 03040506 0708090a",
	},
	{"heartbeat request", &mh.Heartbeat{Sequence: 0x01020304}, "3b010d00 00000000 01020304 01020000"},
	{
		"heartbeat response",
		&mh.Heartbeat{Unsolicited: true, Response: true, Options: mh.Options{&mh.RestartCounter{Counter: 7}}},
		"3b020d00 00000003 00000000 01001c04 00000007 01020000",
	},
	{
		"binding revocation indication",
		&mh.BindingRevocationIndication{
			Trigger: mh.TriggerRevokingNodeLocalPolicy, Sequence: 0x0102, ProxyBinding: true, Global: true,
		},
		"3b011000 00000181 0102a000 01020000",
	},
	{
		"binding revocation acknowledgement",
		&mh.BindingRevocationAcknowledgement{Status: mh.RevocationNoBinding, Sequence: 0x0102, IPv4Only: true},
		"3b011000 00000280 01024000 01020000",
	},

	// Options, each in a binding refresh request, whose options begin at octet 8.
	option("binding refresh advice", &mh.BindingRefreshAdvice{Interval: 400 * time.Second}, 1, "02020064 01020000"),
	option("alternate care-of address", &mh.AlternateCareOf{Address: careOf}, 3, "01040000 00000310"+wireCareOf),
	option("nonce indices", &mh.NonceIndices{Home: 1, CareOf: 2}, 1, "04040001 00020100"),
	option("binding authorization data", &mh.BindingAuthorizationData{Authenticator: twelve}, 2,
		"0100050c 01020304 05060708 090a0b0c"),
	option("mobile network prefix", &mh.MobileNetworkPrefix{Prefix: prefix}, 3, "01020000 06120040"+wirePrefix),
	option("mobile node identifier", &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@k"}, 1,
		"0805016d 6e406b00"),
	option("message authentication",
		&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 0x1234, Data: twelve}, 3,
		"00091101 00001234 01020304 05060708 090a0b0c 01020000"),
	option("replay protection", &mh.ReplayProtection{Timestamp: 0xe8d0e6c0_80000000}, 2,
		"01000a08 e8d0e6c0 80000000 01020000"),
	option("experimental", &mh.ExperimentalOption{Data: []byte{1, 2, 3}}, 1, "12030102 03010100"),
	option("home network prefix", &mh.HomeNetworkPrefix{Prefix: netip.MustParsePrefix("::/0")}, 3,
		"01020000 16120000 00000000 00000000 00000000 00000000"),
	option("handoff indicator", &mh.HandoffIndicator{Indicator: mh.HandoffUnknown}, 1, "17020004 01020000"),
	option("access technology type", &mh.AccessTechnologyType{Technology: mh.AccessWLAN}, 1, "18020004 01020000"),
	option("link-layer identifier", &mh.LinkLayerIdentifier{Identifier: []byte{2, 0, 0, 0, 0, 1}}, 2,
		"19080000 02000000 00010104 00000000"),
	option("link-local address", &mh.LinkLocalAddress{Address: local}, 3, "01040000 00001a10"+wireLocal),
	option("timestamp", &mh.Timestamp{Time: time.Unix(0x65000000, 250_000_000)}, 2,
		"01001b08 00006500 00004000 01020000"),
	option("restart counter", &mh.RestartCounter{Counter: 0x01020304}, 1, "01001c04 01020304"),
	option("binding identifier",
		&mh.BindingIdentifier{BID: 7, Status: mh.StatusMCoAMalformed, HomeAndForeign: true, Priority: 5}, 1,
		"23040007 a4850100"),
	option("binding identifier with IPv4", &mh.BindingIdentifier{BID: 7, CareOf: netip.MustParseAddr("192.0.2.1")}, 2,
		"01002308 00070000 c0000201 01020000"),
	option("binding identifier with IPv6", &mh.BindingIdentifier{BID: 7, Priority: 127, CareOf: careOf}, 3,
		"01002314 0007007f"+wireCareOf),
	option("flow summary", &mh.FlowSummary{FIDs: []uint16{1, 2}}, 1, "2c040001 00020100"),
	option("anchored prefix", &mh.AnchoredPrefix{Prefix: prefix}, 3, "01020000 41120040"+wirePrefix),
	option("local prefix", &mh.LocalPrefix{Prefix: prefix}, 3, "01020000 42120040"+wirePrefix),
	option("previous MAAR", &mh.PreviousMAAR{Address: careOf, Prefix: prefix}, 5,
		"01020000 43220040"+wireCareOf+wirePrefix),
	option("serving MAAR", &mh.ServingMAAR{Address: careOf}, 3, "01040000 00004410"+wireCareOf),
	option("DLIF link-local address", &mh.DLIFLinkLocalAddress{Address: local}, 3, "01040000 00004510"+wireLocal),
	option("DLIF link-layer address", &mh.DLIFLinkLayerAddress{Address: []byte{2, 0, 0, 0, 0, 1}}, 2,
		"46080000 02000000 00010104 00000000"),
	option("unknown", &mh.UnknownOption{Type: 200, Data: []byte{9, 8, 7, 6}}, 1, "c8040908 07060100"),

	// Flow bindings.
	option("flow identification alone", &mh.FlowIdentification{FID: 3, Priority: 4, Status: mh.FlowBIDNotFound}, 1,
		"2d060003 00040083"),
	option("flow identification with IPv4 selector",
		&mh.FlowIdentification{
			FID: 3, Priority: 4, BIDs: []uint16{7, 8},
			Selector: &mh.IPv4Selector{
				Source: &mh.Range[netip.Addr]{
					First: netip.MustParseAddr("192.0.2.1"), Last: netip.MustParseAddr("192.0.2.9"),
				},
				DestinationPort: &mh.Range[uint16]{First: 80, Last: 80},
				DS:              &mh.Range[uint8]{First: 4, Last: 8},
				Protocol:        &mh.Range[uint8]{First: 6, Last: 6},
			},
		}, 5,
		// Flags A, B, I, K, L, M; a selector of odd length, so Pad1 before the binding reference (2n).
		"2d220003 00040000 03130100 c0b80000 c0000201 c0000209 00500408 06000204 00070008 01020000"),
	option("flow identification with IPv6 selector",
		&mh.FlowIdentification{
			FID: 3, Priority: 4,
			Selector: &mh.IPv6Selector{
				Source:          &mh.Range[netip.Addr]{First: home, Last: home},
				SPI:             &mh.Range[uint32]{First: 256, Last: 512},
				FlowLabel:       &mh.Range[uint32]{First: 0x12345, Last: 0x12345},
				SourcePort:      &mh.Range[uint16]{First: 1, Last: 2},
				DestinationPort: &mh.Range[uint16]{First: 3, Last: 4},
				TrafficClass:    &mh.Range[uint8]{First: 4, Last: 8},
				NextHeader:      &mh.Range[uint8]{First: 6, Last: 17},
			},
			Unknown: []mh.UnknownSubOption{{Type: 9, Data: []byte{1, 2}}},
		}, 8,
		// Flags A, E to G, I to P.
		"2d3a0003 00040000 032e0200 8eff0000"+wireHome+
			"00000100 00000200 00012345 00010002 00030004 04080611 09020102 01020000"),
	option("flow identification with a selector of another format",
		&mh.FlowIdentification{FID: 3, Priority: 4, Selector: &mh.UnknownSelector{TSFormat: 77, Data: []byte{1, 2}}}, 2,
		"2d0c0003 00040000 03044d00 01020100"),
}

var twelve = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

func option(name string, o mh.Option, headerLen byte, wire string) (v struct {
	name    string
	message mh.Message
	wire    string
}) {
	v.name = "option " + name
	v.message = &mh.BindingRefreshRequest{Options: mh.Options{o}}
	v.wire = "3b" + hex.EncodeToString([]byte{headerLen}) + "0000 00000000" + wire
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.wire)
			got, err := mh.Append([]byte("before"), g.message)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(got, want) {
				t.Errorf("Append:\n got %x\nwant %x", got, want)
			}
			b := bytes.Clone(want)
			m, err := mh.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			// What Parse returned must not change with the buffer.
			clear(b)
			if d := cmp.Diff(g.message, m, byValue); d != "" {
				t.Errorf("Parse (-want +got):\n%s", d)
			}
		})
	}
}
