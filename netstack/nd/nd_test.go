package nd

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/netstack/packet"
)

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
var comparePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// mustAppend is the packet of a message that can be written.
func mustAppend(t testing.TB, src, dst netip.Addr, m Message) []byte {
	t.Helper()
	b, err := Append(nil, src, dst, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// icmpAt is where the ICMPv6 message begins.
func icmpAt(b []byte) int {
	if b[6] == protocolHopByHop {
		return ipv6Length + hopByHopLength
	}
	return ipv6Length
}

// seal makes payload length and checksum of a changed packet right again.
func seal(b []byte) []byte {
	at := icmpAt(b)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Length))
	b[at+2], b[at+3] = 0, 0
	binary.BigEndian.PutUint16(b[at+2:], ^checksum([16]byte(b[8:24]), [16]byte(b[24:40]), b[at:]))
	return b
}

func TestGoldenAndRoundTrip(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			prefix := []byte("in front")
			b, err := Append(prefix, s.src, s.dst, s.msg)
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(b[len(prefix):]); got != s.golden || string(b[:len(prefix)]) != "in front" {
				t.Fatalf("wrote\n%s, want\n%s", got, s.golden)
			}
			b = b[len(prefix):]
			if !Is(b) {
				t.Error("Is does not recognise it")
			}
			src, dst, m, err := Parse(append(slices.Clone(b), "padding of the Ethernet frame"...))
			if err != nil {
				t.Fatal(err)
			}
			if src != s.src || dst != s.dst {
				t.Errorf("from %v to %v, want %v to %v", src, dst, s.src, s.dst)
			}
			if diff := cmp.Diff(s.msg, m, compareAddr, comparePrefix); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			whole := mustAppend(t, s.src, s.dst, s.msg)
			for n := range whole {
				if _, _, _, err := Parse(whole[:n]); err == nil {
					t.Errorf("cut at %d without a word of it in the IPv6 header: no error", n)
				}
			}
			// Where options end, a shorter message is sound too.
			sound := map[int]bool{}
			if !isListener(s.msg.Type()) {
				fixed := map[Type]int{133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[s.msg.Type()]
				for at := ipv6Length + fixed; at < len(whole); at += 8 * int(whole[at+1]) {
					sound[at] = true
				}
			} else if q, is := s.msg.(*ListenerQuery); is && len(q.Sources) == 0 {
				sound[icmpAt(whole)+24] = true // a query of version 1
			} else if is {
				sound[icmpAt(whole)+24] = true
			}
			for n := icmpAt(whole) + icmpHeaderLength; n < len(whole); n++ {
				_, _, _, err := Parse(seal(slices.Clone(whole[:n])))
				if sound[n] != (err == nil) {
					t.Errorf("cut at %d with a right IPv6 header: error %v", n, err)
				}
			}
		})
	}
}

// change is a packet with one octet counted from the start of the IPv6 header changed and sealed again.
func change(t *testing.T, src, dst netip.Addr, m Message, at int, v byte) []byte {
	b := mustAppend(t, src, dst, m)
	b[at] = v
	return seal(b)
}

