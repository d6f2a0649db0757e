package binding

import (
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

func goldenRecord(t testing.TB) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(golden), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

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
