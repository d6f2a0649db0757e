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

func TestTruncation(t *testing.T) {
	for _, g := range golden {
		b := unhex(t, g.wire)
		for n := range b {
			if m, err := mh.Parse(b[:n:n]); !errors.Is(err, mh.ErrLength) || m != nil {
				t.Errorf("%s cut to %d octets: %v, %v", g.name, n, m, err)
			}
		}
		if _, err := mh.Parse(append(b, 0)); !errors.Is(err, mh.ErrLength) {
			t.Errorf("%s with an octet more: %v", g.name, err)
		}
	}
}

// A message whose Header Len agrees with where it was cut ends inside its body, inside an option, or between options.
func TestShortened(t *testing.T) {
	for _, g := range golden {
		b := unhex(t, g.wire)
		for n := 8; n < len(b); n += 8 {
			c := bytes.Clone(b[:n])
			c[1] = byte(n/8 - 1)
			m, err := mh.Parse(c)
			var header *mh.HeaderError
			var option *mh.OptionError
			switch {
			case errors.As(err, &header):
				if header.Pointer != 1 || m != nil {
					t.Errorf("%s cut to %d: pointer %d, %v", g.name, n, header.Pointer, m)
				}
			case errors.As(err, &option):
				if m != nil {
					t.Errorf("%s cut to %d: a message with a cut option", g.name, n)
				}
			case err != nil:
				t.Errorf("%s cut to %d: %v", g.name, n, err)
			case cmp.Equal(g.message, m, byValue) && len(b)-n > 7:
				t.Errorf("%s cut to %d octets is as good as whole", g.name, n)
			}
		}
	}
}

func TestHeaderErrors(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       error
	}{
		{"unknown type", "3b006300 00000000", &mh.UnknownTypeError{Type: 99}},
		{"unknown type before payload proto", "06006300 00000000", &mh.UnknownTypeError{Type: 99}},
		{"unknown kind of binding revocation", "3b011000 00000300 00000000 00000000", &mh.UnknownTypeError{Type: 16}},
		{"payload proto", "06000000 00000000", &mh.HeaderError{Pointer: 0}},
		{"payload proto before header len", "06000500 00000000", &mh.HeaderError{Pointer: 0}},
		{"header len of home test init", "3b000100 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of home test", "3b010300 00000000 00000000 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of binding update", "3b000500 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of binding acknowledgement", "3b000600 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of binding error", "3b010700 00000000 00000000 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of heartbeat", "3b000d00 00000000", &mh.HeaderError{Pointer: 1}},
		{"header len of binding revocation", "3b001000 00000100", &mh.HeaderError{Pointer: 1}},
	} {
		b := unhex(t, c.wire)
		h, err := mh.ParseHeader(b)
		if h.Length != len(b) || h.PayloadProto != b[0] || h.Type != mh.Type(b[2]) {
			t.Errorf("%s: header %+v", c.name, h)
		}
		if d := cmp.Diff(c.want, err, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Reason" },
			cmp.Ignore())); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
		if _, perr := mh.Parse(b); perr == nil || perr.Error() != err.Error() {
			t.Errorf("%s: Parse says %v, ParseHeader %v", c.name, perr, err)
		}
	}
}

