package space

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ethtool's commands for features by name (linux/ethtool.h).
const (
	ethtoolGetStrings    = 0x1b
	ethtoolGetStringsSet = 0x37
	ethtoolSetFeatures   = 0x3b
	ethtoolFeatureSet    = 4
	ethtoolNameLength    = 32
)

// Offload is what an interface may leave to who receives, or do for who receives.
type Offload struct {
	// Segmentation lets super-packets of every kind cross the wire whole.
	Segmentation bool
	// Datagrams lets those of UDP do so in any case (UDP_SEGMENT).
	Datagrams bool
	// Checksum lets packets cross it with unfinished checksums.
	Checksum bool
	// Merge has packets merged on receipt (GRO).
	Merge bool
}

// wanted says of a feature whether it shall be on; ok is false for those that are left alone.
func (o Offload) wanted(feature string) (on, ok bool) {
	switch {
	case feature == "rx-gro":
		return o.Merge, true
	case feature == "tx-udp-segmentation":
		return o.Segmentation || o.Datagrams, true
	case feature == "tx-generic-segmentation", feature == "tx-gso-list", feature == "tx-tcp-mangleid-segmentation",
		strings.HasPrefix(feature, "tx-") && strings.HasSuffix(feature, "-segmentation"):
		return o.Segmentation, true
	case strings.HasPrefix(feature, "tx-checksum-"):
		return o.Checksum, true
	}
	return false, false
}

// Offload makes an interface do just that, as far as it can.
func (n *Namespace) Offload(iface string, o Offload) error {
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		names, err := features(fd, iface)
		if err != nil {
			return err
		}
		blocks := (len(names) + 31) / 32
		// struct ethtool_sfeatures: command, size, and for each block what is meant and what is wanted.
		request := make([]uint32, 2+2*blocks)
		request[0], request[1] = ethtoolSetFeatures, uint32(blocks)
		for i, name := range names {
			on, ok := o.wanted(name)
			if !ok {
				continue
			}
			block, bit := 2+2*(i/32), uint32(1)<<(i%32)
			request[block] |= bit
			if on {
				request[block+1] |= bit
			}
		}
		return ethtoolCall(fd, iface, unsafe.Pointer(&request[0]))
	})
	if err != nil {
		return fmt.Errorf("node %s: offload of %s: %w", n.Name, iface, err)
	}
	return nil
}

// features are the names of an interface's features, by their bits.
func features(fd int, iface string) ([]string, error) {
	// struct ethtool_sset_info
	info := [5]uint32{ethtoolGetStringsSet}
	binary.NativeEndian.PutUint64(unsafe.Slice((*byte)(unsafe.Pointer(&info[2])), 8), 1<<ethtoolFeatureSet)
	if err := ethtoolCall(fd, iface, unsafe.Pointer(&info)); err != nil {
		return nil, err
	}
	count := int(info[4])
	// struct ethtool_gstrings
	answer := make([]byte, 12+count*ethtoolNameLength)
	binary.NativeEndian.PutUint32(answer, ethtoolGetStrings)
	binary.NativeEndian.PutUint32(answer[4:], ethtoolFeatureSet)
	binary.NativeEndian.PutUint32(answer[8:], uint32(count))
	if err := ethtoolCall(fd, iface, unsafe.Pointer(&answer[0])); err != nil {
		return nil, err
	}
	names := make([]string, count)
	for i := range names {
		name := answer[12+i*ethtoolNameLength:][:ethtoolNameLength]
		name, _, _ = bytes.Cut(name, []byte{0})
		names[i] = string(name)
	}
	return names, nil
}
