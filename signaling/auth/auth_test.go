package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/signaling/mh"
)

var (
	careOf = netip.MustParseAddr("2001:db8:2::9")
	home   = netip.MustParseAddr("2001:db8:1::7")
	noon   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	// half is noon and a half second: 0x80000000 in the lower half.
	half = mh.NTPTime(0xed4ea8c080000000)
)

func key() Key {
	k := make(Key, 16)
	for i := range k {
		k[i] = byte(i)
	}
	return k
}

func association(a Algorithm) Association {
	return Association{SPI: 0x1234, Algorithm: a, Key: key(), Identifier: "mn@example.net"}
}

func update() *mh.BindingUpdate {
	return &mh.BindingUpdate{Sequence: 0x1234, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute}
}

func known(a Association) func(uint32) (Association, bool) {
	return func(spi uint32) (Association, bool) { return a, spi == a.SPI }
}

// The golden messages were made without this project, by
//
//	import hmac, hashlib, ipaddress, struct
//	def a(s): return ipaddress.IPv6Address(s).packed
//	h = bytes([59,0,5,0,0,0]) + struct.pack(">HHH", 0x1234, 0xc000, 15)          # A, H; 60 s
//	h += bytes([8,15,1]) + b"mn@example.net" + bytes([1,3,0,0,0])                # MN-ID; to 8n+2
//	h += bytes([10,8]) + struct.pack(">Q", 0xed4ea8c080000000) + bytes([0])      # replay protection; to 4n+1
//	for n, alg in (12, hashlib.sha1), (16, hashlib.sha256):
//	    m = h + bytes([9,5+n,1]) + struct.pack(">I", 0x1234)
//	    pad = -(len(m)+n) % 8
//	    m = bytes([59, (len(m)+n+pad)//8-1]) + m[2:]
//	    mac = hmac.new(bytes(range(16)), a("2001:db8:2::9")+a("2001:db8:1::7")+m, alg).digest()[:n]
//	    print((m + mac + {0: b"", 4: bytes([1,2,0,0])}[pad]).hex())
var golden = map[Algorithm]string{
	HMACSHA1:   "3b07050000001234c000000f080f016d6e406578616d706c652e6e657401030000000a08ed4ea8c0800000000009110100001234a5fe9a23201874c1fb67be37",
	HMACSHA256: "3b08050000001234c000000f080f016d6e406578616d706c652e6e657401030000000a08ed4ea8c08000000000091501000012346d9665597f29c5787f392f4445ec811201020000",
}

func TestRFC4285_5_1_AuthenticationDataGolden(t *testing.T) {
	for algorithm, want := range golden {
		a := association(algorithm)
		got, err := Sign(update(), a, careOf, home, half)
		if err != nil {
			t.Fatal(err)
		}
		if hex.EncodeToString(got) != want {
			t.Errorf("%v:\n%x, want\n%s", algorithm, got, want)
		}
		octets, _ := hex.DecodeString(want)
		// "The Checksum field in the Mobility Header MUST be set to 0 to calculate the Mobility Data."
		mh.SetChecksum(octets, home, careOf)
		m, err := mh.Parse(octets)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(octets, m, known(a), careOf, home); err != nil {
			t.Errorf("%v: %v", algorithm, err)
		}
		if s, err := Timestamp(*m.OptionList()); s != half || err != nil {
			t.Errorf("timestamp %x, %v", s, err)
		}
	}
}

