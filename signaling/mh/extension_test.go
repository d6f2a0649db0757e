package mh_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"kedge/signaling/mh"
)

func TestHomeAddressOption(t *testing.T) {
	want := unhex(t, "87020102 0000c910"+wireHome)
	b := mh.AppendHomeAddressOption(nil, mh.Protocol, home)
	if !bytes.Equal(b, want) || len(b) != mh.ExtensionLength {
		t.Fatalf("\n got %x\nwant %x", b, want)
	}
	for n := range b {
		if _, err := mh.ParseHomeAddressOption(b[:n:n]); !errors.Is(err, mh.ErrExtensionLength) {
			t.Errorf("cut to %d octets: %v", n, err)
		}
	}
	found := mh.DestinationOptions{Next: mh.Protocol, Length: 24, HomeAddress: home}
	if d, err := mh.ParseHomeAddressOption(append(b, 0x3b, 0)); err != nil || d != found {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestParseHomeAddressOption(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       mh.DestinationOptions
		err        error
	}{
		{"no home address", "3a000104 00000000", mh.DestinationOptions{Next: 58, Length: 8}, nil},
		{"tunnel encapsulation limit", "29000401 04010100 ", mh.DestinationOptions{Next: 41, Length: 8}, nil},
		{
			"among others", "87030000 00000000 00000000 0000c910" + wireHome,
			mh.DestinationOptions{Next: 135, Length: 32, HomeAddress: home}, nil,
		},
		{"option past the end", "87000105 00000000", mh.DestinationOptions{}, mh.ErrExtensionLength},
		{"option without length", "87000103 000000c9", mh.DestinationOptions{}, mh.ErrExtensionLength},
		{"home address of 4 octets", "8700c904 20010db8", mh.DestinationOptions{}, mh.ErrHomeAddressSize},
		{
			"twice", "87050102 0000c910" + wireHome + "01040000 0000c910" + wireHome,
			mh.DestinationOptions{}, mh.ErrHomeAddressMore,
		},
		{"link-local", "87020102 0000c910" + wireLocal, mh.DestinationOptions{}, mh.ErrHomeAddress},
		{
			"multicast", "87020102 0000c910 ff0e0000 00000000 00000000 00000001",
			mh.DestinationOptions{}, mh.ErrHomeAddress,
		},
		{
			"IPv4-mapped", "87020102 0000c910 00000000 00000000 0000ffff c0000201",
			mh.DestinationOptions{}, mh.ErrHomeAddress,
		},
	} {
		d, err := mh.ParseHomeAddressOption(unhex(t, c.wire))
		if !errors.Is(err, c.err) || d != c.want {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
}

func TestUnknownDestinationOption(t *testing.T) {
	for _, c := range []struct {
		option             uint8
		skipped            bool
		unicast, multicast bool
	}{
		{0x1e, true, false, false},
		{0x5e, false, false, false},
		{0x9e, false, true, true},
		{0xde, false, true, false},
	} {
		_, err := mh.ParseHomeAddressOption([]byte{58, 0, 0, c.option, 1, 0, 0, 0})
		var unknown *mh.DestinationOptionError
		if !errors.As(err, &unknown) {
			if !c.skipped || err != nil {
				t.Errorf("option %#x: %v", c.option, err)
			}
			continue
		}
		if c.skipped || unknown.Pointer != 3 || unknown.Answer(false) != c.unicast || unknown.Answer(true) != c.multicast {
			t.Errorf("option %#x: %+v, answer %v and %v", c.option, unknown, unknown.Answer(false), unknown.Answer(true))
		}
	}
}

func TestType2Routing(t *testing.T) {
	want := unhex(t, "87020201 00000000"+wireHome)
	b := mh.AppendType2Routing(nil, mh.Protocol, home)
	if !bytes.Equal(b, want) || len(b) != mh.ExtensionLength {
		t.Fatalf("\n got %x\nwant %x", b, want)
	}
	if next, addr, err := mh.ParseType2Routing(append(b, 1, 2)); next != mh.Protocol || addr != home || err != nil {
		t.Error(next, addr, err)
	}
	for n := range b {
		if _, _, err := mh.ParseType2Routing(b[:n:n]); !errors.Is(err, mh.ErrExtensionLength) {
			t.Errorf("cut to %d octets: %v", n, err)
		}
	}
	for _, c := range []struct {
		name, wire string
		err        error
	}{
		{"longer", "87040201 00000000" + wireHome + wireHome, mh.ErrRoutingHeader},
		{"shorter", "87000201 00000000", mh.ErrRoutingHeader},
		{"type 0", "87020001 00000000" + wireHome, mh.ErrRoutingHeader},
		{"no segment left", "87020200 00000000" + wireHome, mh.ErrRoutingHeader},
		{"two segments left", "87020202 00000000" + wireHome, mh.ErrRoutingHeader},
		{"link-local", "87020201 00000000" + wireLocal, mh.ErrHomeAddress},
	} {
		if _, addr, err := mh.ParseType2Routing(unhex(t, c.wire)); !errors.Is(err, c.err) || addr.IsValid() {
			t.Errorf("%s: %v, %v", c.name, addr, err)
		}
	}
}

func TestUnicastRoutable(t *testing.T) {
	for s, want := range map[string]bool{
		"2001:db8::1": true, "fd00::1": true, "::": false, "::1": false, "fe80::1": false, "ff0e::1": false,
		"192.0.2.1": false, "::ffff:192.0.2.1": false, "2001:db8::1%eth0": false,
	} {
		if got := mh.UnicastRoutable(netip.MustParseAddr(s)); got != want {
			t.Errorf("%s: %v", s, got)
		}
	}
	if mh.UnicastRoutable(netip.Addr{}) {
		t.Error("the invalid address is routable")
	}
}
