package mh_test

import (
	"encoding/binary"
	"testing"
	"time"

	"kedge/signaling/mh"
)

func TestNTPTime(t *testing.T) {
	for _, c := range []struct {
		ntp  mh.NTPTime
		time string
	}{
		// 2,208,988,800 s from 1900 to 1970.
		{0x83aa7e80_00000000, "1970-01-01T00:00:00Z"},
		{0xbc17c200_80000000, "2000-01-01T00:00:00.5Z"},
		{0xffffffff_c0000000, "2036-02-07T06:28:15.75Z"},
		{0x00000000_40000000, "2036-02-07T06:28:16.25Z"},
	} {
		want, err := time.Parse(time.RFC3339Nano, c.time)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ntp.Time(); !got.Equal(want) {
			t.Errorf("%#x is %v, want %v", uint64(c.ntp), got.UTC(), want)
		}
		if got := mh.NTPTimeOf(want); got != c.ntp {
			t.Errorf("%v is %#x, want %#x", want, uint64(got), uint64(c.ntp))
		}
	}
	// Later times have greater values, down to the nanosecond.
	at := time.Unix(1_800_000_000, 999_999_990)
	for range 20 {
		next := at.Add(1)
		if mh.NTPTimeOf(next) <= mh.NTPTimeOf(at) {
			t.Errorf("NTP time of %v is not after that of %v", next, at)
		}
		at = next
	}
}

// A home agent or local mobility anchor sends a timestamp back as it came: every fraction survives time.Time.
func TestTimestampKeepsItsOctets(t *testing.T) {
	b := unhex(t, "3b020000 00000000 01001b08 00006500 00000000 01020000")
	for f := range 1 << 16 {
		binary.BigEndian.PutUint16(b[18:], uint16(f))
		m, err := mh.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := mh.Append(nil, m)
		if err != nil || string(got) != string(b) {
			t.Fatalf("fraction %d: %v\n got %x\nwant %x", f, err, got, b)
		}
	}
	// Rounding up carries into the seconds.
	got, err := mh.Append(nil, &mh.BindingRefreshRequest{Options: mh.Options{
		&mh.Timestamp{Time: time.Unix(0x65000000, 999_999_999)},
	}})
	if want := unhex(t, "3b020000 00000000 01001b08 00006500 00010000 01020000"); err != nil || string(got) != string(want) {
		t.Errorf("%v\n got %x\nwant %x", err, got, want)
	}
}