// TestInvalid names each check by its section.
func TestInvalid(t *testing.T) {
	slla := Options{SourceLinkLayerAddress{2, 0, 0, 0, 0, 1}}
	ns := &NeighborSolicitation{Target: global, Options: slla}
	na := &NeighborAdvertisement{Target: global}
	badSum := mustAppend(t, linkLocal, global, ns)
	badSum[len(badSum)-1]++
	query := &ListenerQuery{Version: 2, Group: addr("::")}
	tests := []struct {
		name, want string
		b          []byte
	}{
		{"RFC 4861 6.1.1 hop limit", "hop limit", change(t, linkLocal, AllRouters, &RouterSolicitation{}, 7, 254)},
		{"RFC 4861 6.1.1 code", "code", change(t, linkLocal, AllRouters, &RouterSolicitation{}, 41, 1)},
		{"RFC 4861 6.1.1 SLLAO from ::", "link-layer", mustAppend(t, addr("::"), AllRouters, &RouterSolicitation{slla})},
		{"RFC 4861 6.1.2 source", "link-local", mustAppend(t, global, AllNodes, &RouterAdvertisement{})},
		{"RFC 4861 6.1.2 hop limit", "hop limit", change(t, linkLocal, AllNodes, &RouterAdvertisement{}, 7, 1)},
		{"RFC 4861 7.1.1 hop limit", "hop limit", change(t, linkLocal, global, ns, 7, 64)},
		{"RFC 4861 7.1.1 checksum", "checksum", badSum},
		{"RFC 4861 7.1.1 code", "code", change(t, linkLocal, global, ns, 41, 3)},
		{"RFC 4861 7.1.1 target", "multicast", mustAppend(t, linkLocal, AllNodes, &NeighborSolicitation{Target: AllNodes})},
		{"RFC 4861 7.1.1 option length 0", "length 0", change(t, linkLocal, global, ns, 65, 0)},
		{"RFC 4861 7.1.1 option past the end", "truncated", change(t, linkLocal, global, ns, 65, 2)},
		{"RFC 4861 7.1.1 :: to unicast", "unspecified", mustAppend(t, addr("::"), global, &NeighborSolicitation{Target: global})},
		{"RFC 4861 7.1.1 :: to all nodes", "unspecified", mustAppend(t, addr("::"), AllNodes, &NeighborSolicitation{Target: global})},
		{"RFC 4861 7.1.1 SLLAO from ::", "link-layer", mustAppend(t, addr("::"), SolicitedNode(global), ns)},
		{"RFC 4861 7.1.2 target", "multicast", mustAppend(t, linkLocal, global, &NeighborAdvertisement{Target: AllNodes})},
		{"RFC 4861 7.1.2 solicited to multicast", "solicited", mustAppend(t, global, AllNodes, &NeighborAdvertisement{
			Target: global, Solicited: true,
		})},
		{"RFC 4861 7.1.2 hop limit", "hop limit", change(t, linkLocal, global, na, 7, 0)},
		{"RFC 4861 8.1 source", "link-local", mustAppend(t, global, addr("2001:db8::6"), &Redirect{
			Target: linkLocal, Destination: global,
		})},
		{"RFC 4861 8.1 destination", "multicast", mustAppend(t, linkLocal, global, &Redirect{
			Target: linkLocal, Destination: AllNodes,
		})},
		{"RFC 4861 8.1 target", "neither", mustAppend(t, linkLocal, global, &Redirect{
			Target: addr("2001:db8::6"), Destination: addr("2001:db8::7"),
		})},
		{"RFC 4291 2.7 source", "multicast", mustAppend(t, AllNodes, global, na)},
		{"RFC 3810 5.1.14 source", "link-local", mustAppend(t, global, AllNodes, query)},
		{"RFC 3810 6.2 hop limit", "hop limit", change(t, linkLocal, AllNodes, query, 7, 255)},
		{"RFC 3810 6.2 router alert", "router alert", change(t, linkLocal, AllNodes, query, 42, 1)},
		{"RFC 3810 6.2 router alert of another protocol", "router alert", change(t, linkLocal, AllNodes, query, 45, 1)},
		{"RFC 3810 5.1.5 group", "not multicast", mustAppend(t, linkLocal, global, &ListenerQuery{Group: global})},
		{"RFC 3810 5.2.13 source", "link-local", mustAppend(t, global, AllMLDv2Routers, &ListenerReport{})},
		{"RFC 3810 5.2.10 auxiliary data past the end", "auxiliary", change(t, linkLocal, AllMLDv2Routers,
			&ListenerReport{[]ListenerRecord{{Type: ModeIsExclude, Group: AllRouters}}}, 57, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, m, err := Parse(tt.b)
			if !errors.Is(err, ErrInvalid) || m != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("message %v, error %v, want an ErrInvalid about %q", m, err, tt.want)
			}
		})
	}
}

