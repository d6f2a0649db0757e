package mh_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/signaling/mh"
)

// dmipv6 is a message whose options begin at octet 16.
func dmipv6(o ...mh.Option) *mh.DMIPv6 { return &mh.DMIPv6{Subtype: mh.DHPQuery, Options: o} }

// seal is a whole key ticket.
func seal() *mh.KeyTicket {
	o := &mh.KeyTicket{SPI: 0x1234, Expiry: time.Unix(0x69a42a40, 0), Address: careOf, Nonce: [12]byte(twelve)}
	for i := range o.Sealed {
		o.Sealed[i] = byte(0x40 + i)
	}
	return o
}

const wireSeal = "01020304 05060708 090a0b0c" +
	"40414243 44454647 48494a4b 4c4d4e4f 50515253 54555657 58595a5b 5c5d5e5f" +
	"60616263 64656667 68696a6b 6c6d6e6f"

// goldenDMIPv6 is one of each DMIPv6 message and option, its octets put together by hand.
var goldenDMIPv6 = []struct {
	name    string
	message mh.Message
	wire    string
}{
	{
		"DMIPv6 without options",
		&mh.DMIPv6{
			Subtype: mh.DHPAdvertisementAcknowledgement, Status: mh.StatusAdministrativelyProhibited, Sequence: 0x0102,
			Lifetime: mh.MaxLifetime,
		},
		"3b010b00 00000681 0102ffff 444d7631",
	},
	{
		"DHP query",
		&mh.DMIPv6{
			Subtype: mh.DHPQuery, Sequence: 7,
			Options: mh.Options{&mh.CNAddress{Address: home}, &mh.CNAddress{Address: careOf}},
		},
		"3b070b00 00000100 00070000 444d7631 01020000 12120100" + wireHome + "01020000 12120100" + wireCareOf,
	},
	{
		"DHP query reply",
		&mh.DMIPv6{
			Subtype: mh.DHPQueryReply, Sequence: 7, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.DHPInformation{
					Preference: 3, Load: 40, RTT: 2500 * time.Microsecond, Coverage: prefix, Lifetime: 8 * time.Second,
					Address: careOf,
				},
				seal(),
			},
		},
		"3b130b00 00000200 0007000f 444d7631" +
			"01020000 122a0300 03280019 40000002" + wireCareOf + wirePrefix +
			"01020000 12560400 00001234 69a42a40" + wireCareOf + wireSeal + "01020000",
	},
	{
		"DHoA request",
		&mh.DMIPv6{
			Subtype: mh.DHoARequest, Sequence: 8, Lifetime: time.Minute,
			Options: mh.Options{
				&mh.CNAddress{Address: home}, &mh.DHoA{Prefix: netip.MustParsePrefix("::/128")},
				&mh.KeyTicket{SPI: 0x1234, Expiry: time.Unix(0x69a42a40, 0)},
			},
		},
		"3b090b00 00000300 0008000f 444d7631 01020000 12120100" + wireHome +
			"0100 1214 02008000 00000000 00000000 00000000 00000000 01020000 120a0400 00001234 69a42a40",
	},
	{
		"DHoA response",
		&mh.DMIPv6{
			Subtype: mh.DHoAResponse, Status: mh.StatusPoolExhausted, Sequence: 8,
			Options: mh.Options{&mh.DHoA{Prefix: netip.PrefixFrom(home, 64)}},
		},
		"3b040b00 000004f2 00080000 444d7631 0100 1214 02004000" + wireHome,
	},
	{
		"DHP advertisement without RTT",
		&mh.DMIPv6{
			Subtype: mh.DHPAdvertisement, Sequence: 9, Lifetime: time.Minute,
			Options: mh.Options{&mh.DHPInformation{RTT: -1, Coverage: netip.MustParsePrefix("::/0"), Address: home}},
		},
		"3b070b00 00000500 0009000f 444d7631 01020000 122a0300 0000ffff 00000000" + wireHome +
			"00000000 00000000 00000000 00000000",
	},
	{
		"binding update with a key ticket",
		&mh.BindingUpdate{
			Sequence: 1, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
			Options: mh.Options{&mh.KeyTicket{SPI: 0x1234, Expiry: time.Unix(0x69a42a40, 0)}},
		},
		"3b020500 00000001 c000000f 120a0400 00001234 69a42a40",
	},
	{
		"an option of an unknown kind",
		dmipv6(&mh.ExperimentalOption{Data: []byte{9, 0, 1}}),
		"3b020b00 00000100 00000000 444d7631 12030900 01010100",
	},
	{
		"an option without a kind",
		dmipv6(&mh.ExperimentalOption{Data: []byte{1}}),
		"3b020b00 00000100 00000000 444d7631 12010101 03000000",
	},
	{
		"another experiment's magic",
		&mh.Experimental{Data: []byte{1, 0, 0, 0, 0, 0, 0x44, 0x4d, 0x76, 0x32}},
		"3b010b00 00000100 00000000 444d7632",
	},
	{"another experiment's header", &mh.Experimental{Data: []byte{1, 0}}, "3b000b00 00000100"},
}

