//go:build !amd64

package packet

const vectors = false

func sumBlocks(*byte, int) uint64 { panic("no vectors") }

func copySumBlocks(_, _ *byte, _ int) uint64 { panic("no vectors") }
