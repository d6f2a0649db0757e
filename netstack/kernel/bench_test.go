package kernel

import (
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

// BenchmarkChange makes a change and undoes it: two lines of the journal, two netlink requests.
func BenchmarkChange(b *testing.B) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine, and its namespace with it
	own, err := netns.New()
	if err != nil {
		b.Skipf("needs the right to make a network namespace: %v", err)
	}
	defer own.Close()
	j, err := Open(filepath.Join(b.TempDir(), "journal"))
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	address := netip.MustParseAddr("2001:db8::1")
	for b.Loop() {
		c, err := j.AddBlackhole(address)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Undo(); err != nil {
			b.Fatal(err)
		}
	}
}
