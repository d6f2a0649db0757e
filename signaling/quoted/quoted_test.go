package quoted

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"kedge/signaling/mh"
)

var (
	source      = netip.MustParseAddr("2001:db8::1")
	destination = netip.MustParseAddr("2001:db8::2")
)

func ipv6(next byte, payload ...[]byte) []byte {
	b := make([]byte, 40)
	b[0], b[6] = 6<<4, next
	copy(b[8:], source.AsSlice())
	copy(b[24:], destination.AsSlice())
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

func header(t mh.Type, sequence uint16) []byte {
	b := []byte{59, 1, byte(t), 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[6:], sequence)
	return b
}

func TestWhatIsQuoted(t *testing.T) {
	update := header(mh.TypeBindingUpdate, 0x1234)
	for name, c := range map[string]struct {
		b        []byte
		mobility bool
		inner    bool
	}{
		"update":                 {ipv6(mh.Protocol, update), true, false},
		"after a Home Address":   {ipv6(60, []byte{mh.Protocol, 0, 0, 0, 0, 0, 0, 0}, update), true, false},
		"in the first fragment":  {ipv6(44, []byte{mh.Protocol, 0, 0, 1, 0, 0, 0, 0}, update), true, false},
		"in another fragment":    {ipv6(44, []byte{mh.Protocol, 0, 0, 8, 0, 0, 0, 0}, update), false, false},
		"tunnelled":              {ipv6(41, ipv6(6)), false, true},
		"TCP":                    {ipv6(6, make([]byte, 20)), false, false},
		"a header that runs out": {ipv6(60, []byte{mh.Protocol, 9, 0, 0, 0, 0, 0, 0}, update), false, false},
	} {
		p := Parse(c.b)
		if p.Source != source || p.Destination != destination || p.Mobility != c.mobility || p.Tunnelled.IsValid() != c.inner {
			t.Errorf("%s: %+v", name, p)
		}
		if c.mobility && (p.Type != mh.TypeBindingUpdate || p.Sequence() != 0x1234) {
			t.Errorf("%s: type %d, sequence %#x", name, p.Type, p.Sequence())
		}
		for n := range c.b {
			if q := Parse(c.b[:n]); n < 40 && q.Source.IsValid() || q.Mobility && len(q.Header) < 8 {
				t.Errorf("%s, %d octets: %+v", name, n, q)
			}
		}
	}
	if p := Parse(append([]byte{4 << 4}, make([]byte, 60)...)); p.Source.IsValid() {
		t.Errorf("an IPv4 packet: %+v", p)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(ipv6(mh.Protocol, header(mh.TypeExperimental, 7)))
	f.Add(ipv6(41, ipv6(6)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p := Parse(b); p.Mobility {
			p.Sequence()
		}
	})
}
