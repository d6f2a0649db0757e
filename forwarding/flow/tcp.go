package flow

import (
	"encoding/binary"
	"sync/atomic"

	"kedge/forwarding/ip6"
)

// TCPState is as much of a connection's state (RFC 9293 section 3.3.2) as time-outs ask for.
type TCPState uint8

// The states of a flow's TCP connection.
const (
	// NotTCP is that of other flows.
	NotTCP TCPState = iota
	// TCPOpening: the handshake is not over (RFC 5382 section 5: partially open).
	TCPOpening
	TCPEstablished
	// TCPClosing: one end has sent a FIN.
	TCPClosing
	// TCPClosed: both have, or one has sent a reset that the other accepts.
	TCPClosed
)

var tcpStateNames = [...]string{"", "opening", "established", "closing", "closed"}

func (s TCPState) String() string { return tcpStateNames[s] }

const (
	tcpHeaderLength = 20

	// maxFirstFlight is more than a host sends before its SYN has been acknowledged, in octets.
	maxFirstFlight = 1 << 18

	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpACK = 0x10
)

func (f *Flow) tcpState(flags uint32) TCPState {
	const in = inward
	switch {
	case f.tuple.protocol != ip6.TCP:
		return NotTCP
	case f.closed(flags):
		return TCPClosed
	case flags&(finOut|finOut<<in) != 0:
		return TCPClosing
	}
	// The initiator's acknowledgement ends the handshake: a flood of SYNs with invented sources never gets there. Where the
	// beginning was not seen, both have to be heard.
	open := uint32(ackOut | ackOut<<in)
	switch f.initiator {
	case MobileNode:
		open = ackOut | synOut<<in
	case Correspondent:
		open = ackOut<<in | synOut
	}
	if flags&open == open || flags&(ackOut|ackOut<<in) == ackOut|ackOut<<in {
		return TCPEstablished
	}
	return TCPOpening
}

func (f *Flow) closed(flags uint32) bool {
	const in = inward
	return flags&(resetOut|resetOut<<in) != 0 || flags&finOut != 0 && flags&(finOut<<in) != 0
}

// OpensConnection reports whether a tracked packet begins something new: a SYN without ACK; anything at all of protocols
// other than TCP.
func OpensConnection(b []byte, h *ip6.Header) bool {
	if h.Upper != ip6.TCP {
		return true
	}
	at := h.UpperOffset + 13
	return at < len(b) && b[at]&(tcpSYN|tcpACK|tcpRST) == tcpSYN
}

// IsReset reports whether a packet is a TCP reset, which begins nothing.
func IsReset(b []byte, h *ip6.Header) bool {
	at := h.UpperOffset + 13
	return h.Upper == ip6.TCP && at < len(b) && b[at]&tcpRST != 0
}

// segment takes what a TCP segment, b from its TCP header on, says about the sequence numbers that both ends expect next,
// and returns the flags to remember. way is 0 for what the host sends and 1 for what it gets.
//
// The end of data that arrives in order is what its receiver expects next; behind a gap it is not, until the receiver
// acknowledges beyond it. Resets rely on it (RFC 5961 section 3.2).
func (f *Flow) segment(b []byte, way int) (flags uint32) {
	header := int(b[12]>>4) * 4
	if header < tcpHeaderLength || header > len(b) {
		return 0
	}
	control, sequence := b[13], binary.BigEndian.Uint32(b[4:])
	receiver, sender := &f.expects[way], &f.expects[1-way]
	known := f.flags.Load()
	knownReceiver := known&(knownOut<<way) != 0
	if control&tcpRST != 0 {
		// Only one that its receiver takes for true, else anybody could end the flow's entry (RFC 5961 section 3.2). The
		// host's own resets are true.
		if way == 0 || !knownReceiver || sequence == receiver.Load() {
			flags |= resetOut << way
		}
		return flags
	}
	if control&tcpACK != 0 {
		acknowledged := binary.BigEndian.Uint32(b[8:])
		// Whoever invents the source of a handshake does not know what the host answered.
		if way == 1 && f.initiator == Correspondent && known&knownOut != 0 && known&(ackOut<<inward) == 0 &&
			sender.Load()-acknowledged > maxFirstFlight {
			return 0
		}
		if known&(knownOut<<(1-way)) == 0 {
			sender.Store(acknowledged)
			flags |= knownOut << (1 - way)
		} else {
			advance(sender, acknowledged)
		}
		if control&tcpSYN == 0 {
			flags |= ackOut << way
		}
	}
	end := sequence + uint32(len(b)-header)
	switch {
	case control&tcpSYN != 0:
		// Data of a SYN (RFC 7413) is the receiver's to refuse, which its acknowledgement tells.
		flags |= synOut<<way | knownOut<<way
		if known&(ackOut<<way) == 0 {
			receiver.Store(sequence + 1)
		}
		return flags
	case control&tcpFIN != 0:
		end++
	}
	if !knownReceiver {
		receiver.Store(end)
		flags |= knownOut << way
	} else if int32(sequence-receiver.Load()) <= 0 {
		advance(receiver, end)
	}
	if control&tcpFIN != 0 {
		flags |= finOut << way
	}
	return flags
}

// advance makes a sequence number later, if it is (RFC 9293 section 3.4).
func advance(at *atomic.Uint32, to uint32) {
	for {
		from := at.Load()
		if int32(to-from) <= 0 || at.CompareAndSwap(from, to) {
			return
		}
	}
}

// Expected are the sequence numbers that the TCP of the host and of the correspondent expect next, as far as they are
// known.
func (f *Flow) Expected() (host, correspondent uint32, hostKnown, correspondentKnown bool) {
	flags := f.flags.Load()
	return f.expects[1].Load(), f.expects[0].Load(), flags&(knownOut<<inward) != 0, flags&knownOut != 0
}
