package routability

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling/mh"
)

var (
	home   = mh.KeygenToken{1, 2, 3, 4, 5, 6, 7, 8}
	careOf = mh.KeygenToken{9, 10, 11, 12, 13, 14, 15, 16}
	coa    = netip.MustParseAddr("2001:db8:2::2")
	cn     = netip.MustParseAddr("2001:db8:c::1")
)

func TestRFC6275_5_2_5_BindingManagementKey(t *testing.T) {
	for want, key := range map[string]Key{"2cc429832452134629f1f6d296ec8aefb4e4d8a9": BindingKey(home, careOf), "dd5783bcf1e9002bc00ad5b83a95ed6e4ebb4ad5": DeletionKey(home)} {
		if got := hex.EncodeToString(key[:]); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if s := fmt.Sprintf("%v %x %s", BindingKey(home, careOf), DeletionKey(home), &Key{}); s != "(secret) (secret) (secret)" {
		t.Errorf("a key prints: %s", s)
	}
}

// The authenticator is computed over both addresses and the message with a checksum of 0, and is the last thing in it.
func TestRFC6275_6_2_7_AuthenticatorGolden(t *testing.T) {
	update := &mh.BindingUpdate{Sequence: 0x1234, Acknowledge: true, Lifetime: 420 * time.Second, Options: mh.Options{&mh.NonceIndices{Home: 5, CareOf: 6}}}
	b, err := Sign(update, BindingKey(home, careOf), coa, cn)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != "3b0305000000123480000069040400050006050ceabb7ad2188ed7c868956967" {
		t.Errorf("got %s", got)
	}
	mh.SetChecksum(b, coa, cn)
	if !Verify(b, BindingKey(home, careOf), coa, cn) {
		t.Error("its own authenticator is not valid")
	}
	again, err := Sign(update, BindingKey(home, careOf), coa, cn)
	if err != nil || len(again) != len(b) {
		t.Errorf("signed twice: %x, %v", again, err)
	}
	for name, ok := range map[string]bool{
		"other key":            Verify(b, DeletionKey(home), coa, cn),
		"other care-of":        Verify(b, BindingKey(home, careOf), cn, cn),
		"other correspondent":  Verify(b, BindingKey(home, careOf), coa, coa),
		"cut short":            Verify(b[:len(b)-8], BindingKey(home, careOf), coa, cn),
		"nothing":              Verify(nil, BindingKey(home, careOf), coa, cn),
		"without the option":   Verify(bytes.Clone(b[:16]), BindingKey(home, careOf), coa, cn),
		"a change in the body": Verify(append(append(bytes.Clone(b[:9]), b[9]^1), b[10:]...), BindingKey(home, careOf), coa, cn),
	} {
		if ok {
			t.Errorf("%s: valid", name)
		}
	}
}
