package scale

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The aim is 1,000,000 bindings in 512 MiB of live heap.
const octetsPerBinding = 512 << 20 / 1_000_000

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and caches held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// resident is a line of /proc/self/status in octets: VmRSS, or VmHWM, the most that it ever was; 0 if there is no such file.
func resident(t testing.TB, line string) uint64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) == 3 && fields[0] == line+":" {
			n, err := strconv.ParseUint(fields[1], 10, 64)
			must(t, err)
			return n << 10
		}
	}
	return 0
}

// TestAnchorScale registers mobile nodes, has them all move, and lets their bindings expire, and asks that the live heap
// stays within that bound. Live heap and not resident memory, which the tests before it have made grow.
func TestAnchorScale(t *testing.T) {
	n := usualBindings
	if s := os.Getenv("KEDGE_SCALE"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		must(t, err)
	} else if testing.Short() {
		t.Skip("takes some seconds")
	}
	for _, udp := range []bool{false, true} {
		t.Run(map[bool]string{false: "native", true: "udp"}[udp], func(t *testing.T) { testScale(t, n, udp) })
	}
}

func testScale(t *testing.T, n int, udp bool) {
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // as "kedge run" does
	before := heap()
	a := newAnchor(t, n, udp)
	per := func(what string) uint64 {
		used := (heap() - before) / uint64(n)
		t.Logf("%-12s %4d octets of heap per binding; resident %4d MiB, at most %4d MiB", what, used, resident(t, "VmRSS")>>20, resident(t, "VmHWM")>>20)
		return used
	}
	per("configured")
	for moves, what := range []string{"registered", "moved"} {
		a.now = a.now.Add(time.Second)
		a.register(moves)
		if a.sent != (moves+1)*n {
			t.Fatalf("%d acknowledgements, counters %+v", a.sent, a.agent.Counters())
		}
		if got := per(what); got > octetsPerBinding {
			t.Errorf("%s: %d octets of heap per binding, at most %d", what, got, octetsPerBinding)
		}
	}
	for i := range n {
		if b, ok := a.engine.Anchored(host(i)); !ok || b != a.tunnel(careOf(i, 1)) {
			t.Fatalf("mobile node %d is bound to %+v", i, b)
		}
	}
	var pauses runtime.MemStats
	runtime.ReadMemStats(&pauses)
	t.Logf("%d collections so far, %v of pauses in all", pauses.NumGC, time.Duration(pauses.PauseTotalNs))

	a.now = a.now.Add(a.agent.Next().Sub(a.now)).Add(time.Hour)
	start := time.Now()
	a.handle(tick)
	t.Logf("%v to end each binding", time.Since(start)/time.Duration(n))
	for i := range n {
		if _, ok := a.engine.Anchored(host(i)); ok {
			t.Fatalf("mobile node %d is bound after its lifetime", i)
		}
	}
	per("expired")
	runtime.KeepAlive(a)
}
