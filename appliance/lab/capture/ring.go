package capture

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

const (
	blockLength = 128 << 10
	blockCount  = 16
	// retireTime in milliseconds is after what the kernel hands over a block that is not full.
	retireTime = 40
	// addressOffset is where the kernel puts the address behind a packet's header, aligned to 16 octets.
	addressOffset = (uint32(unsafe.Sizeof(unix.Tpacket3Hdr{})) + 15) / 16 * 16
)

// ring is a TPACKET_V3 ring of one interface: blocks that the kernel fills with packets and hands over one by one.
type ring struct {
	fd     int
	memory []byte
	next   int
}

// captured is a packet out of a ring.
type captured struct {
	from   *tap
	time   int64
	length int
	sent   bool
	data   []byte
}

func openRing(node *space.Namespace, index, snapLength int) (*ring, error) {
	r := &ring{}
	err := node.Do(func() (err error) {
		// Protocol 0: nothing is queued before the filter and the ring stand.
		r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	if err := r.open(index, snapLength); err != nil {
		unix.Close(r.fd)
		return nil, err
	}
	return r, nil
}

func (r *ring) open(index, snapLength int) error {
	// One instruction, "return snapLength", makes the kernel keep no more than that of each packet.
	program := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(snapLength)}}
	filter := unix.SockFprog{Len: 1, Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("attaching filter: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("TPACKET_V3: %w", err)
	}
	request := unix.TpacketReq3{
		Block_size:     blockLength,
		Block_nr:       blockCount,
		Frame_size:     2048,
		Frame_nr:       blockLength / 2048 * blockCount,
		Retire_blk_tov: retireTime,
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	memory, err := unix.Mmap(r.fd, 0, blockLength*blockCount, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mapping packet ring: %w", err)
	}
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: bigEndian16(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		_ = unix.Munmap(memory)
		return fmt.Errorf("binding packet socket: %w", err)
	}
	r.memory = memory
	return nil
}

func bigEndian16(v uint16) uint16 {
	b := [2]byte{byte(v >> 8), byte(v)}
	return *(*uint16)(unsafe.Pointer(&b))
}

// drain appends copies of all packets in blocks that the kernel has handed over.
func (r *ring) drain(from *tap, to []captured) []captured {
	for range blockCount {
		block := r.memory[r.next*blockLength:][:blockLength]
		head := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)]))
		if atomic.LoadUint32(&head.Block_status)&unix.TP_STATUS_USER == 0 {
			break
		}
		offset := head.Offset_to_first_pkt
		for range head.Num_pkts {
			p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[offset]))
			data := block[offset+uint32(p.Mac):][:p.Snaplen]
			address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&block[offset+addressOffset]))
			to = append(to, captured{
				from:   from,
				time:   int64(p.Sec)*1e9 + int64(p.Nsec),
				length: int(p.Len),
				sent:   address.Pkttype == unix.PACKET_OUTGOING,
				data:   append([]byte(nil), data...),
			})
			offset += p.Next_offset
		}
		atomic.StoreUint32(&head.Block_status, unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % blockCount
	}
	return to
}

// dropped is how many packets the kernel could not keep since the last call.
func (r *ring) dropped() uint64 {
	s, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0
	}
	return uint64(s.Drops)
}

func (r *ring) close() {
	_ = unix.Munmap(r.memory)
	unix.Close(r.fd)
}
