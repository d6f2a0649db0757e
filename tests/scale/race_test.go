//go:build race

package scale

// usualBindings is less with the race detector, which makes everything ten times slower.
const usualBindings = 4_000
