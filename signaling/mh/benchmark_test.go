package mh_test

import (
	"testing"
	"time"

	"kedge/signaling/mh"
)

// authenticated is the binding update that a mobile node with a shared key sends.
var authenticated = &mh.BindingUpdate{
	Sequence: 1, Acknowledge: true, HomeRegistration: true, Lifetime: time.Minute,
	Options: mh.Options{
		&mh.AlternateCareOf{Address: careOf},
		&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.org"},
		&mh.ReplayProtection{Timestamp: 0xe8d0e6c0_80000000},
		&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 256, Data: twelve},
	},
}

func BenchmarkParse(b *testing.B) {
	wire, err := mh.Append(nil, authenticated)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mh.Parse(wire); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := mh.Append(buf, authenticated); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { _, _ = mh.Append(buf, authenticated) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestChecksumDoesNotAllocate(t *testing.T) {
	b, err := mh.Append(nil, authenticated)
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		mh.SetChecksum(b, home, careOf)
		_ = mh.ChecksumValid(b, home, careOf)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