func TestVerifyRefusesEveryChangedOctet(t *testing.T) {
	for algorithm := range golden {
		a := association(algorithm)
		good, err := Sign(update(), a, careOf, home, half)
		if err != nil {
			t.Fatal(err)
		}
		_, end, err := mh.AuthenticatorRange(good)
		if err != nil {
			t.Fatal(err)
		}
		for i := range end {
			if i == 4 || i == 5 {
				continue // the checksum, which counts as 0
			}
			bad := append([]byte(nil), good...)
			bad[i] ^= 0x40
			m, err := mh.Parse(bad)
			if err != nil {
				continue
			}
			if _, err := Verify(bad, m, known(a), careOf, home); err == nil {
				t.Errorf("%v: octet %d changed, and still verified", algorithm, i)
			}
		}
		m, _ := mh.Parse(good)
		for name, pair := range map[string][2]netip.Addr{"care-of": {home, home}, "home": {careOf, careOf}} {
			if _, err := Verify(good, m, known(a), pair[0], pair[1]); !errors.Is(err, ErrAuthenticator) {
				t.Errorf("other %s address: %v", name, err)
			}
		}
		b := a
		b.Key = make(Key, 16)
		if got, err := Verify(good, m, known(b), careOf, home); !errors.Is(err, ErrAuthenticator) || got.SPI != a.SPI {
			t.Errorf("other key: %v, association %d", err, got.SPI)
		}
	}
}

