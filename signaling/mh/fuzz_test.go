package mh_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kedge/signaling/mh"
)

// FuzzParse checks that whatever Parse accepts is written and read again as the same message, and that only what it
// rejects for an option comes with both a message and an error.
func FuzzParse(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.wire))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m, err := mh.Parse(b)
		if !bytes.Equal(b, before) {
			t.Fatal("Parse changed its input")
		}
		_, _, _ = mh.AuthenticatorRange(b)
		_, _, _ = mh.AuthorizationRange(b)
		mh.ChecksumValid(b, home, careOf)
		if err != nil {
			var option *mh.OptionError
			if m != nil && !errors.As(err, &option) {
				t.Fatalf("message with %v", err)
			}
			return
		}
		again, err := mh.Append(nil, m)
		if err != nil {
			// A message that only just fitted may need more padding than its sender gave it.
			if len(b) > 1024 {
				return
			}
			t.Fatalf("Append of %x: %v", b, err)
		}
		m2, err := mh.Parse(again)
		if err != nil {
			t.Fatalf("Parse of %x, from %x: %v", again, b, err)
		}
		if d := cmp.Diff(m, m2, byValue); d != "" {
			t.Fatalf("%x and %x (-first +second):\n%s", b, again, d)
		}
	})
}

// FuzzExtension checks that the extension headers are parsed without panic and that home addresses that come out of them
// are routable.
func FuzzExtension(f *testing.F) {
	f.Add(mh.AppendHomeAddressOption(nil, mh.Protocol, home))
	f.Add(mh.AppendType2Routing(nil, mh.Protocol, home))
	f.Add([]byte{58, 0, 0, 0xde, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := mh.ParseHomeAddressOption(b)
		if err == nil && d.HomeAddress.IsValid() && !mh.UnicastRoutable(d.HomeAddress) || d.Length > len(b) {
			t.Errorf("%+v", d)
		}
		if _, addr, err := mh.ParseType2Routing(b); err == nil && !mh.UnicastRoutable(addr) {
			t.Error(addr)
		}
	})
}
