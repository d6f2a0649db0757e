package binding

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var recorded = Binding{
	Home:      netip.MustParsePrefix("2001:db8:1::7/128"),
	CareOf:    netip.MustParseAddr("2001:db8:2::9"),
	Owner:     "mn@example.net",
	Networks:  []netip.Prefix{netip.MustParsePrefix("2001:db8:40::/48")},
	Flags:     HomeRegistration | MobileRouter,
	Sequence:  0x1234,
	Timestamp: 0xed4a55c080000000,
	Lifetime:  240 * time.Second,
	Since:     time.UnixMilli(1772366400123),
	Expires:   time.UnixMilli(1772366640123),
}

const golden = `01 0005 1234 003c ed4a55c080000000 0000019ca9450a7b 0000019ca948b3fb
	20010db8000200000000000000000009 0e 6d6e406578616d706c652e6e6574 01
	20010db8004000000000000000000000 30`

func goldenRecord(t testing.TB) []byte { return unhex(t, golden) }

func TestRecordGolden(t *testing.T) {
	got, err := AppendRecord(nil, &recorded)
	if err != nil {
		t.Fatal(err)
	}
	if want := goldenRecord(t); hex.EncodeToString(got) != hex.EncodeToString(want) {
		t.Errorf("record\n%x, want\n%x", got, want)
	}
	back, err := ParseRecord(recordKey(recorded.Home), got)
	if diff := gocmp.Diff(recorded, back, compare); err != nil || diff != "" {
		t.Errorf("ParseRecord: %v\n%s", err, diff)
	}
}

// overUDP are bindings over IPv4 and IPv6 with their records of version 2, put together by hand.
var overUDP = []struct {
	binding Binding
	wire    string
}{
	{
		Binding{
			Home:      recorded.Home,
			CareOf:    netip.MustParseAddr("203.0.113.5"),
			Port:      61234,
			Local:     netip.MustParseAddr("192.0.2.1"),
			Flags:     HomeRegistration,
			Sequence:  0x1234,
			Timestamp: 0xed4a55c080000000,
			Lifetime:  240 * time.Second,
			Since:     time.UnixMilli(1772366400123),
			Expires:   time.UnixMilli(1772366640123),
		},
		`02 0001 1234 003c ed4a55c080000000 0000019ca9450a7b 0000019ca948b3fb
		00000000000000000000ffffcb007105 ef32 00000000000000000000ffffc0000201 00 00`,
	},
	{
		Binding{
			Home:     recorded.Home,
			CareOf:   netip.MustParseAddr("2001:db8:2::9"),
			Port:     4191,
			Owner:    "mn",
			Networks: recorded.Networks,
			Lifetime: 4 * time.Second,
			Since:    time.UnixMilli(1772366400123),
			Expires:  time.UnixMilli(1772366640123),
		},
		`02 0000 0000 0001 0000000000000000 0000019ca9450a7b 0000019ca948b3fb
		20010db8000200000000000000000009 105f 00000000000000000000000000000000 02 6d6e 01
		20010db8004000000000000000000000 30`,
	},
}

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecordOverUDP(t *testing.T) {
	for _, c := range overUDP {
		want := unhex(t, c.wire)
		got, err := AppendRecord(nil, &c.binding)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("record\n%x, %v, want\n%x", got, err, want)
		}
		back, err := ParseRecord(recordKey(c.binding.Home), want)
		if diff := gocmp.Diff(c.binding, back, compare); err != nil || diff != "" {
			t.Errorf("ParseRecord: %v\n%s", err, diff)
		}
		for n := range want {
			if _, err := ParseRecord(recordKey(c.binding.Home), want[:n]); !errors.Is(err, ErrRecord) {
				t.Errorf("first %d octets: %v", n, err)
			}
		}
		want[47], want[48] = 0, 0
		if _, err := ParseRecord(recordKey(c.binding.Home), want); !errors.Is(err, ErrRecord) {
			t.Errorf("port 0: %v", err)
		}
	}
}

func TestRecordErrors(t *testing.T) {
	record, key := goldenRecord(t), recordKey(recorded.Home)
	for n := range record {
		if _, err := ParseRecord(key, record[:n]); !errors.Is(err, ErrRecord) {
			t.Errorf("first %d octets: %v", n, err)
		}
	}
	if _, err := ParseRecord(key, append(record, 0)); !errors.Is(err, ErrRecord) {
		t.Errorf("one octet more: %v", err)
	}
	if _, err := ParseRecord(key[:16], record); !errors.Is(err, ErrRecord) {
		t.Errorf("short key: %v", err)
	}
	other := goldenRecord(t)
	other[0] = 3
	if _, err := ParseRecord(key, other); !errors.Is(err, ErrRecord) {
		t.Errorf("version 3: %v", err)
	}
	other[0], other[len(other)-1] = 1, 129
	if _, err := ParseRecord(key, other); !errors.Is(err, ErrRecord) {
		t.Errorf("network with prefix length 129: %v", err)
	}
	if _, err := AppendRecord(nil, &Binding{Owner: strings.Repeat("x", 256)}); !errors.Is(err, ErrRecord) {
		t.Errorf("owner of 256 octets: %v", err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(recordKey(recorded.Home), goldenRecord(f))
	for _, c := range overUDP {
		f.Add(recordKey(recorded.Home), unhex(f, c.wire))
	}
	f.Fuzz(func(t *testing.T, key, record []byte) {
		b, err := ParseRecord(key, record)
		if err != nil {
			return
		}
		again, err := AppendRecord(nil, &b)
		if err != nil || string(again) != string(record) {
			t.Errorf("%x came back as %x, %v", record, again, err)
		}
	})
}
