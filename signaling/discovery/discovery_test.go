package discovery_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"kedge/signaling/discovery"
)

var (
	agent  = netip.MustParseAddr("2001:db8:1::1")
	other  = netip.MustParseAddr("2001:db8:1::2")
	prefix = netip.MustParsePrefix("2001:db8:1::/64")
)

// golden is one of everything, its octets put together by hand from the drawings of the RFCs. cuts are the lengths that it
// may be cut to without a defect.
var golden = []struct {
	name    string
	message discovery.Message
	wire    string
	cuts    []int
}{
	{"request", &discovery.HomeAgentAddressRequest{Identifier: 0x1234}, "90000000 12340000", nil},
	{"reply without addresses", &discovery.HomeAgentAddressReply{Identifier: 0x1234}, "91000000 12340000", nil},
	{
		"reply",
		&discovery.HomeAgentAddressReply{Identifier: 0x1234, Addresses: []netip.Addr{agent, other}},
		"91000000 12340000 20010db8 00010000 00000000 00000001 20010db8 00010000 00000000 00000002",
		[]int{8, 24},
	},
	{"solicitation", &discovery.MobilePrefixSolicitation{Identifier: 0x1234}, "92000000 12340000", nil},
	{
		"solicitation with an option",
		&discovery.MobilePrefixSolicitation{
			Identifier: 1, Unknown: []discovery.UnknownOption{{Type: 1, Data: []byte{2, 0, 0, 0, 0, 1}}},
		},
		"92000000 00010000 01010200 00000001",
		[]int{8},
	},
	{
		"advertisement",
		&discovery.MobilePrefixAdvertisement{
			Identifier: 0x1234, Managed: true,
			Prefixes: []discovery.PrefixInformation{
				{
					OnLink: true, Autonomous: true, RouterAddress: true, Prefix: netip.PrefixFrom(agent, 64),
					Valid: discovery.Infinity, Preferred: time.Hour,
				},
				{Autonomous: true, Prefix: prefix, Valid: 2 * time.Second, Preferred: time.Second},
			},
			Unknown: []discovery.UnknownOption{{Type: 5, Data: []byte{0, 0, 0, 0, 5, 0xdc}}},
		},
		"93000000 12348000" +
			"030440e0 ffffffff 00000e10 00000000 20010db8 00010000 00000000 00000001" +
			"03044040 00000002 00000001 00000000 20010db8 00010000 00000000 00000000" +
			"05010000 000005dc",
		[]int{8, 40, 72},
	},
	{"advertisement with flag O", &discovery.MobilePrefixAdvertisement{Other: true}, "93000000 00004000", nil},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var byValue = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.wire)
			got, err := discovery.Append([]byte("before"), g.message)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(got, want) {
				t.Errorf("Append:\n got %x\nwant %x", got, want)
			}
			b := bytes.Clone(want)
			m, err := discovery.Parse(b)
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

