//go:build race

package simulation

// defaultSeeds is less with the race detector, which makes everything ten times slower and has nothing to find in one
// goroutine.
const defaultSeeds = 200

const defaultFlowSeeds = 100