func init() { golden = append(golden, goldenDMIPv6...) }

// In a DMIPv6 message the kinds are known, and what does not fit them is malformed; elsewhere it may be another
// experiment's, and is kept as it is.
func TestMalformedDMIPv6Options(t *testing.T) {
	for _, c := range []struct{ name, wire string }{
		{"CN address without address", "12020100"},
		{"CN address of 17 octets", "12130100" + wireHome + "00"},
		{"DHoA of 19 octets", "12130200 4000" + wireHome[:len(wireHome)-2]},
		{"DHoA of 63 bits", "12140200 3f00" + wireHome},
		{"DHoA of 129 bits", "12140200 8100" + wireHome},
		{"information of 41 octets", "12290300 00000000 40000000" + wireHome + wirePrefix[:len(wirePrefix)-2]},
		{"information with coverage of 129 bits", "122a0300 00000000 81000000" + wireHome + wirePrefix},
		{"ticket without expiry", "12060400 00001234"},
		{"ticket of 85 octets", "12550400 00001234 69a42a40" + wireHome + wireSeal[:len(wireSeal)-2]},
		{"UDP endpoint without address", "12060500 105f0000"},
		{"UDP endpoint of 21 octets", "12150500 105f0000" + wireHome[:len(wireHome)-2]},
		{"UDP endpoint of 23 octets", "12170500 105f0000" + wireHome + "00"},
		{"ticket of 87 octets", "12570400 00001234 69a42a40" + wireHome + wireSeal + "00"},
	} {
		data := unhex(t, c.wire)
		finish := func(b []byte) []byte {
			b = append(append(b, data...), unhex(t, "17020004")...)
			for len(b)%8 != 0 {
				b = append(b, 0)
			}
			b[1] = byte(len(b)/8 - 1)
			return b
		}
		handoff := &mh.HandoffIndicator{Indicator: mh.HandoffUnknown}
		m, err := mh.Parse(finish(unhex(t, "3b000b00 00000100 00000000 444d7631")))
		var option *mh.OptionError
		if !errors.As(err, &option) || option.Type != mh.OptionExperimental || option.Offset != 16 {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(mh.Message(dmipv6(handoff)), m, byValue); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		m, err = mh.Parse(finish(unhex(t, "3b000500 00000000 00000000")))
		want := &mh.BindingUpdate{Options: mh.Options{&mh.ExperimentalOption{Data: data[2:]}, handoff}}
		if d := cmp.Diff(mh.Message(want), m, byValue); d != "" || err != nil {
			t.Errorf("%s in a binding update: %v (-want +got):\n%s", c.name, err, d)
		}
	}
}

func TestDMIPv6HeaderErrors(t *testing.T) {
	var header *mh.HeaderError
	if _, err := mh.Parse(unhex(t, "3a010b00 00000100 00000000 444d7631")); !errors.As(err, &header) || header.Pointer != 0 {
		t.Errorf("Payload Proto: %v", err)
	}
}

// Reserved octets are not looked at, and bits past a coverage length do not count.
func TestDMIPv6IgnoredBits(t *testing.T) {
	m, err := mh.Parse(unhex(t, "3b070bff 00000100 00000000 444d7631 01020000 122a03ff 00000000 40ff0000"+wireHome+
		"20010db8 00010002 ffffffff ffffffff"))
	if d := cmp.Diff(mh.Message(dmipv6(&mh.DHPInformation{Coverage: prefix, Address: home})), m, byValue); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestRTTOnTheWire(t *testing.T) {
	const unit = 100 * time.Microsecond
	for _, c := range []struct{ written, read time.Duration }{
		{0, 0}, {unit / 2, unit}, {unit/2 - 1, 0}, {6553400 * time.Microsecond, 6553400 * time.Microsecond},
		{6553500 * time.Microsecond, 6553400 * time.Microsecond}, {time.Hour, 6553400 * time.Microsecond},
		{-1, -1}, {-time.Hour, -1},
	} {
		b, err := mh.Append(nil, dmipv6(&mh.DHPInformation{RTT: c.written, Coverage: prefix, Address: home}))
		if err != nil {
			t.Fatal(err)
		}
		m, err := mh.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if o, _ := mh.Find[*mh.DHPInformation](*m.OptionList()); o.RTT != c.read {
			t.Errorf("%v is read as %v, want %v", c.written, o.RTT, c.read)
		}
	}
}

// With an IPv6 header in front, no message is longer than 1280 octets.
func TestDMIPv6MessagesFitTheSmallestMTU(t *testing.T) {
	fill := func(n int) *mh.DMIPv6 {
		m := dmipv6()
		for ; n > 0; n -= min(n, 250) {
			m.Options = append(m.Options, &mh.UnknownOption{Type: 200, Data: make([]byte, min(n, 250)-2)})
		}
		return m
	}
	if b, err := mh.Append(nil, fill(1240-16)); err != nil || len(b) != 1240 {
		t.Errorf("%d octets, %v", len(b), err)
	}
	if b, err := mh.Append([]byte("before"), fill(1240-15)); err == nil || string(b) != "before" {
		t.Errorf("%d octets are written", len(b))
	}
	var full mh.Options
	for range 16 {
		full = append(full, &mh.CNAddress{Address: home})
	}
	if _, err := mh.Append(nil, dmipv6(full...)); err != nil {
		t.Errorf("16 CNs: %v", err)
	}
	full = nil
	for range 4 {
		full = append(full, &mh.DHPInformation{Coverage: prefix, Address: home})
		for range mh.MaxUDPEndpoints {
			full = append(full, &mh.UDPEndpoint{Endpoint: netip.AddrPortFrom(home, 4191)})
		}
		full = append(full, seal())
	}
	if _, err := mh.Append(nil, dmipv6(append(full, &mh.MobileNodeIdentifier{Identifier: string(make([]byte, 254))})...)); err != nil {
		t.Errorf("4 DHPs: %v", err)
	}
}

func TestDMIPv6Authenticator(t *testing.T) {
	b, err := mh.Append(nil, dmipv6(&mh.CNAddress{Address: home},
		&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 5, Data: twelve}))
	if err != nil {
		t.Fatal(err)
	}
	start, end, err := mh.AuthenticatorRange(b)
	if err != nil || !bytes.Equal(b[start:end], twelve) {
		t.Errorf("%d, %d, %v", start, end, err)
	}
}

func TestDMIPv6Words(t *testing.T) {
	for _, c := range []struct {
		got  interface{ String() string }
		want string
	}{
		{mh.DHPQuery, "DHP Query"}, {mh.DHPQueryReply, "DHP Query Reply"},
		{mh.DHoARequest, "DHoA Request"}, {mh.DHoAResponse, "DHoA Response"},
		{mh.DHPAdvertisement, "DHP Advertisement"},
		{mh.DHPAdvertisementAcknowledgement, "DHP Advertisement Acknowledgement"},
		{mh.Subtype(7), "DMIPv6 subtype 7"},
		{mh.StatusNoDHPKnown, "No DHP known"}, {mh.StatusTicketRefused, "Ticket refused"},
		{mh.StatusPoolExhausted, "Pool exhausted"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
