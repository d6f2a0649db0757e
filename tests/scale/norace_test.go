//go:build !race

package scale

// usualBindings is how many TestAnchorScale makes unless it is told.
const usualBindings = 20_000
