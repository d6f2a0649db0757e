package mh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// selectorWriter writes ranges in the order of their flags, which stand in the four octets at b[at].
type selectorWriter struct {
	b    []byte
	at   int
	next uint32
	err  error
}

func newSelectorWriter(b []byte) *selectorWriter {
	return &selectorWriter{b: append(b, 0, 0, 0, 0), at: len(b), next: 1 << 31}
}

func writeRange[T any](w *selectorWriter, r *Range[T], compare func(a, b T) int, put func([]byte, T) ([]byte, error)) {
	start, end := w.next, w.next>>1
	w.next >>= 2
	if r == nil || w.err != nil {
		return
	}
	order := compare(r.First, r.Last)
	if order > 0 {
		w.err = errRange
		return
	}
	flags := start
	if w.b, w.err = put(w.b, r.First); w.err != nil {
		return
	}
	if order < 0 {
		flags |= end
		if w.b, w.err = put(w.b, r.Last); w.err != nil {
			return
		}
	}
	binary.BigEndian.PutUint32(w.b[w.at:], binary.BigEndian.Uint32(w.b[w.at:])|flags)
}

// selectorReader reads what selectorWriter writes; the flags of fields that have been read are shifted out.
type selectorReader struct {
	flags uint32
	d     []byte
	err   error
}

var (
	errRange    = errors.New("range ends before it begins")
	errRangeEnd = errors.New("end of a range without its start")
)

func readRange[T any](r *selectorReader, size int, get func([]byte) T, compare func(a, b T) int) *Range[T] {
	start, end := r.flags&(1<<31) != 0, r.flags&(1<<30) != 0
	r.flags <<= 2
	switch {
	case r.err != nil || !start && !end:
		return nil
	case !start:
		r.err = errRangeEnd
		return nil
	case len(r.d) < size || end && len(r.d) < 2*size:
		r.err = errDataLength
		return nil
	}
	v := &Range[T]{get(r.d), get(r.d)}
	r.d = r.d[size:]
	if end {
		v.Last = get(r.d)
		r.d = r.d[size:]
		if compare(v.First, v.Last) > 0 {
			r.err = errRange
			return nil
		}
	}
	return v
}

func appendIPv4(b []byte, a netip.Addr) ([]byte, error) {
	if !a.Is4() {
		return b, fmt.Errorf("%v is not an IPv4 address", a)
	}
	return append(b, a.AsSlice()...), nil
}

func parseIPv4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

func appendNumber8(b []byte, v uint8) ([]byte, error) { return append(b, v), nil }

func appendNumber16(b []byte, v uint16) ([]byte, error) {
	return binary.BigEndian.AppendUint16(b, v), nil
}

func appendNumber24(b []byte, v uint32) ([]byte, error) {
	if v > 0xffffff {
		return b, fmt.Errorf("flow label %#x has more than 24 bits", v)
	}
	return binary.BigEndian.AppendUint32(b, v), nil
}

func appendNumber32(b []byte, v uint32) ([]byte, error) {
	return binary.BigEndian.AppendUint32(b, v), nil
}

func parseNumber8(b []byte) uint8   { return b[0] }
func parseNumber24(b []byte) uint32 { return binary.BigEndian.Uint32(b) & 0xffffff }
