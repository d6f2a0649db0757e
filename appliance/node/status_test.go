package node

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestCountersGetTheirNames(t *testing.T) {
	got := map[string]uint64{}
	addCounters(got, "x", struct {
		UpdatesSent, Malformed uint64
		Refused                map[string]uint64
		Inner                  struct{ BadChecksum uint64 }
		IPv4, NotIPv6          uint64
		NoDHPKnown             uint64
	}{1, 2, map[string]uint64{"not home subnet": 3}, struct{ BadChecksum uint64 }{4}, 5, 6, 7})
	want := map[string]uint64{
		"x-updates-sent": 1, "x-malformed": 2, "x-refused-not-home-subnet": 3, "x-inner-bad-checksum": 4, "x-ipv4": 5, "x-not-ipv6": 6,
		"x-no-dhp-known": 7,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSecretStays(t *testing.T) {
	dir := t.TempDir()
	a, err := secretOf(dir)
	if err != nil || len(a) != secretLength {
		t.Fatal(len(a), err)
	}
	if b, err := secretOf(dir); err != nil || string(b) != string(a) {
		t.Errorf("second secret differs, %v", err)
	}
	if i, err := os.Stat(filepath.Join(dir, "secret")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", i.Mode(), err)
	}
	if c, _ := secretOf(t.TempDir()); string(c) == string(a) {
		t.Error("two nodes have the same secret")
	}
}
