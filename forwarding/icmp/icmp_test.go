package icmp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

var (
	source      = netip.MustParseAddr("2001:db8::1")
	destination = netip.MustParseAddr("2001:db8::2")
)

func TestErrorGolden(t *testing.T) {
	p := packet.New(packet.SmallLength)
	e := Error{Type: PacketTooBig, Parameter: 1460, Source: source, Destination: destination, Invoking: []byte{0x60, 1, 2}}
	e.Put(p)
	want := "60000000000b3a40" + "20010db8000000000000000000000001" + "20010db8000000000000000000000002" +
		// 2001+0db8+1+2001+0db8+2+b+3a + 0200+05b4+6001+0200 = c56f, complemented
		"0200" + "3a90" + "000005b4" + "600102"
	if got := hex.EncodeToString(p.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !ChecksumValid(p.Bytes()[40:], source, destination) || ChecksumValid(p.Bytes()[40:], source, source) {
		t.Error("checksum")
	}
}

// RFC 4443 section 2.4 c.
func TestErrorLength(t *testing.T) {
	for _, c := range []struct{ invoking, limit, want int }{
		{0, 0, 48}, {100, 0, 148}, {1232, 0, 1280}, {1233, 0, 1280}, {9000, 0, 1280}, {9000, 5000, 1280}, {100, 128, 128}, {40, 128, 88}, {40, 48, 48},
	} {
		p := packet.New(packet.SmallLength)
		invoking := bytes.Repeat([]byte{7}, c.invoking)
		(&Error{Type: 1, Source: source, Destination: destination, Invoking: invoking, Limit: c.limit}).Put(p)
		if p.Len() != c.want || !ChecksumValid(p.Bytes()[40:], source, destination) {
			t.Errorf("%+v: %d octets", c, p.Len())
		}
	}
}

// RFC 4443 section 2.4 e.
func TestRefuses(t *testing.T) {
	group := netip.MustParseAddr("ff02::1")
	for _, c := range []struct {
		name                string
		source, destination netip.Addr
		next                uint8
		rest                []byte
		want                bool
	}{
		{"UDP", source, destination, 17, make([]byte, 8), false},
		{"echo request", source, destination, 58, []byte{128, 0, 0, 0}, false},
		{"error", source, destination, 58, []byte{1, 0, 0, 0}, true},
		{"unknown error", source, destination, 58, []byte{127, 0, 0, 0}, true},
		{"redirect", source, destination, 58, []byte{137, 0, 0, 0}, true},
		{"no type", source, destination, 58, nil, true},
		{"error behind a header", source, destination, 60, []byte{58, 0, 1, 4, 0, 0, 0, 0, 3}, true},
		{"first fragment of an error", source, destination, 44, []byte{58, 0, 0, 1, 0, 0, 0, 0, 3}, true},
		{"later fragment", source, destination, 44, []byte{58, 0, 0, 9, 0, 0, 0, 0, 3}, false},
		{"to a group", source, group, 17, make([]byte, 8), true},
		{"from a group", group, destination, 17, make([]byte, 8), true},
		{"from nowhere", netip.IPv6Unspecified(), destination, 17, make([]byte, 8), true},
	} {
		b := make([]byte, 40)
		ip6.PutHeader(b, 0, 0, len(c.rest), c.next, 64, c.source, c.destination)
		b = append(b, c.rest...)
		var h ip6.Header
		if err := h.Parse(b); err != nil {
			t.Fatal(err)
		}
		if got := Refuses(b, &h); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestLimiter(t *testing.T) {
	var l Limiter
	l.Init(10, 5)
	allowed := func(now time.Duration, to netip.Addr, n int) (yes int) {
		for range n {
			if l.Allow(now, to) {
				yes++
			}
		}
		return yes
	}
	now := time.Hour
	if n := allowed(now, source, 20); n != 5 {
		t.Errorf("burst %d", n)
	}
	if n := allowed(now+100*time.Millisecond, source, 20); n != 1 {
		t.Errorf("%d a tenth of a second later", n)
	}
	if n := allowed(now+time.Minute, source, 20); n != 5 {
		t.Errorf("%d a minute later", n)
	}
	if n := allowed(0, source, 20); n != 5 {
		t.Errorf("%d after the clock went back", n)
	}
	// Over ten seconds the rate holds, whatever the rhythm.
	total := 0
	for at := time.Duration(0); at < 10*time.Second; at += 7 * time.Millisecond {
		total += allowed(2*time.Hour+at, destination, 1)
	}
	if total < 99 || total > 105 {
		t.Errorf("%d in ten seconds", total)
	}
	// To all addresses together, a hundred times as much.
	total = 0
	a := source.As16()
	for i := range 20000 {
		a[14], a[15] = byte(i>>8), byte(i)
		total += allowed(3*time.Hour, netip.AddrFrom16(a), 1)
	}
	if total > 500 || total < 250 {
		t.Errorf("%d to all", total)
	}
}
