package interoperability

import (
	"net/netip"
	"time"

	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

// one is a list of one value.
func one(v string) []string { return []string{v} }

// update is a binding update with nothing but options, which begin at octet 12.
func update(opts ...mh.Option) mh.Message { return &mh.BindingUpdate{Options: opts} }

// messages are one of each message.
var messages = []testCase{
	{
		name:    "binding refresh request",
		message: &mh.BindingRefreshRequest{},
		want: fields{
			"mip6.proto": one("59"), "mip6.hlen": one("0"), "mip6.mhtype": one("0"), "mip6.reserved": one("0x00"),
			"mip6.binding_refresh_request": one("00:00"),
		},
	},
	{
		name:    "home test init",
		message: &mh.HomeTestInit{Cookie: mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8}},
		want: fields{
			"mip6.hlen": one("1"), "mip6.mhtype": one("1"), "mip6.hoti.cookie": one("0x0102030405060708"),
		},
	},
	{
		name:    "care-of test init",
		message: &mh.CareOfTestInit{Cookie: mh.Cookie{1, 2, 3, 4, 5, 6, 7, 8}},
		want: fields{
			"mip6.hlen": one("1"), "mip6.mhtype": one("2"), "mip6.coti.cookie": one("0x0102030405060708"),
		},
	},
	{
		name:    "home test",
		message: &mh.HomeTest{NonceIndex: 4660, Cookie: mh.Cookie{1}, Token: mh.KeygenToken{2}},
		want: fields{
			"mip6.hlen": one("2"), "mip6.mhtype": one("3"), "mip6.hot.nindex": one("4660"),
			"mip6.hot.cookie": one("0x0100000000000000"), "mip6.hot.token": one("0x0200000000000000"),
		},
	},
	{
		name:    "care-of test",
		message: &mh.CareOfTest{NonceIndex: 4660, Cookie: mh.Cookie{1}, Token: mh.KeygenToken{2}},
		want: fields{
			"mip6.hlen": one("2"), "mip6.mhtype": one("4"), "mip6.cot.nindex": one("4660"),
			// tshark calls both tokens by the name of the home one.
			"mip6.cot.cookie": one("0x0100000000000000"), "mip6.hot.token": one("0x0200000000000000"),
		},
	},
	{
		name:              "authenticated binding update",
		homeAddressOption: true,
		message: &mh.BindingUpdate{
			Sequence: 513, Acknowledge: true, HomeRegistration: true, LinkLocal: true, KeyManagement: true,
			Lifetime: time.Minute,
			Options: mh.Options{
				&mh.AlternateCareOf{Address: careOf},
				&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.org"},
				&mh.ReplayProtection{Timestamp: 0xe8d0e6c0_80000000},
				&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 256, Data: twelve},
			},
		},
		want: fields{
			"ipv6.opt.type": {"0x01", "0xc9"}, "ipv6.opt.length": {"2", "16"}, "ipv6.opt.padn": one("00:00"),
			"ipv6.opt.mipv6.home_address": one("2001:db8:1::10"),
			"mip6.hlen":                   one("9"), "mip6.mhtype": one("5"), "mip6.bu.seqnr": one("513"),
			"mip6.bu.a_flag": one("1"), "mip6.bu.h_flag": one("1"), "mip6.bu.l_flag": one("1"),
			"mip6.bu.k_flag": one("1"), "mip6.bu.m_flag": one("0"), "mip6.nemo.bu.r_flag": one("0"),
			"mip6.bu.p_flag": one("0"), "mip6.bu.f_flag": one("0"), "mip6.bu.t_flag": one("0"),
			"mip6.bu.b_flag": one("0"), "mip6.bu.lifetime": one("15"),
			"mip6.acoa.acoa":    one("2001:db8:2::20"),
			"mip6.mnid.subtype": one("1"), "mip6.mnid.identifier": one("mn@example.org"),
			"mip6.auth.subtype": one("1"), "mip6.auth.mobility_spi": one("256"),
			// mip6.mseg_id.timestamp: tshark takes NTP time for seconds since 1970 and nanoseconds.
			"mip6.options.mseg_id": one("0a:08:e8:d0:e6:c0:80:00:00:00"),
			// mip6.auth.auth_data: tshark leaves out the last two octets.
			"mip6.options.auth":     one("09:11:01:00:00:01:00:01:02:03:04:05:06:07:08:09:0a:0b:0c"),
			"mip6.mobility_opt.len": {"0", "16", "15", "8", "17"},
			"mip6.options.padn":     one("01:00"), "mip6.options.pad1": {"00", "00"},
		},
	},
	{
		name: "binding update to a correspondent node",
		message: &mh.BindingUpdate{
			MAP: true, MobileRouter: true, ForceUDP: true, Lifetime: mh.MaxLifetime,
			Options: mh.Options{
				&mh.NonceIndices{Home: 1, CareOf: 2}, &mh.BindingAuthorizationData{Authenticator: twelve},
			},
		},
		want: fields{
			"mip6.hlen": one("3"), "mip6.bu.seqnr": one("0"), "mip6.bu.lifetime": one("65535"),
			"mip6.bu.a_flag": one("0"), "mip6.bu.h_flag": one("0"), "mip6.bu.l_flag": one("0"),
			"mip6.bu.k_flag": one("0"), "mip6.bu.m_flag": one("1"), "mip6.nemo.bu.r_flag": one("1"),
			"mip6.bu.p_flag": one("0"), "mip6.bu.f_flag": one("1"), "mip6.bu.t_flag": one("0"),
			"mip6.ni.hni": one("1"), "mip6.ni.cni": one("2"),
			"mip6.bad.auth":         one("01:02:03:04:05:06:07:08:09:0a:0b:0c"),
			"mip6.mobility_opt.len": {"4", "12"},
		},
	},
	{
		name: "proxy binding update",
		message: &mh.BindingUpdate{
			ProxyRegistration: true, TLVHeader: true, BulkUpdate: true, Subscription: true, Distributed: true,
			Options: mh.Options{
				&mh.HomeNetworkPrefix{Prefix: prefix},
				&mh.HandoffIndicator{Indicator: mh.HandoffUnknown},
				&mh.AccessTechnologyType{Technology: mh.AccessEthernet},
				&mh.LinkLayerIdentifier{Identifier: []byte{2, 0, 0, 0, 0, 1}},
				&mh.LinkLocalAddress{Address: netip.MustParseAddr("fe80::1")},
				&mh.Timestamp{Time: time.Unix(0x65000000, 500_000_000)},
			},
		},
		want: fields{
			"mip6.hlen": one("10"), "mip6.bu.p_flag": one("1"), "mip6.bu.t_flag": one("1"), "mip6.bu.b_flag": one("1"),
			// Flags S and D: tshark does not know them.
			"mip6.options.hnp":   one("16:12:00:40:20:01:0d:b8:00:01:00:02:00:00:00:00:00:00:00:00"),
			"mip6.nemo.mnp.pfl":  one("64"),
			"mip6.nemo.mnp.mnp":  one("2001:db8:1:2::"),
			"mip6.hi":            one("4"),
			"mip6.att":           one("3"),
			"mip6.mnlli.lli":     one("02:00:00:00:00:01"),
			"mip6.lila_lla":      one("fe80::1"),
			"mip6.timestamp_tmp": one("Sep 12, 2023 06:06:56.500000000 UTC"),
			"mip6.options.padn":  {"01:02:00:00", "01:00", "01:02:00:00"},
		},
	},
	{
		name:         "binding acknowledgement",
		type2Routing: true,
		message: &mh.BindingAcknowledgement{
			Status: mh.StatusSequenceOutOfWindow, KeyManagement: true, MobileRouter: true, Sequence: 513,
			Lifetime: time.Minute, Options: mh.Options{&mh.BindingRefreshAdvice{Interval: 400 * time.Second}},
		},
		want: fields{
			"ipv6.routing.nxt": one("135"), "ipv6.routing.len": one("2"), "ipv6.routing.type": one("2"),
			"ipv6.routing.segleft": one("1"), "ipv6.routing.mipv6.reserved": one("00:00:00:00"),
			"ipv6.routing.mipv6.home_address": one("2001:db8:1::10"),
			"mip6.hlen":                       one("1"), "mip6.mhtype": one("6"), "mip6.ba.status": one("135"),
			"mip6.ba.k_flag": one("1"), "mip6.nemo.ba.r_flag": one("1"), "mip6.ba.p_flag": one("0"),
			"mip6.ba.t_flag": one("0"), "mip6.ba.b_flag": one("0"), "mip6.ba.seqnr": one("513"),
			"mip6.ba.lifetime": one("15"), "mip6.bra.interval": one("100"), "mip6.mobility_opt.len": one("2"),
		},
	},
	{
		name: "proxy binding acknowledgement",
		message: &mh.BindingAcknowledgement{
			ProxyRegistration: true, TLVHeader: true, BulkUpdate: true, Subscription: true, Distributed: true,
		},
		want: fields{
			// Flags S and D: tshark does not know them.
			"mip6.ba.k_flag": one("0"), "mip6.nemo.ba.r_flag": one("0"), "mip6.ba.p_flag": one("1"),
			"mip6.ba.t_flag": one("1"), "mip6.ba.b_flag": one("1"), "mip6.options.padn": one("01:02:00:00"),
		},
	},
	{
		name:    "binding error",
		message: &mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home},
		want: fields{
			"mip6.hlen": one("2"), "mip6.mhtype": one("7"), "mip6.be.status": one("1"),
			"mip6.be.haddr": one("2001:db8:1::10"), "mip6.mobility_opt.len": nil,
		},
	},
	{
		name:    "experimental",
		message: &mh.Experimental{Data: twelve[:10]},
		want: fields{
			"mip6.hlen": one("1"), "mip6.mhtype": one("11"), "mip6.em.data": one("01:02:03:04:05:06:07:08:09:0a"),
		},
	},
	{
		name:    "DMIPv6",
		message: &mh.DMIPv6{Subtype: mh.DHPQuery, Sequence: 7, Options: mh.Options{&mh.CNAddress{Address: home}}},
		// tshark takes it for any experiment's.
		want: fields{
			"mip6.proto": one("59"), "mip6.hlen": one("4"), "mip6.mhtype": one("11"),
			"mip6.em.data": one("01:00:00:07:00:00:44:4d:76:31:01:02:00:00:12:12:01:00:" +
				"20:01:0d:b8:00:01:00:00:00:00:00:00:00:00:00:10"),
		},
	},
	{
		name: "heartbeat",
		message: &mh.Heartbeat{
			Unsolicited: true, Response: true, Sequence: 16909060, Options: mh.Options{&mh.RestartCounter{Counter: 7}},
		},
		want: fields{
			"mip6.hlen": one("2"), "mip6.mhtype": one("13"), "mip6.hb.u_flag": one("1"), "mip6.hb.r_flag": one("1"),
			"mip6.hb.seqnr": one("16909060"), "mip6.rc": one("7"), "mip6.options.padn": {"01:00", "01:02:00:00"},
		},
	},
	{
		name: "binding revocation indication",
		message: &mh.BindingRevocationIndication{
			Trigger: mh.TriggerRevokingNodeLocalPolicy, Sequence: 258, ProxyBinding: true, Global: true,
		},
		want: fields{
			"mip6.mhtype": one("16"), "mip6.bri_br.type": one("1"), "mip6.bri_r.trigger": one("129"),
			"mip6.bri_seqnr": one("258"), "mip6.bri_ip": one("1"), "mip6.bri_iv": one("0"), "mip6.bri_ig": one("1"),
			"mip6.bri_res": one("0x0000"),
		},
	},
	{
		name: "binding revocation acknowledgement",
		message: &mh.BindingRevocationAcknowledgement{
			Status: mh.RevocationNoBinding, Sequence: 258, IPv4Only: true,
		},
		want: fields{
			"mip6.mhtype": one("16"), "mip6.bri_br.type": one("2"), "mip6.bri_status": one("128"),
			"mip6.bri_seqnr": one("258"), "mip6.bri_ap": one("0"), "mip6.bri_av": one("1"), "mip6.bri_ag": one("0"),
			"mip6.bri_res": one("0x0000"),
		},
	},
}

