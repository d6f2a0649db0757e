package packet

import "golang.org/x/sys/cpu"

// Summing by vectors is three times as fast as by words, which a tunnel's throughput shows: each octet is summed at either
// end.
var vectors = cpu.X86.HasAVX2

// sumBlocks is the sum of the little-endian 32-bit words of blocks times 64 octets, at least one block. It needs AVX2.
//
//go:noescape
func sumBlocks(b *byte, blocks int) uint64

// copySumBlocks is sumBlocks that also copies the octets.
//
//go:noescape
func copySumBlocks(to, b *byte, blocks int) uint64