func TestNotND(t *testing.T) {
	ns := mustAppend(t, linkLocal, global, &NeighborSolicitation{Target: global})
	for name, f := range map[string]func(b []byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"IPv4":         func(b []byte) []byte { b[0] = 0x45; return b },
		"UDP":          func(b []byte) []byte { b[6] = 17; return b },
		"echo request": func(b []byte) []byte { b[40] = 128; return b },
		"fragment":     func(b []byte) []byte { b[6] = 44; return b },
	} {
		b := f(slices.Clone(ns))
		if _, _, _, err := Parse(b); !errors.Is(err, ErrNotND) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Sections 6.1 and 7.1: "The contents of the Reserved field ... MUST be ignored."
func TestRFC4861Section61And71ReservedFieldsAreIgnored(t *testing.T) {
	for _, s := range samples() {
		reserved := map[Type][]int{133: {44, 47}, 135: {44, 47}, 136: {45, 47}, 137: {44, 47}}[s.msg.Type()]
		if reserved == nil {
			continue
		}
		b := mustAppend(t, s.src, s.dst, s.msg)
		for at := reserved[0]; at <= reserved[1]; at++ {
			b[at] = 0xff
		}
		_, _, m, err := Parse(seal(b))
		if diff := cmp.Diff(s.msg, m, compareAddr, comparePrefix); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", s.name, err, diff)
		}
	}
}

func TestOptionsOfWrongLengthAreKeptAsUnknown(t *testing.T) {
	for typ := range OptionType(30) {
		m := &RouterAdvertisement{Options: Options{&UnknownOption{Type: typ, Data: make([]byte, 46)}, MTU(1400)}}
		_, _, got, err := Parse(mustAppend(t, linkLocal, AllNodes, m))
		if err != nil {
			t.Fatal(typ, err)
		}
		opts := got.(*RouterAdvertisement).Options
		if len(opts) != 2 || opts[0].OptionType() != typ || opts[1] != Option(MTU(1400)) {
			t.Errorf("option %d: %v", typ, opts)
		}
		if _, unknown := opts[0].(*UnknownOption); !unknown && typ != OptionNonce {
			t.Errorf("option %d of 48 octets: %T", typ, opts[0])
		}
	}
}

func TestReservedPreference(t *testing.T) {
	b := change(t, linkLocal, AllNodes, &RouterAdvertisement{
		Options: Options{RouteInformation{Prefix: netip.MustParsePrefix("::/0")}},
	}, 45, 2<<3)
	b[40+16+3] = 2 << 3
	_, _, m, err := Parse(seal(b))
	if err != nil {
		t.Fatal(err)
	}
	ra := m.(*RouterAdvertisement)
	if ra.Preference != PreferenceMedium {
		t.Errorf("RFC 4191 section 2.2: preference %d, want medium", ra.Preference)
	}
	if o, has := Find[RouteInformation](ra.Options); has {
		t.Errorf("RFC 4191 section 2.3: %v, want it ignored", o)
	}
}

func TestDurationsAreKeptInRange(t *testing.T) {
	m := &RouterAdvertisement{RouterLifetime: 100 * time.Hour, ReachableTime: -1, RetransTimer: 1e6 * time.Hour}
	_, _, got, err := Parse(mustAppend(t, linkLocal, AllNodes, m))
	if err != nil {
		t.Fatal(err)
	}
	want := &RouterAdvertisement{RouterLifetime: 65535 * time.Second, RetransTimer: 4294967295 * time.Millisecond}
	if diff := cmp.Diff(want, got, compareAddr); diff != "" {
		t.Error(diff)
	}
}

func TestListenerQueryVersions(t *testing.T) {
	v2 := mustAppend(t, linkLocal, AllNodes, &ListenerQuery{Version: 2, Group: addr("::"), MaximumResponseDelay: time.Second})
	_, _, m, err := Parse(seal(slices.Clone(v2[:len(v2)-4])))
	if err != nil || m.(*ListenerQuery).Version != 1 || m.(*ListenerQuery).MaximumResponseDelay != time.Second {
		t.Errorf("24 octets: %+v, %v; want version 1 and 1 s", m, err)
	}
	copy(v2[52:], []byte{0x9a, 0xbc}) // exponent 1, mantissa 0xabc: (0xabc | 0x1000) << 4 ms (RFC 3810 section 5.1.3)
	_, _, m, err = Parse(seal(v2))
	if err != nil || m.(*ListenerQuery).MaximumResponseDelay != 0x1abc0*time.Millisecond {
		t.Errorf("floating-point delay: %+v, %v; want 109.504 s", m, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	tests := map[string]struct {
		src, dst netip.Addr
		m        Message
	}{
		"IPv4 source":       {addr("192.0.2.1"), global, &RouterSolicitation{}},
		"no destination":    {global, netip.Addr{}, &RouterSolicitation{}},
		"nonce of 5 octets": {global, global, &NeighborSolicitation{Options: Options{Nonce("12345")}}},
		"too long option":   {global, global, &RouterSolicitation{Options{&UnknownOption{99, make([]byte, 2046)}}}},
		"too many records":  {global, global, &ListenerReport{make([]ListenerRecord, 4000)}},
		"too many sources":  {global, global, &ListenerQuery{Sources: make([]netip.Addr, 5000)}},
	}
	for name, tt := range tests {
		if b, err := Append([]byte("as it was"), tt.src, tt.dst, tt.m); err == nil || string(b) != "as it was" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	if got := SolicitedNode(addr("4037::01:800:200e:8c6c")); got != addr("ff02::1:ff0e:8c6c") { // RFC 4291 section 2.7.1
		t.Error(got)
	}
	for a, want := range map[netip.Addr]bool{addr("ff02::1:ff0e:8c6c"): true, AllNodes: false, addr("ff02::1:fe00:1"): false, global: false} {
		if IsSolicitedNode(a) != want {
			t.Errorf("%v: %v", a, !want)
		}
	}
	if got := MulticastMAC(addr("ff02::1:ff0e:8c6c")); got != (packet.LinkAddress{0x33, 0x33, 0xff, 0x0e, 0x8c, 0x6c}) {
		t.Error(got)
	}
}

func TestIsDoesNotAllocate(t *testing.T) {
	b := mustAppend(t, linkLocal, global, &NeighborSolicitation{Target: global})
	if n := testing.AllocsPerRun(100, func() { Is(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse checks that what is accepted can be written and reads the same again.
func FuzzParse(f *testing.F) {
	for _, s := range samples() {
		f.Add(mustAppend(f, s.src, s.dst, s.msg))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A fuzzer does not find checksums.
		if Is(b) && int(binary.BigEndian.Uint16(b[4:]))+ipv6Length <= len(b) && binary.BigEndian.Uint16(b[4:]) >= hopByHopLength+icmpHeaderLength {
			b = seal(slices.Clone(b[:ipv6Length+int(binary.BigEndian.Uint16(b[4:]))]))
		}
		src, dst, m, err := Parse(b)
		if err != nil {
			return
		}
		if q, is := m.(*ListenerQuery); is && (q.Version == 1 || q.MaximumResponseDelay > 0x7fff*time.Millisecond) {
			return
		}
		again, err := Append(nil, src, dst, m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		src2, dst2, m2, err := Parse(again)
		if err != nil || src2 != src || dst2 != dst {
			t.Fatalf("%+v: %v, %v to %v", m, err, src2, dst2)
		}
		if diff := cmp.Diff(m, m2, compareAddr, comparePrefix); diff != "" {
			t.Error(diff)
		}
	})
}