// options are the options that messages has no place for.
var options = []testCase{
	{
		name:    "mobile network prefix",
		message: update(&mh.MobileNetworkPrefix{Prefix: prefix}),
		want: fields{
			"mip6.options.mnp":  one("06:12:00:40:20:01:0d:b8:00:01:00:02:00:00:00:00:00:00:00:00"),
			"mip6.nemo.mnp.pfl": one("64"), "mip6.nemo.mnp.mnp": one("2001:db8:1:2::"), "mip6.options.padn": nil,
		},
	},
	{
		name:    "experimental option",
		message: update(&mh.ExperimentalOption{Data: twelve[:3]}),
		// mip6.em.data: tshark leaves out the last two octets.
		want: fields{"mip6.options.em": one("12:03:01:02:03"), "mip6.options.padn": one("01:05:00:00:00:00:00")},
	},
	{
		name: "binding identifier",
		message: update(&mh.BindingIdentifier{
			BID: 7, Status: mh.StatusMCoAMalformed, HomeAndForeign: true, Priority: 5,
		}),
		want: fields{
			// BID-PRI: tshark does not know it.
			"mip6.bi.bid": one("7"), "mip6.bi.status": one("164"), "mip6.bi.h_flag": one("1"),
			"mip6.bi.coa_ipv4": nil, "mip6.bi.coa_ipv6": nil, "mip6.mobility_opt.len": {"4", "4"},
		},
	},
	{
		name:    "binding identifier with IPv4",
		message: update(&mh.BindingIdentifier{BID: 7, CareOf: netip.MustParseAddr("192.0.2.1")}),
		want: fields{
			"mip6.bi.bid": one("7"), "mip6.bi.status": one("0"), "mip6.bi.h_flag": one("0"),
			"mip6.bi.coa_ipv4": one("192.0.2.1"), "mip6.options.padn": {"01:04:00:00:00:00", "01:02:00:00"},
		},
	},
	{
		name:    "binding identifier with IPv6",
		message: update(&mh.BindingIdentifier{BID: 7, CareOf: careOf}),
		want: fields{
			"mip6.bi.bid": one("7"), "mip6.bi.coa_ipv6": one("2001:db8:2::20"),
			"mip6.options.padn": one("01:04:00:00:00:00"),
		},
	},
	{
		// tshark only walks over these; that it meets each where it should says that the lengths are right.
		// mip6.mobility_opt.len: tshark shows a length one too high, or none.
		name: "options that tshark does not know",
		message: update(
			&mh.FlowSummary{FIDs: []uint16{1, 2}},
			&mh.FlowIdentification{FID: 1, Priority: 2, BIDs: []uint16{1}},
			&mh.AnchoredPrefix{Prefix: prefix},
			&mh.LocalPrefix{Prefix: prefix},
			&mh.PreviousMAAR{Address: agent, Prefix: prefix},
			&mh.ServingMAAR{Address: agent},
			&mh.DLIFLinkLocalAddress{Address: agent},
			&mh.DLIFLinkLayerAddress{Address: []byte{2, 0, 0, 0, 0, 1}},
		),
		want: fields{"mip6.mobility_opt": {"44", "45", "65", "66", "67", "68", "69", "70"}},
	},
}