func TestTruncation(t *testing.T) {
	for _, g := range golden {
		b := unhex(t, g.wire)
	cut:
		for n := range b {
			for _, c := range g.cuts {
				if n == c {
					continue cut
				}
			}
			if m, err := discovery.Parse(b[:n:n]); err == nil || m != nil {
				t.Errorf("%s cut to %d octets: %v, %v", g.name, n, m, err)
			}
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		err        error
	}{
		{"another type", "80000000 00000000", discovery.ErrType},
		{"code", "90010000 00000000", discovery.ErrCode},
		{"half an address", "91000000 00000000 20010db8 00010000", discovery.ErrLength},
		{"option of length 0", "92000000 00000000 01000000 00000000", discovery.ErrOption},
		{"option past the end", "92000000 00000000 01020000 00000000", discovery.ErrOption},
		{"short prefix information", "93000000 00000000 03010000 00000000", discovery.ErrOption},
		{
			"prefix of 129 bits",
			"93000000 00000000 030481c0 00000001 00000001 00000000 20010db8 00010000 00000000 00000000",
			discovery.ErrOption,
		},
	} {
		if m, err := discovery.Parse(unhex(t, c.wire)); !errors.Is(err, c.err) || m != nil {
			t.Errorf("%s: %v, %v", c.name, m, err)
		}
	}
}

func TestAppendErrors(t *testing.T) {
	advertise := func(p discovery.PrefixInformation) discovery.Message {
		return &discovery.MobilePrefixAdvertisement{Prefixes: []discovery.PrefixInformation{p}}
	}
	for name, m := range map[string]discovery.Message{
		"address not IPv6": &discovery.HomeAgentAddressReply{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		"no prefix":        advertise(discovery.PrefixInformation{}),
		"lifetime too long": advertise(discovery.PrefixInformation{
			Prefix: prefix, Valid: discovery.Infinity + time.Second,
		}),
		"lifetime negative": advertise(discovery.PrefixInformation{Prefix: prefix, Preferred: -1}),
		"option of odd length": &discovery.MobilePrefixSolicitation{
			Unknown: []discovery.UnknownOption{{Type: 1, Data: make([]byte, 5)}},
		},
		"option too long": &discovery.MobilePrefixSolicitation{
			Unknown: []discovery.UnknownOption{{Type: 1, Data: make([]byte, 2046)}},
		},
	} {
		if b, err := discovery.Append([]byte("before"), m); err == nil || string(b) != "before" {
			t.Errorf("%s: %v, %q", name, err, b)
		}
	}
}

func TestHomeAgentsAnycast(t *testing.T) {
	for p, want := range map[string]string{
		"2001:db8:1::/64":     "2001:db8:1:0:fdff:ffff:ffff:fffe",
		"2001:db8:1::1234/64": "2001:db8:1:0:fdff:ffff:ffff:fffe",
		"2001:db8:1::/48":     "2001:db8:1:ffff:ffff:ffff:ffff:fffe",
		"2001:db8:1::/121":    "2001:db8:1::7e",
	} {
		if got := discovery.HomeAgentsAnycast(netip.MustParsePrefix(p)); got != netip.MustParseAddr(want) {
			t.Errorf("%s: %v, want %s", p, got, want)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("2001:db8::/122"), netip.MustParsePrefix("192.0.2.0/24")} {
		if got := discovery.HomeAgentsAnycast(p); got.IsValid() {
			t.Errorf("%v: %v", p, got)
		}
	}
}

func TestChecksum(t *testing.T) {
	// The sum by hand, for ::1 to ::2: 1 + 2 + length 8 + protocol 58 + 9000 + 1234 = a279, complement 5d86.
	src, dst := netip.MustParseAddr("::1"), netip.MustParseAddr("::2")
	b := unhex(t, "9000ffff 12340000")
	discovery.SetChecksum(b, src, dst)
	if want := unhex(t, "90005d86 12340000"); !bytes.Equal(b, want) {
		t.Fatalf("got %x, want %x", b, want)
	}
	if !discovery.ChecksumValid(b, src, dst) {
		t.Error("right checksum is refused")
	}
	for i := range b {
		b[i] ^= 0x10
		if discovery.ChecksumValid(b, src, dst) {
			t.Errorf("checksum holds though octet %d was changed", i)
		}
		b[i] ^= 0x10
	}
}

func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := discovery.Parse(b)
		if err != nil {
			if m != nil {
				t.Fatalf("message with %v", err)
			}
			return
		}
		again, err := discovery.Append(nil, m)
		if err != nil {
			t.Fatalf("Append of %x: %v", b, err)
		}
		m2, err := discovery.Parse(again)
		if err != nil {
			t.Fatalf("Parse of %x, from %x: %v", again, b, err)
		}
		if d := cmp.Diff(m, m2, byValue); d != "" {
			t.Fatalf("%x and %x (-first +second):\n%s", b, again, d)
		}
	})
}

func TestProxiesAnycast(t *testing.T) {
	got := discovery.ProxiesAnycast(netip.MustParseAddr("2001:db8:c:1::2"))
	if want := netip.MustParseAddr("2001:db8:c:1:fdff:ffff:ffff:fffd"); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
