package index

import (
	"math/rand/v2"
	"testing"
)

// TestAgainstMap adds and removes at random, with hashes that differ in much, in little and in nothing, and holds each step
// against a map.
func TestAgainstMap(t *testing.T) {
	for name, hash := range map[string]func(n uint32) uint64{
		"good":     func(n uint32) uint64 { return uint64(n+1) * 0x9e3779b97f4a7c15 },
		"one part": func(n uint32) uint64 { return uint64(n) * 3 },
		"clusters": func(n uint32) uint64 { return uint64(n/8) << 1 },
		"one":      func(uint32) uint64 { return 1<<64 - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			most := 2000
			if name == "one" {
				most = 60
			}
			random := rand.New(rand.NewPCG(5, 6))
			var x Index
			want := map[uint32]bool{}
			for range 40_000 {
				n := uint32(random.IntN(most))
				switch {
				case want[n]:
					x.Remove(hash(n), n)
					delete(want, n)
				case random.IntN(3) > 0:
					x.Add(hash(n), n)
					want[n] = true
				default:
					x.Remove(hash(n), n)
				}
				if x.Len() != len(want) {
					t.Fatalf("%d entries, want %d", x.Len(), len(want))
				}
				probe := uint32(random.IntN(most))
				if got, ok := x.Find(hash(probe), func(n uint32) bool { return n == probe }); ok != want[probe] || ok && got != probe {
					t.Fatalf("%d: %d, %v, want %v", probe, got, ok, want[probe])
				}
			}
			for n := range want {
				x.Remove(hash(n), n)
			}
			for i := range x.parts {
				if len(x.parts[i].entries) > 4 || x.parts[i].count != 0 {
					t.Fatalf("part %d keeps %d places for %d entries", i, len(x.parts[i].entries), x.parts[i].count)
				}
			}
		})
	}
}
