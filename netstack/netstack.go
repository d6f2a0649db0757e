// Package netstack is where packets come in and go out. A Link is one such place; the packages below it are the kinds of
// link (tun, ethernet, pipe), the neighbour table of Ethernet links, the gVisor host that answers for kedge's own
// addresses, and what kedge asks of the host kernel.
package netstack

import (
	"errors"

	"kedge/netstack/packet"
)

// ErrClosed is what Read and Write return, perhaps wrapped, after Close.
var ErrClosed = errors.New("link is closed")

// Link moves IP packets in batches. One goroutine may read while others write; each Write is atomic towards the others.
// Errors other than ErrClosed are transient unless they repeat: an interface that vanishes may come back.
type Link interface {
	// Name is the interface's name, for people.
	Name() string
	// MTU is the longest IP packet in octets that the link carries; it may change while the link lives.
	MTU() int
	// Features is the offload state that Write takes. The caller finishes what the link does not.
	Features() packet.Features
	// Read blocks until at least one packet has arrived and fills pkts from the front. It resets each packet first.
	Read(pkts []*packet.Packet) (int, error)
	// Write sends the packets in order and returns how many it sent. When it returns, the packets are the caller's
	// again. It may use their headroom and change their contents.
	Write(pkts []*packet.Packet) (int, error)
	// Close unblocks Read and frees the link.
	Close() error
}
