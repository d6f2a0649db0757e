package ticket

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	dhp    = netip.MustParseAddr("2001:db8:d::1")
	expiry = time.Unix(1772366400, 0)
	id     = &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.net"}
	kd     = octets(0, 32)
	mnha   = octets(64, 16)
)

func octets(first byte, n int) auth.Key {
	k := make(auth.Key, n)
	for i := range k {
		k[i] = first + byte(i)
	}
	return k
}

// The golden values were made without this project, by
//
//	import hmac, hashlib, ipaddress, struct
//	from cryptography.hazmat.primitives.ciphers.aead import AESGCM
//	def hkdf(k, info):                                                            # RFC 5869, one block
//	    prk = hmac.new(bytes(32), k, hashlib.sha256).digest()
//	    return hmac.new(prk, info + b"\x01", hashlib.sha256).digest()
//	dhp, exp = ipaddress.IPv6Address("2001:db8:d::1").packed, struct.pack(">I", 1772366400)
//	id = b"\x01mn@example.net"
//	ks = hkdf(bytes(range(32)), b"kedge ticket 1" + dhp + exp + id)
//	seal = hkdf(bytes(range(64, 80)), b"kedge seal 1")
//	print(ks.hex(), AESGCM(seal).encrypt(bytes(range(100, 112)), ks, struct.pack(">I", 0x1234) + exp + dhp + id).hex())
const (
	goldenKey    = "586861c3f3acb9df284b7d25c9d0acd256c47d3223f627f0441eb78531deee09"
	goldenSealed = "87235f35de197d89a9a351f53967d1dab7b44f4cc097ee92181cdf64b8bab541a9cf1dc781f6213302a9753e95aab940"
)

// golden is the golden ticket as it is sent.
func golden(t testing.TB) *mh.KeyTicket {
	t.Helper()
	o := &mh.KeyTicket{SPI: 0x1234, Expiry: expiry, Address: dhp, Nonce: [12]byte(octets(100, 12))}
	sealed, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	copy(o.Sealed[:], sealed)
	return o
}

func TestGoldenSessionKey(t *testing.T) {
	if got := hex.EncodeToString(SessionKey(kd, dhp, expiry, id)); got != goldenKey {
		t.Errorf("%s, want %s", got, goldenKey)
	}
	// Fractions of a second are not sent, so they must not count.
	if got := hex.EncodeToString(SessionKey(kd, dhp, expiry.Add(time.Second-1), id)); got != goldenKey {
		t.Error("a fraction of a second makes another key")
	}
}

