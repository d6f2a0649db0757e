package flow

import (
	"testing"
	"unsafe"
)

func TestWhatPacketsTouchIsInTwoCacheLines(t *testing.T) {
	if n := unsafe.Offsetof(Flow{}.rule); n != 96 || unsafe.Sizeof(bucket{}) != 64 {
		t.Errorf("%d octets, and a bucket of %d", n, unsafe.Sizeof(bucket{}))
	}
	if n := unsafe.Sizeof(shard{}); n%64 != 0 {
		t.Errorf("a shard has %d octets", n)
	}
}

func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(Flow{}); n > 160 {
		t.Errorf("a flow takes %d octets, more than the allocator's class of 160", n)
	}
}