// discoveries are one of each ICMPv6 message; tshark checks their checksums.
var discoveries = []testCase{
	{
		name:    "home agent address discovery request",
		message: &discovery.HomeAgentAddressRequest{Identifier: 4660},
		want: fields{
			"icmpv6.type": one("144"), "icmpv6.code": one("0"), "icmpv6.checksum.status": one("1"),
			"icmpv6.mip6.identifier": one("4660"), "icmpv6.reserved": one("00:00"),
		},
	},
	{
		name:    "home agent address discovery reply",
		message: &discovery.HomeAgentAddressReply{Identifier: 4660, Addresses: []netip.Addr{agent, home}},
		want: fields{
			"icmpv6.type": one("145"), "icmpv6.code": one("0"), "icmpv6.checksum.status": one("1"),
			"icmpv6.mip6.identifier": one("4660"), "icmpv6.reserved": one("00:00"),
			"icmpv6.mip6.home_agent_address": {"2001:db8:1::1", "2001:db8:1::10"},
		},
	},
	{
		name:              "mobile prefix solicitation",
		homeAddressOption: true,
		message:           &discovery.MobilePrefixSolicitation{Identifier: 4660},
		want: fields{
			"ipv6.opt.mipv6.home_address": one("2001:db8:1::10"),
			"icmpv6.type":                 one("146"), "icmpv6.code": one("0"), "icmpv6.checksum.status": one("1"),
			"icmpv6.mip6.identifier": one("4660"), "icmpv6.reserved": one("00:00"),
		},
	},
	{
		name:         "mobile prefix advertisement",
		type2Routing: true,
		message: &discovery.MobilePrefixAdvertisement{
			Identifier: 4660, Managed: true, Other: true,
			Prefixes: []discovery.PrefixInformation{{
				OnLink: true, Autonomous: true, RouterAddress: true, Prefix: netip.PrefixFrom(agent, 64),
				Valid: discovery.Infinity, Preferred: time.Hour,
			}},
		},
		want: fields{
			"ipv6.routing.mipv6.home_address": one("2001:db8:1::10"),
			"icmpv6.type":                     one("147"), "icmpv6.code": one("0"), "icmpv6.checksum.status": one("1"),
			"icmpv6.mip6.identifier": one("4660"), "icmpv6.mip6.flag": one("0xc000"),
			"icmpv6.opt.type": one("3"), "icmpv6.opt.length": one("4"),
			"icmpv6.opt.prefix.length": one("64"), "icmpv6.opt.prefix.flag": one("0xe0"),
			"icmpv6.opt.prefix.flag.l": one("1"), "icmpv6.opt.prefix.flag.a": one("1"),
			"icmpv6.opt.prefix.flag.r": one("1"), "icmpv6.opt.prefix.valid_lifetime": one("4294967295"),
			"icmpv6.opt.prefix.preferred_lifetime": one("3600"), "icmpv6.opt.prefix": one("2001:db8:1::1"),
		},
	},
}