func TestGoldenTicketOpens(t *testing.T) {
	got, err := Open(mnha, golden(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got.Key) != goldenKey || got.SPI != 0x1234 || !got.Expiry.Equal(expiry) || got.DHP != dhp {
		t.Errorf("%+v", got)
	}
}

func TestEverythingChangesTheSessionKey(t *testing.T) {
	seen := map[string]string{}
	for name, k := range map[string]auth.Key{
		"as it is":      SessionKey(kd, dhp, expiry, id),
		"other Kd":      SessionKey(mnha, dhp, expiry, id),
		"other DHP":     SessionKey(kd, dhp.Next(), expiry, id),
		"other expiry":  SessionKey(kd, dhp, expiry.Add(time.Second), id),
		"other subtype": SessionKey(kd, dhp, expiry, &mh.MobileNodeIdentifier{Subtype: 2, Identifier: id.Identifier}),
		"other MN-ID":   SessionKey(kd, dhp, expiry, &mh.MobileNodeIdentifier{Subtype: 1, Identifier: "mn@example.org"}),
	} {
		if other, twice := seen[string(k)]; twice || len(k) != KeySize {
			t.Errorf("%s: %d octets, the same as %q", name, len(k), other)
		}
		seen[string(k)] = name
	}
}

func TestSealAndOpen(t *testing.T) {
	want := Ticket{SPI: 300, Expiry: expiry, DHP: dhp, Key: SessionKey(kd, dhp, expiry, id)}
	first, err := Seal(mnha, want, id)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Seal(mnha, want, id)
	if err != nil {
		t.Fatal(err)
	}
	if first.Nonce == second.Nonce || first.Sealed == second.Sealed {
		t.Error("the same nonce twice")
	}
	// What arrives is what was written.
	b, err := mh.Append(nil, &mh.DMIPv6{Subtype: mh.DHPQueryReply, Options: mh.Options{first}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := mh.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := mh.Find[*mh.KeyTicket](*m.OptionList())
	got, err := Open(mnha, o, id)
	if err != nil || string(got.Key) != string(want.Key) || got.SPI != want.SPI || !got.Expiry.Equal(expiry) || got.DHP != dhp {
		t.Errorf("%+v, %v", got, err)
	}
	if s := Short(got); s.Address.IsValid() || s.SPI != 300 || !s.Expiry.Equal(expiry) || s.Sealed != [48]byte{} {
		t.Errorf("short ticket %+v", s)
	}
}

func TestTamperedTicketsDoNotOpen(t *testing.T) {
	changes := map[string]func(*mh.KeyTicket){
		"SPI":     func(o *mh.KeyTicket) { o.SPI++ },
		"expiry":  func(o *mh.KeyTicket) { o.Expiry = o.Expiry.Add(time.Second) },
		"address": func(o *mh.KeyTicket) { o.Address = o.Address.Next() },
		"short":   func(o *mh.KeyTicket) { o.Address = netip.Addr{} },
	}
	for i := range 12 {
		changes[fmt.Sprintf("nonce octet %d", i)] = func(o *mh.KeyTicket) { o.Nonce[i] ^= 1 }
	}
	for i := range 48 {
		changes[fmt.Sprintf("sealed octet %d", i)] = func(o *mh.KeyTicket) { o.Sealed[i] ^= 0x80 }
	}
	for name, change := range changes {
		o := golden(t)
		change(o)
		if got, err := Open(mnha, o, id); !errors.Is(err, ErrOpen) || got.Key != nil {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	for name, other := range map[string]*mh.MobileNodeIdentifier{
		"subtype": {Subtype: 2, Identifier: id.Identifier}, "identifier": {Subtype: 1, Identifier: "mn@example.org"},
	} {
		if _, err := Open(mnha, golden(t), other); !errors.Is(err, ErrOpen) {
			t.Errorf("other %s: %v", name, err)
		}
	}
	if _, err := Open(kd, golden(t), id); !errors.Is(err, ErrOpen) {
		t.Errorf("other MN-HA key: %v", err)
	}
}

func TestSealRefusesWhatFitsNoTicket(t *testing.T) {
	good := Ticket{SPI: 300, Expiry: expiry, DHP: dhp, Key: octets(0, KeySize)}
	for name, change := range map[string]func(*Ticket){
		"short key":    func(t *Ticket) { t.Key = t.Key[1:] },
		"no key":       func(t *Ticket) { t.Key = nil },
		"no address":   func(t *Ticket) { t.DHP = netip.Addr{} },
		"IPv4 address": func(t *Ticket) { t.DHP = netip.MustParseAddr("192.0.2.1") },
		"before 1970":  func(t *Ticket) { t.Expiry = time.Time{} },
		"after 2106":   func(t *Ticket) { t.Expiry = time.Unix(1<<32, 0) },
	} {
		bad := good
		change(&bad)
		if o, err := Seal(mnha, bad, id); err == nil || o != nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	got, err := Open(mnha, golden(t), id)
	if err != nil {
		t.Fatal(err)
	}
	j, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{fmt.Sprint(got), fmt.Sprintf("%+v %#v %x %s %d", got, got, got, got.Key, got.Key), string(j)} {
		if !strings.Contains(s, "(secret)") || strings.Contains(s, goldenKey[:16]) || strings.Contains(s, "88 104 97 195") {
			t.Errorf("printed: %s", s)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		t := Ticket{SPI: 300, Expiry: expiry, DHP: dhp, Key: SessionKey(kd, dhp, expiry, id)}
		if _, err := Seal(mnha, t, id); err != nil {
			b.Fatal(err)
		}
	}
}
