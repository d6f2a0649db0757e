package nd

import (
	"net/netip"
	"time"
)

// sample is a message in a packet, and the packet's octets as tshark reads them too.
type sample struct {
	name     string
	src, dst netip.Addr
	msg      Message
	golden   string
}

var (
	addr      = netip.MustParseAddr
	linkLocal = addr("fe80::1")
	global    = addr("2001:db8::5")
)

func samples() []sample {
	return []sample{
		{"router solicitation", linkLocal, AllRouters, &RouterSolicitation{
			Options: Options{SourceLinkLayerAddress{2, 0, 0, 0, 0, 1}},
		}, "6000000000103afffe800000000000000000000000000001ff020000000000000000000000000002" +
			"85007a2c000000000101020000000001"},
		{"router solicitation from ::", addr("::"), AllRouters, &RouterSolicitation{}, "6000000000083aff00000000000000000000000000000000ff020000000000000000000000000002" +
			"85007bb800000000"},
		{"router advertisement", linkLocal, AllNodes, &RouterAdvertisement{
			CurHopLimit: 64, Other: true, HomeAgent: true, Preference: PreferenceLow,
			RouterLifetime: 1800 * time.Second, ReachableTime: 30 * time.Second, RetransTimer: time.Second,
			Options: Options{
				SourceLinkLayerAddress{2, 0, 0, 0, 0, 1},
				PrefixInformation{
					Prefix: netip.MustParsePrefix("2001:db8:1::1/64"), OnLink: true, Autonomous: true, RouterAddress: true,
					ValidLifetime: Infinity, PreferredLifetime: 3600 * time.Second,
				},
				MTU(1500),
				AdvertisementInterval(70 * time.Millisecond),
				HomeAgentInformation{Preference: 7, Lifetime: 1800 * time.Second},
				RouteInformation{Prefix: netip.MustParsePrefix("::/0"), Preference: PreferenceHigh, Lifetime: 60 * time.Second},
				RouteInformation{Prefix: netip.MustParsePrefix("2001:db8:2::/48"), Preference: PreferenceLow, Lifetime: Infinity},
				RouteInformation{Prefix: netip.MustParsePrefix("2001:db8:3::/65"), Lifetime: 0},
				&UnknownOption{Type: OptionRDNSS, Data: []byte{
					0, 0, 0, 0, 2, 0x58, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53,
				}},
			},
		}, "6000000000983afffe800000000000000000000000000001ff020000000000000000000000000001" +
			"8600b8e74078070800007530000003e80101020000000001030440e0ffffffff00000e100000000020010db800010000" +
			"000000000000000105010000000005dc07010000000000460801000000070708180100080000003c18023018ffffffff" +
			"20010db800020000180341000000000020010db8000300000000000000000000190300000000025820010db800000000" +
			"0000000000000053"},
		{"router advertisement, managed, high", linkLocal, global, &RouterAdvertisement{
			Managed: true, Preference: PreferenceHigh,
		}, "6000000000103afffe80000000000000000000000000000120010db8000000000000000000000005" +
			"86004ced008800000000000000000000"},
		{"neighbor solicitation", global, SolicitedNode(addr("2001:db8::abcd:1234")), &NeighborSolicitation{
			Target: addr("2001:db8::abcd:1234"), Options: Options{SourceLinkLayerAddress{2, 0, 0, 0, 0, 1}},
		}, "6000000000203aff20010db8000000000000000000000005ff0200000000000000000001ffcd1234" +
			"87004b240000000020010db80000000000000000abcd12340101020000000001"},
		{"neighbor solicitation for duplicate address detection", addr("::"), SolicitedNode(global), &NeighborSolicitation{
			Target: global, Options: Options{Nonce("\x01\x02\x03\x04\x05\x06")},
		}, "6000000000203aff00000000000000000000000000000000ff0200000000000000000001ff000005" +
			"870035d00000000020010db80000000000000000000000050e01010203040506"},
		{"neighbor advertisement, solicited", global, linkLocal, &NeighborAdvertisement{
			Router: true, Solicited: true, Override: true, Target: global,
			Options: Options{TargetLinkLayerAddress{2, 0, 0, 0, 0, 1}},
		}, "6000000000203aff20010db8000000000000000000000005fe800000000000000000000000000001" +
			"880039a4e000000020010db80000000000000000000000050201020000000001"},
		{"neighbor advertisement, unsolicited", global, AllNodes, &NeighborAdvertisement{
			Override: true, Target: addr("2001:db8::6"), Options: Options{TargetLinkLayerAddress{2, 0, 0, 0, 0, 1}},
		}, "6000000000203aff20010db8000000000000000000000005ff020000000000000000000000000001" +
			"8800f9212000000020010db80000000000000000000000060201020000000001"},
		{"redirect", linkLocal, global, &Redirect{
			Target: addr("fe80::2"), Destination: addr("2001:db8:9::9"),
			Options: Options{TargetLinkLayerAddress{2, 0, 0, 0, 0, 2}},
		}, "6000000000303afffe80000000000000000000000000000120010db8000000000000000000000005" +
			"89001a0400000000fe80000000000000000000000000000220010db80009000000000000000000090201020000000002"},
		{"listener query, general", linkLocal, AllNodes, &ListenerQuery{
			Version: 2, MaximumResponseDelay: 10 * time.Second, Group: addr("::"),
		}, "6000000000240001fe800000000000000000000000000001ff020000000000000000000000000001" +
			"3a00050200000100820056962710000000000000000000000000000000000000027d0000"},
		{"listener query, group and source", linkLocal, SolicitedNode(global), &ListenerQuery{
			Version: 2, MaximumResponseDelay: time.Second, Group: SolicitedNode(global), Sources: []netip.Addr{addr("2001:db8::7")},
		}, "6000000000340001fe800000000000000000000000000001ff0200000000000000000001ff000005" +
			"3a0005020000010082004edd03e80000ff0200000000000000000001ff000005027d000120010db80000000000000000" +
			"00000007"},
		{"listener report", linkLocal, AllMLDv2Routers, &ListenerReport{Records: []ListenerRecord{
			{Type: ChangeToExcludeMode, Group: SolicitedNode(global)},
			{Type: AllowNewSources, Group: addr("ff3e::1234"), Sources: []netip.Addr{global}},
			{Type: ChangeToIncludeMode, Group: addr("ff02::1:ff00:1")},
		}}, "60000000005c0001fe800000000000000000000000000001ff020000000000000000000000000016" +
			"3a000502000001008f002b910000000304000000ff0200000000000000000001ff00000505000001ff3e000000000000" +
			"000000000000123420010db800000000000000000000000503000000ff0200000000000000000001ff000001"},
		{"listener report, version 1", linkLocal, SolicitedNode(global), &ListenerReportV1{SolicitedNode(global)},
			"6000000000200001fe800000000000000000000000000001ff0200000000000000000001ff000005" +
				"3a000502000001008300821700000000ff0200000000000000000001ff000005"},
		{"listener done, version 1", linkLocal, AllRouters, &ListenerDoneV1{SolicitedNode(global)},
			"6000000000200001fe800000000000000000000000000001ff020000000000000000000000000002" +
				"3a000502000001008400801c00000000ff0200000000000000000001ff000005"},
	}
}
