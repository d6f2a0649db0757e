package binding

import (
	"net/netip"
	"testing"
)

func TestLocalsAreKeptOnceAndBounded(t *testing.T) {
	l := locals{numbers: make(map[netip.Addr]uint16)}
	if n := l.number(netip.Addr{}); n != 0 || l.address(0).IsValid() {
		t.Errorf("no address has number %d", n)
	}
	address := func(i int) netip.Addr { return careOf(i) }
	for i := range 1<<16 - 1 {
		if n := l.number(address(i)); int(n) != i+1 || l.address(n) != address(i) {
			t.Fatalf("address %d has number %d, which is %v", i, n, l.address(n))
		}
	}
	if n := l.number(address(7)); n != 8 {
		t.Errorf("again it has number %d", n)
	}
	if n := l.number(address(1 << 16)); n != 0 {
		t.Errorf("one too many has number %d", n)
	}
}
