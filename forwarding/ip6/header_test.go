package ip6

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var (
	source      = netip.MustParseAddr("2001:db8::1")
	destination = netip.MustParseAddr("2001:db8::2")
	home        = netip.MustParseAddr("2001:db8:a::3")
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return b
}

// put puts a fixed header in front of the rest.
func put(next uint8, rest []byte) []byte {
	b := make([]byte, HeaderLength)
	PutHeader(b, 0x2e, 0xabcde, len(rest), next, 61, source, destination)
	return append(b, rest...)
}

const (
	destinationHeader = "%n 02 0102 0000 c910 20010db8000a0000 0000000000000003"
	routingHeader     = "%n 02 0201 00000000 20010db8000a0000 0000000000000003"
	hopHeader         = "%n 00 0502 0000 0100"
	atomicFragment    = "%n 00 0000 00000007"
	authentication    = "%n 04 0000 00000001 00000002 000000000000000000000000"
)

func chain(upper string, headers ...string) []byte {
	numbers := map[string]string{
		destinationHeader: "3c", routingHeader: "2b", hopHeader: "00", atomicFragment: "2c", authentication: "33",
	}
	var s string
	for i, h := range headers {
		next := upper
		if i+1 < len(headers) {
			next = numbers[headers[i+1]]
		}
		s += strings.Replace(h, "%n", next, 1)
	}
	first := unhex(upper)[0]
	if len(headers) > 0 {
		first = unhex(numbers[headers[0]])[0]
	}
	return put(first, append(unhex(s), "payload."...))
}

