package mh_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/signaling/mh"
)

// goldenIPv4 is one of each option of RFC 5555 and the UDP Endpoint, their octets put together by hand.
var goldenIPv4 = []struct {
	name    string
	message mh.Message
	wire    string
}{
	{
		"binding update from an IPv4 care-of address",
		&mh.BindingUpdate{
			Sequence: 1, Acknowledge: true, HomeRegistration: true, ForceUDP: true, Lifetime: time.Minute,
			Options: mh.Options{&mh.IPv4CareOfAddress{Address: netip.MustParseAddr("192.0.2.7")}},
		},
		"3b020500 00000001 c100000f 20060000 c0000207 01020000",
	},
	{
		"binding update with IPv4 home addresses",
		&mh.BindingUpdate{
			Sequence: 2, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.IPv4HomeAddress{PrefixLength: 32, Address: netip.MustParseAddr("198.51.100.9")},
				&mh.IPv4HomeAddress{PrefixLength: 24, RequestPrefix: true, Address: netip.IPv4Unspecified()},
			},
		},
		"3b030500 00000002 c000000f 1d068000 c6336409 1d066200 00000000 01020000",
	},
	{
		"binding acknowledgement that saw a NAT",
		&mh.BindingAcknowledgement{
			Sequence: 1, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second},
				&mh.IPv4AddressAcknowledgement{
					Status: mh.IPv4DynamicAssignmentNotAvailable, Address: netip.IPv4Unspecified(),
				},
			},
		},
		"3b030600 00000000 0001000f 1f068000 0000006e 1e068400 00000000 01020000",
	},
	{
		"binding acknowledgement that saw none",
		&mh.BindingAcknowledgement{
			Sequence: 1, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.NATDetection{NoKeepalive: true},
				&mh.IPv4AddressAcknowledgement{PrefixLength: 24, Address: netip.MustParseAddr("192.0.2.0")},
				&mh.NATDetection{},
			},
		},
		"3b040600 00000000 0001000f 1f060000 ffffffff 1e060060 c0000200 1f060000 00000000 0102 0000",
	},
	{
		"DHP advertisement with UDP endpoints",
		&mh.DMIPv6{
			Subtype: mh.DHPAdvertisement, Sequence: 9, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.DHPInformation{RTT: -1, Coverage: prefix, Address: careOf},
				&mh.UDPEndpoint{Endpoint: netip.MustParseAddrPort("192.0.2.1:4191")},
				&mh.UDPEndpoint{Endpoint: netip.MustParseAddrPort("[2001:db8:1::10]:4192")},
			},
		},
		"3b0d0b00 00000500 0009000f 444d7631 01020000 122a0300 0000ffff 40000000" + wireCareOf + wirePrefix +
			"12160500 105f0000 00000000 00000000 0000ffff c0000201" +
			"12160500 10600000" + wireHome,
	},
}

func init() { golden = append(golden, goldenIPv4...) }

func TestIPv4OptionsIgnoredBits(t *testing.T) {
	m, err := mh.Parse(unhex(t, "3b050600 00000000 0001000f 1f06ffff 0000006e 1e06 80ff c0000201 1d0681ff c0000207"+
		"2006ffff c0000207 01020000"))
	want := &mh.BindingAcknowledgement{
		Sequence: 1, Lifetime: time.Minute,
		Options: mh.Options{
			&mh.NATDetection{ForceUDP: true, Refresh: 110 * time.Second},
			&mh.IPv4AddressAcknowledgement{Status: mh.IPv4Unspecified, Address: netip.MustParseAddr("192.0.2.1")},
			&mh.IPv4HomeAddress{PrefixLength: 32, Address: netip.MustParseAddr("192.0.2.7")},
			&mh.IPv4CareOfAddress{Address: netip.MustParseAddr("192.0.2.7")},
		},
	}
	if d := cmp.Diff(mh.Message(want), m, byValue); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestIPv4OptionsThatCannotBeWritten(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, o := range []mh.Option{
		&mh.IPv4CareOfAddress{},
		&mh.IPv4CareOfAddress{Address: v6},
		&mh.IPv4CareOfAddress{Address: netip.AddrFrom16(v4.As16())},
		&mh.IPv4HomeAddress{Address: v4},
		&mh.IPv4HomeAddress{PrefixLength: 33, Address: v4},
		&mh.IPv4HomeAddress{PrefixLength: 32, Address: v6},
		&mh.IPv4AddressAcknowledgement{PrefixLength: 33, Address: v4},
		&mh.IPv4AddressAcknowledgement{},
		&mh.NATDetection{Refresh: -time.Second},
		&mh.NATDetection{Refresh: (1<<32 - 1) * time.Second},
		&mh.NATDetection{Refresh: time.Second, NoKeepalive: true},
		&mh.UDPEndpoint{},
	} {
		if b, err := mh.Append([]byte("before"), &mh.BindingUpdate{Options: mh.Options{o}}); err == nil || string(b) != "before" {
			t.Errorf("%+v is written as %x", o, b)
		}
	}
	b, err := mh.Append(nil, &mh.BindingUpdate{Options: mh.Options{
		&mh.IPv4AddressAcknowledgement{Status: mh.IPv4InvalidAddress, PrefixLength: 24, Address: v4},
		&mh.NATDetection{Refresh: (1<<32-2)*time.Second + 999*time.Millisecond},
	}})
	if want := unhex(t, "3b030500 00000000 00000000 1e068300 c0000201 1f060000 fffffffe 01020000"); err != nil || !cmp.Equal(b, want) {
		t.Errorf("%x, %v, want %x", b, err, want)
	}
}

func TestUDPReachable(t *testing.T) {
	for s, want := range map[string]bool{
		"192.0.2.1:4191": true, "10.1.2.3:1": true, "[2001:db8::1]:65535": true, "[fd00::1]:4191": true,
		"192.0.2.1:0": false, "0.0.0.0:4191": false, "255.255.255.255:4191": false, "224.0.0.1:4191": false,
		"127.0.0.1:4191": false, "169.254.1.1:4191": false, "[::]:4191": false, "[ff02::1]:4191": false,
		"[fe80::1]:4191": false, "[2001:db8::1%1]:4191": false, "[::ffff:192.0.2.1]:4191": false,
	} {
		if got := mh.UDPReachable(netip.MustParseAddrPort(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	if mh.UDPReachable(netip.AddrPort{}) {
		t.Error("nowhere can be reached")
	}
}
