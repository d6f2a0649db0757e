package flow

import (
	"testing"
	"unsafe"
)

func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(Flow{}); n > 160 {
		t.Errorf("a flow takes %d octets, more than the allocator's class of 160", n)
	}
}