func TestPutHeaderGolden(t *testing.T) {
	b := make([]byte, HeaderLength)
	PutHeader(b, 0xb9, 0x12345, 0x678, IPv6, 64, source, destination)
	want := unhex("6b912345 0678 29 40 20010db8000000000000000000000001 20010db8000000000000000000000002")
	if !bytes.Equal(b, want) {
		t.Errorf("got %x", b)
	}
	SetECN(b, 2)
	want[1] = 0xa1
	if !bytes.Equal(b, want) {
		t.Errorf("ECN: got %x", b)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		b          []byte
		upper      uint8
		offset     int
		mobile     bool
		home       bool
		routing    bool
		fragmented bool
	}{
		{chain("11"), UDP, 40, false, false, false, false},
		{chain("11", hopHeader), UDP, 48, false, false, false, false},
		{chain("87", destinationHeader), MobilityHeader, 64, true, true, false, false},
		{chain("87", routingHeader), MobilityHeader, 64, true, false, true, false},
		{chain("06", hopHeader, routingHeader, destinationHeader), TCP, 96, true, true, true, false},
		{chain("3a", atomicFragment), ICMP, 48, false, false, false, true},
		{chain("06", authentication), TCP, 64, false, false, false, false},
		{chain("3b", hopHeader), NoNextHeader, 48, false, false, false, false},
	} {
		var h Header
		if err := h.Parse(append(c.b, 1, 2, 3)); err != nil { // padding behind it
			t.Errorf("%x: %v", c.b, err)
			continue
		}
		if h.Length != len(c.b) || h.Source != source || h.Destination != destination || h.TrafficClass != 0x2e ||
			h.FlowLabel != 0xabcde || h.HopLimit != 61 {
			t.Errorf("%x: %+v", c.b, h)
		}
		if h.Upper != c.upper || h.UpperOffset != c.offset || h.Mobile != c.mobile || h.Fragmented != c.fragmented || h.FirstFragment != c.fragmented {
			t.Errorf("%x: %+v", c.b, h)
		}
		if c.mobile && (h.HomeAddress == home) != c.home || c.mobile && (h.RoutingHome == home) != c.routing {
			t.Errorf("%x: %v, %v", c.b, h.HomeAddress, h.RoutingHome)
		}
		for n := range len(c.b) {
			if err := h.Parse(c.b[:n]); !errors.Is(err, ErrTruncated) {
				t.Errorf("%d octets of %x: %v", n, c.b, err)
			}
			// With a length that says so, what is cut off must be payload.
			if n >= HeaderLength {
				cut := append([]byte{}, c.b[:n]...)
				cut[4], cut[5] = 0, byte(n-HeaderLength)
				if err := h.Parse(cut); (err == nil) != (n >= c.offset) {
					t.Errorf("%x: %v", cut, err)
				}
				if err := h.ParseEmbedded(c.b[:n]); (err == nil) != (n >= c.offset) {
					t.Errorf("embedded, %d octets of %x: %v", n, c.b, err)
				}
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	pad := func(n int) string { return strings.Repeat("00", n) }
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"IPv4", unhex("45000014"), ErrVersion},
		{"IPv4 of 60 octets", append([]byte{0x45}, make([]byte, 59)...), ErrVersion},
		{"empty", nil, ErrTruncated},
		{"nine headers", put(60, bytes.Repeat(unhex("3c00 0104 00000000"), 9)), ErrTooMany},
		{"hop-by-hop second", put(60, unhex("0000010400000000 1100010400000000")), ErrExtension},
		{"fragment header cut off", put(44, unhex("06000000")), ErrExtension},
		{"home address twice", chain("06", destinationHeader, destinationHeader), ErrExtension},
		{"routing twice", chain("06", routingHeader, routingHeader), ErrExtension},
		{"home address of 8 octets", put(60, unhex("0601 c908"+pad(12))), ErrExtension},
		{"option without length", put(60, unhex("0600 0000 0000 0005")), ErrExtension},
		{"option too long", put(60, unhex("0600 0505 0000 0000")), ErrExtension},
		{"65 options", put(60, unhex("0608"+pad(70))), ErrTooMany},
		{"type 2 with no room", put(43, unhex("0600 0201 00000000")), ErrExtension},
	} {
		var h Header
		if err := h.Parse(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// What is not for Mobile IPv6 is somebody else's to refuse.
func TestOtherRoutingHeaders(t *testing.T) {
	for _, s := range []string{
		"1102 0001 00000000 20010db8000a0000 0000000000000003",
		"1102 0200 00000000 20010db8000a0000 0000000000000003", // type 2, done with
		"1100 0400 00000000",
	} {
		var h Header
		if err := h.Parse(put(43, unhex(s))); err != nil || h.Mobile || h.Upper != UDP {
			t.Errorf("%s: %v, %+v", s, err, h)
		}
	}
}

func TestLaterFragment(t *testing.T) {
	var h Header
	if err := h.Parse(put(44, unhex("0600 0008 00000001 0102"))); err != nil || !h.Fragmented || h.FirstFragment {
		t.Errorf("%v, %+v", err, h)
	}
	if h.HasPorts(50) {
		t.Error("has no ports")
	}
}

func TestBogon(t *testing.T) {
	for s, want := range map[string][2]bool{
		"::": {true, true}, "::1": {true, true}, "::ffff:1.2.3.4": {true, true}, "::2": {true, true},
		"ff02::1": {true, false}, "fe80::1": {false, false}, "2001:db8::1": {false, false}, "64:ff9b::1": {false, false},
		"::1:0:0:0": {false, false}, "::ffff:0:1.2.3.4": {false, false},
	} {
		a := netip.MustParseAddr(s)
		if got := [2]bool{Bogon(a), BogonDestination(a)}; got != want {
			t.Errorf("%s: %v, want %v", s, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(chain("06", hopHeader, routingHeader, destinationHeader))
	f.Add(chain("3a", atomicFragment))
	f.Add(chain("06", authentication))
	f.Add(put(60, bytes.Repeat(unhex("3c00 0104 00000000"), 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		if h.Parse(b) == nil && (h.UpperOffset > h.Length || h.Length > len(b) || h.UpperOffset < HeaderLength) {
			t.Errorf("%x: %+v", b, h)
		}
		if h.ParseEmbedded(b) == nil && h.UpperOffset > len(b) {
			t.Errorf("embedded %x: %+v", b, h)
		}
	})
}