func TestVerifyRefusesTruncatedAuthenticationData(t *testing.T) {
	for n := range 12 {
		m := update()
		m.Options = mh.Options{&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 0x1234, Data: make([]byte, n)}}
		b, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(b, m, known(association(HMACSHA1)), careOf, home); !errors.Is(err, ErrAuthenticator) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

func TestRFC4285_5_OptionIsLastAndSingle(t *testing.T) {
	option := func(subtype uint8) mh.Option {
		return &mh.MessageAuthentication{Subtype: subtype, SPI: 0x1234, Data: make([]byte, 12)}
	}
	for name, test := range map[string]struct {
		options mh.Options
		want    error
	}{
		"none":            {nil, ErrMissing},
		"MN-AAA alone":    {mh.Options{option(mh.AuthenticationMNAAA)}, ErrMissing},
		"twice":           {mh.Options{option(mh.AuthenticationMNHA), option(mh.AuthenticationMNHA)}, ErrPosition},
		"MN-AAA before":   {mh.Options{option(mh.AuthenticationMNAAA), option(mh.AuthenticationMNHA)}, ErrPosition},
		"MN-AAA after":    {mh.Options{option(mh.AuthenticationMNHA), option(mh.AuthenticationMNAAA)}, ErrPosition},
		"something after": {mh.Options{option(mh.AuthenticationMNHA), &mh.ReplayProtection{Timestamp: half}}, ErrPosition},
	} {
		m := update()
		m.Options = test.options
		b, err := mh.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(b, m, known(association(HMACSHA1)), careOf, home); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestRFC4285_5_1_1_UnknownAssociation(t *testing.T) {
	a := association(HMACSHA1)
	b, err := Sign(update(), a, careOf, home, half)
	if err != nil {
		t.Fatal(err)
	}
	m, _ := mh.Parse(b)
	none := func(uint32) (Association, bool) { return Association{}, false }
	if _, err := Verify(b, m, none, careOf, home); !errors.Is(err, ErrAssociation) {
		t.Errorf("no association: %v", err)
	}
	if spi, ok := SPI(*m.OptionList()); spi != a.SPI || !ok {
		t.Errorf("SPI = %d, %v", spi, ok)
	}
}

func TestRFC4283_3_2_IdentifierComesBeforeAuthentication(t *testing.T) {
	b, err := Sign(update(), association(HMACSHA1), careOf, home, half)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mh.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	options := *m.OptionList()
	id, ok := options[0].(*mh.MobileNodeIdentifier)
	if !ok || id.Subtype != mh.IdentifierNAI || id.Identifier != "mn@example.net" {
		t.Errorf("first option %+v", options[0])
	}
	if _, ok := options[len(options)-1].(*mh.MessageAuthentication); !ok {
		t.Errorf("last option %+v", options[len(options)-1])
	}
}

func TestSignReplacesItsOptionsAndKeepsTheRest(t *testing.T) {
	m := update()
	m.Options = mh.Options{&mh.AlternateCareOf{Address: careOf}, &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "other@example.net"}}
	a := association(HMACSHA256)
	for _, timestamp := range []mh.NTPTime{half, half + 1, 0} {
		b, err := Sign(m, a, careOf, home, timestamp)
		if err != nil {
			t.Fatal(err)
		}
		back, err := mh.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(b, back, known(a), careOf, home); err != nil {
			t.Error(err)
		}
		want := 4
		if timestamp == 0 {
			want = 3
		}
		if n := len(*back.OptionList()); n != want {
			t.Errorf("%d options, want %d", n, want)
		}
		id, _ := mh.Find[*mh.MobileNodeIdentifier](*back.OptionList())
		if id == nil || id.Identifier != "other@example.net" {
			t.Errorf("MN-ID %v", id)
		}
		if got := CareOf(*back.OptionList(), home); got != careOf {
			t.Errorf("care-of %v", got)
		}
	}
	if got := CareOf(nil, home); got != home {
		t.Errorf("care-of without option %v", got)
	}
	if _, err := Sign(update(), Association{SPI: 300}, careOf, home, 0); err == nil {
		t.Error("signed with no algorithm")
	}
}

func TestRFC4285_8_StatusCodes(t *testing.T) {
	for err, want := range map[error]mh.Status{ErrStale: 144, ErrNoTimestamp: 145, ErrAuthenticator: 146} {
		if got, ok := Status(fmt.Errorf("wrapped: %w", err)); got != want || !ok {
			t.Errorf("%v: %d, %v", err, got, ok)
		}
	}
	for _, err := range []error{ErrMissing, ErrPosition, ErrAssociation, errors.New("other")} {
		if got, ok := Status(err); ok {
			t.Errorf("%v has status %d", err, got)
		}
	}
}

func TestRFC4285_6_TimestampWithinWindowAndLaterThanLast(t *testing.T) {
	at := func(d time.Duration) mh.NTPTime { return mh.NTPTimeOf(noon.Add(d)) }
	a := Association{}
	for _, test := range []struct {
		stamp, last mh.NTPTime
		fresh       bool
	}{
		{at(0), 0, true},
		{at(7 * time.Second), 0, true},
		{at(-7 * time.Second), 0, true},
		{at(7*time.Second + time.Millisecond), 0, false},
		{at(-7*time.Second - time.Millisecond), 0, false},
		{at(0), at(0) - 1, true},
		{at(0), at(0), false},
		{at(0), at(0) + 1, false},
		{0, 0, false},
		{^mh.NTPTime(0), 0, false},
	} {
		err := a.Fresh(test.stamp, test.last, noon)
		if (err == nil) != test.fresh || err != nil && !errors.Is(err, ErrStale) {
			t.Errorf("%x after %x: %v", test.stamp, test.last, err)
		}
	}
	a.Window = 3 * time.Second
	if err := a.Fresh(at(4*time.Second), 0, noon); err == nil {
		t.Error("4 s off is within 3 s")
	}
	if a.Memory() != 6*time.Second {
		t.Errorf("memory %v", a.Memory())
	}
	// The NTP era ends on 7 February 2036 at 06:28:16.
	rollover := time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC)
	if err := a.Fresh(mh.NTPTimeOf(rollover.Add(time.Second)), mh.NTPTimeOf(rollover.Add(-time.Second)), rollover); err != nil {
		t.Errorf("at the end of the era: %v", err)
	}
}

func TestRFC4285_6_MobileNodeResynchronises(t *testing.T) {
	for _, off := range []time.Duration{0, time.Hour, -time.Hour, 20 * 365 * 24 * time.Hour, -30 * 365 * 24 * time.Hour} {
		var c Clock
		own := noon.Add(off)
		refused := c.Stamp(own)
		reply := MismatchReply(refused, noon)
		// "copies only the low-order 32 bits into the BA, and supplies the high-order 32 bits from its own time of day"
		if uint32(reply) != uint32(refused) || reply>>32 != mh.NTPTimeOf(noon)>>32 {
			t.Fatalf("reply %x to %x", reply, refused)
		}
		c.Resynchronise(reply, own)
		next := c.Stamp(own.Add(10 * time.Millisecond))
		if err := (Association{Window: MinimumWindow}).Fresh(next, 0, noon.Add(10*time.Millisecond)); err != nil {
			t.Errorf("clock off by %v: %v", off, err)
		}
	}
}

func TestRFC4285_6_TimestampsAlwaysIncrease(t *testing.T) {
	var c Clock
	last := c.Stamp(noon)
	for i, now := range []time.Time{noon, noon, noon.Add(-time.Second), noon.Add(time.Nanosecond), noon.Add(time.Second)} {
		s := c.Stamp(now)
		if !later(s, last) {
			t.Errorf("%d: %x after %x", i, s, last)
		}
		last = s
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	a := Association{SPI: 256, Algorithm: HMACSHA1, Key: Key("hunter2hunter2hu")}
	j, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	text := string(j) + fmt.Sprintf("%v %+v %#v %s %q %x %d %v", a, a, a, a.Key, a.Key, a.Key, a.Key, &a)
	for _, leak := range []string{"hunter2", hex.EncodeToString(a.Key[:4]), "104 117", "0x68", "aHVudGVy"} {
		if strings.Contains(text, leak) {
			t.Errorf("%q is in %s", leak, text)
		}
	}
}

func FuzzVerify(f *testing.F) {
	for algorithm := range golden {
		b, err := Sign(update(), association(algorithm), careOf, home, half)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	a := association(HMACSHA1)
	a.Key = Key("a key that nothing here was signed with")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := mh.Parse(b)
		if err != nil {
			return
		}
		if _, err := Verify(b, m, known(a), careOf, home); err == nil {
			t.Errorf("%x verified", b)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []Algorithm{HMACSHA1, HMACSHA256} {
		b.Run(algorithm.String(), func(b *testing.B) {
			a := association(algorithm)
			octets, err := Sign(update(), a, careOf, home, half)
			if err != nil {
				b.Fatal(err)
			}
			m, err := mh.Parse(octets)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Verify(octets, m, known(a), careOf, home); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestHMACIsTheLibrarys compares with crypto/hmac, over keys and messages on both sides of all lengths that make a
// difference.
func TestHMACIsTheLibrarys(t *testing.T) {
	for algorithm, newHash := range map[Algorithm]func() hash.Hash{HMACSHA1: sha1.New, HMACSHA256: sha256.New} {
		for _, keyLength := range []int{0, 1, 16, 32, 63, 64, 65, 200} {
			for _, length := range []int{6, 7, 64, shortHeader - 1, shortHeader, shortHeader + 1, 2048} {
				key, header := make(Key, keyLength), make([]byte, length)
				for i := range key {
					key[i] = byte(3*i + 1)
				}
				for i := range header {
					header[i] = byte(5*i + 2)
				}
				h := hmac.New(newHash, key)
				a, b := careOf.As16(), home.As16()
				h.Write(a[:])
				h.Write(b[:])
				h.Write(header[:4])
				h.Write([]byte{0, 0})
				h.Write(header[6:])
				want := h.Sum(nil)
				if got, n := algorithm.hmac(key, careOf, home, header); !bytes.Equal(got[:n], want) {
					t.Fatalf("%v, key of %d octets, header of %d: %x, want %x", algorithm, keyLength, length, got[:n], want)
				}
			}
		}
	}
}

func TestVerifyDoesNotAllocate(t *testing.T) {
	for _, algorithm := range []Algorithm{HMACSHA1, HMACSHA256} {
		a := association(algorithm)
		octets, err := Sign(update(), a, careOf, home, half)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mh.Parse(octets)
		if err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(100, func() {
			if _, err := Verify(octets, m, func(uint32) (Association, bool) { return a, true }, careOf, home); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("%v: %v allocations", algorithm, n)
		}
	}
}