// Each option's data, cut short or too long, costs the option but not the message.
func TestMalformedOptions(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		t          mh.OptionType
	}{
		{"binding refresh advice", "020100", 2},
		{"alternate care-of address", "030400000000", 3},
		{"nonce indices", "04020000", 4},
		{"mobile network prefix", "06020040", 6},
		{"mobile network prefix of 129 bits", "06120081" + wirePrefix, 6},
		{"mobile node identifier", "0800", 8},
		{"message authentication", "090401000000", 9},
		{"replay protection", "0a0400000000", 10},
		{"home network prefix", "16020040", 22},
		{"handoff indicator", "170100", 23},
		{"access technology type", "1803000000", 24},
		{"link-layer identifier", "190100", 25},
		{"link-local address", "1a0400000000", 26},
		{"timestamp", "1b0400000000", 27},
		{"restart counter", "1c020000", 28},
		{"IPv4 home address of 3 octets", "1d058000c00002", 29},
		{"IPv4 home address of 5 octets", "1d078000c000020100", 29},
		{"IPv4 home address of 0 bits", "1d060200c0000201", 29},
		{"IPv4 home address of 33 bits", "1d068400c0000201", 29},
		{"IPv4 address acknowledgement of 3 octets", "1e050080c00002", 30},
		{"IPv4 address acknowledgement of 33 bits", "1e060084c0000201", 30},
		{"NAT detection with half a refresh time", "1f0480000000", 31},
		{"NAT detection of 7 octets", "1f078000 0000006e 00", 31},
		{"IPv4 care-of address of 3 octets", "20050000c00002", 32},
		{"IPv4 care-of address of 16 octets", "20120000" + "20010db8000200000000000000000020", 32},
		{"binding identifier of 6 octets", "2306000000000000", 35},
		{"flow summary", "2c00", 44},
		{"flow summary of odd length", "2c0100", 44},
		{"flow identification", "2d050000000000", 45},
		{"flow identification with a cut sub-option", "2d07000000000000 02", 45},
		{"flow identification with a sub-option past its end", "2d09000000000000 020200", 45},
		{"flow identification with an odd binding reference", "2d09000000000000 020100", 45},
		{"flow identification with two binding references", "2d0e000000000000 02020001 02020002", 45},
		{"flow identification with two selectors", "2d0e000000000000 03020900 03020900", 45},
		{"flow identification with a short selector", "2d09000000000000 030101", 45},
		{"flow identification with a selector without flags", "2d0a000000000000 03020100", 45},
		{"selector with an end and no start", "2d0f000000000000 03070100 00100000 01", 45},
		{"selector without its field", "2d0e000000000000 03060100 00200000", 45},
		{"selector that runs backwards", "2d10000000000000 03080100 00300000 0201", 45},
		{"selector with octets left over", "2d0f000000000000 03070100 00000000 01", 45},
		{"anchored prefix", "41020040", 65},
		{"local prefix", "42020040", 66},
		{"previous MAAR", "43120040" + wirePrefix, 67},
		{"serving MAAR", "440400000000", 68},
		{"DLIF link-local address", "450400000000", 69},
		{"DLIF link-layer address", "460100", 70},
	} {
		b := append(unhex(t, "3b000500 00000001 c000000f"), unhex(t, c.wire)...)
		b = append(b, unhex(t, "17020004")...)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		b[1] = byte(len(b)/8 - 1)
		m, err := mh.Parse(b)
		var option *mh.OptionError
		if !errors.As(err, &option) || option.Type != c.t || option.Offset != 12 {
			t.Errorf("%s: %v", c.name, err)
		}
		want := &mh.BindingUpdate{
			Sequence: 1, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
			Options: mh.Options{&mh.HandoffIndicator{Indicator: mh.HandoffUnknown}},
		}
		if d := cmp.Diff(mh.Message(want), m, byValue); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestAuthorizationDataNotLast(t *testing.T) {
	m, err := mh.Parse(unhex(t, "3b010000 00000000 05020000 01020000"))
	var option *mh.OptionError
	if !errors.As(err, &option) || option.Type != mh.OptionBindingAuthorizationData || len(*m.OptionList()) != 0 {
		t.Error(m, err)
	}
}

// Whatever other senders put into padding and reserved fields does not matter.
func TestIgnoredBits(t *testing.T) {
	m, err := mh.Parse(unhex(t, "3b0305ff abcd0001 c00f000f 00000310"+wireCareOf))
	want := &mh.BindingUpdate{
		Sequence: 1, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
		Options: mh.Options{&mh.AlternateCareOf{Address: careOf}},
	}
	if d := cmp.Diff(mh.Message(want), m, byValue); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	m, err = mh.Parse(unhex(t, "3b030000 00000000 0102ffff 061200402001 0db8 00010002 ffffffff ffffffff"))
	list := mh.Options{&mh.MobileNetworkPrefix{Prefix: prefix}}
	if d := cmp.Diff(mh.Message(&mh.BindingRefreshRequest{Options: list}), m, byValue); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestFind(t *testing.T) {
	a, b := &mh.HomeNetworkPrefix{Prefix: prefix}, &mh.HomeNetworkPrefix{}
	opts := mh.Options{&mh.NonceIndices{}, a, b}
	if o, ok := mh.Find[*mh.HomeNetworkPrefix](opts); !ok || o != a {
		t.Error(o, ok)
	}
	if all := mh.FindAll[*mh.HomeNetworkPrefix](opts); len(all) != 2 || all[0] != a || all[1] != b {
		t.Error(all)
	}
	if o, ok := mh.Find[*mh.AlternateCareOf](opts); ok || o != nil {
		t.Error(o, ok)
	}
}

func TestChecksum(t *testing.T) {
	// The sum by hand, for ::1 to ::2: 1 + 2 + length 8 + protocol 135 + 3b00 + 0000 = 3b92, complement c46d.
	src, dst := netip.MustParseAddr("::1"), netip.MustParseAddr("::2")
	b := unhex(t, "3b000000 ffff0000")
	mh.SetChecksum(b, src, dst)
	if want := unhex(t, "3b000000 c46d0000"); !bytes.Equal(b, want) {
		t.Fatalf("got %x, want %x", b, want)
	}
	if !mh.ChecksumValid(b, src, dst) {
		t.Error("right checksum is refused")
	}
	for i := range b {
		b[i] ^= 0x10
		if mh.ChecksumValid(b, src, dst) {
			t.Errorf("checksum holds though octet %d was changed", i)
		}
		b[i] ^= 0x10
	}
	if mh.ChecksumValid(b, home, dst) || mh.ChecksumValid(b[:7], src, dst) {
		t.Error("wrong source or a cut message is accepted")
	}
}

func TestAuthenticatorRange(t *testing.T) {
	auth := &mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 5, Data: twelve}
	aaa := &mh.MessageAuthentication{Subtype: mh.AuthenticationMNAAA, SPI: 3, Data: twelve}
	for _, c := range []struct {
		name  string
		opts  mh.Options
		start int
		err   error
	}{
		{"none", mh.Options{&mh.NonceIndices{}}, 0, mh.ErrNoAuthenticator},
		// 12 octets, Pad1, 7 octets to the end of the SPI.
		{"alone", mh.Options{auth}, 20, nil},
		{"the last of two", mh.Options{auth, aaa}, 40, nil},
		{"not last", mh.Options{auth, &mh.NonceIndices{}}, 0, &mh.OptionError{}},
	} {
		b, err := mh.Append(nil, &mh.BindingUpdate{Options: c.opts})
		if err != nil {
			t.Fatal(err)
		}
		start, end, err := mh.AuthenticatorRange(b)
		if want, is := c.err.(*mh.OptionError); is {
			if !errors.As(err, &want) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if !errors.Is(err, c.err) || start != c.start || err == nil && !bytes.Equal(b[start:end], twelve) {
			t.Errorf("%s: %d, %d, %v", c.name, start, end, err)
		}
	}
	if _, _, err := mh.AuthenticatorRange(unhex(t, "3b010000 00000000 09040000 00000000")); err == nil {
		t.Error("a message authentication option without its SPI is accepted")
	}
	if _, _, err := mh.AuthenticatorRange(unhex(t, "3b010000 00000000 09ff0000 00000000")); err == nil {
		t.Error("an option past the end is accepted")
	}
	b, err := mh.Append(nil, &mh.BindingUpdate{Options: mh.Options{
		&mh.NonceIndices{}, &mh.BindingAuthorizationData{Authenticator: twelve},
	}})
	if err != nil {
		t.Fatal(err)
	}
	start, end, err := mh.AuthorizationRange(b)
	if err != nil || end != len(b) || !bytes.Equal(b[start:end], twelve) {
		t.Errorf("binding authorization data: %d, %d of %d, %v", start, end, len(b), err)
	}
}

func TestStatus(t *testing.T) {
	for s := range 256 {
		if got := mh.Status(s).Accepted(); got != (s < 128) {
			t.Errorf("status %d accepted: %v", s, got)
		}
		if mh.Status(s).String() == "" {
			t.Errorf("status %d has no words", s)
		}
	}
	for _, c := range []struct {
		got  interface{ String() string }
		want string
	}{
		{mh.StatusSequenceOutOfWindow, "Sequence number out of window"},
		{mh.StatusAuthenticationFailure, "MIPV6-AUTH-FAIL"},
		{mh.Status(250), "status 250"},
		{mh.UnrecognizedType, "Unrecognized MH Type value"},
		{mh.BindingErrorStatus(9), "Binding Error status 9"},
		{mh.RevocationNoBinding, "Binding Does NOT Exist"},
		{mh.RevocationStatus(9), "revocation status 9"},
		{mh.FlowBIDNotFound, "BID not found"},
		{mh.FlowStatus(9), "flow status 9"},
	} {
		if got := c.got.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if !mh.RevocationPartialSuccess.Accepted() || mh.RevocationNoBinding.Accepted() || mh.FlowMalformed.Accepted() {
		t.Error("revocation or flow statuses are on the wrong side of 128")
	}
}
