package forwarding

import (
	"encoding/binary"
	"net/netip"
	"time"

	"kedge/forwarding/flow"
	"kedge/forwarding/icmp"
	"kedge/forwarding/ip6"
	"kedge/netstack/packet"
)

const (
	tcpRST = 0x04
	tcpACK = 0x10
)

// Release ends the wait of a held flow: it uses address as its source from now on, or its own local address if that is not
// one for translation whose binding is up. The packets that waited leave in order, before any later one of the flow: while
// Result.More says so, write the result and call Release again with the same arguments. Packets that the host sends meanwhile
// wait too, so one caller releases a flow. A flow that does not wait is left alone.
func (w *Worker) Release(now time.Time, number uint64, address netip.Addr, decision uint32) *Result {
	w.begin(now, 0)
	fs := w.state.flows
	if fs == nil {
		return w.end()
	}
	f := fs.table.Find(number)
	if f == nil || f.Verdict().State != flow.Holding {
		return w.end()
	}
	local := f.Tuple().Local()
	v := &flow.Verdict{State: flow.InUse, Address: address, Translate: address != local, Decision: decision}
	if v.Translate && (local != fs.home || !w.usable(v)) {
		v.Address, v.Translate = local, false
	}
	clear(w.drained)
	pkts, v, done := fs.table.Drain(w.now, f, v, w.drained[:0])
	w.drained = pkts
	from := origin{kind: fromHost}
	if w.state.host != nil {
		from.port = w.state.host.ID
	}
	for _, p := range pkts {
		if h := &w.header; w.parse(p, h) {
			w.reverseAs(p, h, v, from)
		}
	}
	w.result.More = !done
	return w.end()
}

// Terminate ends a flow at once. TCP: the program and the correspondent get a reset each, with the sequence number that they
// expect next; to what they still say, a challenge ACK say, they get one with the number that they acknowledge (RFC 5961
// section 3.2). UDP: the program gets an ICMPv6 Destination Unreachable, code 4. Late packets are dropped for as long as
// flow.Timeouts says.
func (w *Worker) Terminate(now time.Time, number uint64) *Result {
	w.begin(now, 0)
	fs := w.state.flows
	if fs == nil {
		return w.end()
	}
	f := fs.table.Find(number)
	if f == nil {
		return w.end()
	}
	address, alive := fs.table.Terminate(w.now, f)
	if !alive {
		return w.end()
	}
	k := f.Key()
	switch k.Protocol {
	case ip6.TCP:
		w.resetBoth(f, &k, address)
	case ip6.UDP:
		w.refusePort(&k)
	}
	return w.end()
}

func (w *Worker) resetBoth(f *flow.Flow, k *flow.Key, address netip.Addr) {
	host, correspondent, hostKnown, correspondentKnown := f.Expected()
	// A program whose SYN has had no answer takes a reset by its acknowledgement (RFC 9293 section 3.10.7.3).
	if (hostKnown || correspondentKnown) && w.state.host != nil {
		if q := w.reset(k.Remote, k.Local, k.RemotePort, k.LocalPort, host, correspondent); q != nil {
			w.put(q, w.state.host, netip.Addr{})
		}
	}
	if !address.IsValid() {
		return // it was held
	}
	of := w.facts(address)
	b := of.mobile(w.state)
	if correspondentKnown && b != nil && (of.role(w.state) == flow.Translation) == (address != k.Local) {
		if q := w.reset(address, k.Remote, k.LocalPort, k.RemotePort, correspondent, host); q != nil {
			w.sendOwn(q, &b.Tunnel)
		}
	}
}

// reset makes a TCP reset (RFC 9293 section 3.5.2).
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Source Port          |       Destination Port        |
//	|                        Sequence Number                        |
//	|                    Acknowledgment Number                      |
//	| Offset| Rsrvd |    Flags      |            Window             |
//	|           Checksum            |         Urgent Pointer        |
//
// (RFC 9293 section 3.1.)
func (w *Worker) reset(source, destination netip.Addr, sourcePort, destinationPort uint16, sequence, acknowledgment uint32) *packet.Packet {
	q := w.scratch.get(ip6.HeaderLength + tcpHeaderLength)
	if q == nil {
		return nil
	}
	q.SetLen(ip6.HeaderLength + tcpHeaderLength)
	b := q.Bytes()
	ip6.PutHeader(b, 0, 0, tcpHeaderLength, ip6.TCP, outerHopLimit, source, destination)
	t := b[ip6.HeaderLength:]
	clear(t)
	binary.BigEndian.PutUint16(t, sourcePort)
	binary.BigEndian.PutUint16(t[2:], destinationPort)
	binary.BigEndian.PutUint32(t[4:], sequence)
	binary.BigEndian.PutUint32(t[8:], acknowledgment)
	t[12], t[13] = tcpHeaderLength/4<<4, tcpRST|tcpACK
	binary.BigEndian.PutUint16(t[16:], ^packet.Sum(t, packet.PseudoHeaderSum(b[8:], b[24:], tcpHeaderLength, ip6.TCP)))
	w.count(ResetsSent, 1)
	return q
}

// refusePort tells a program that its datagrams go nowhere: about one that it might have sent, since errors are matched by
// addresses and ports. The host is this node, so no limit is needed.
func (w *Worker) refusePort(k *flow.Key) {
	const udpHeaderLength = 8
	q := w.scratch.get(ip6.MinimumMTU)
	if q == nil || w.state.host == nil {
		return
	}
	var b [ip6.HeaderLength + udpHeaderLength]byte
	ip6.PutHeader(b[:], 0, 0, udpHeaderLength, ip6.UDP, outerHopLimit, k.Local, k.Remote)
	binary.BigEndian.PutUint16(b[40:], k.LocalPort)
	binary.BigEndian.PutUint16(b[42:], k.RemotePort)
	binary.BigEndian.PutUint16(b[44:], udpHeaderLength)
	binary.BigEndian.PutUint16(b[46:], ^packet.Sum(b[40:], packet.PseudoHeaderSum(b[8:], b[24:], udpHeaderLength, ip6.UDP)))
	source := w.errorSource(origin{fromHost, w.state.host.ID})
	if !source.IsValid() {
		source = k.Remote
	}
	e := icmp.Error{
		Type: icmp.DestinationUnreachable, Code: icmp.PortUnreachable, Source: source, Destination: k.Local, Invoking: b[:],
	}
	e.Put(q)
	w.count(ErrorsSent, 1)
	w.put(q, w.state.host, netip.Addr{})
}

// lateOut takes what the host still sends on a flow that was terminated.
func (w *Worker) lateOut(p *packet.Packet, h *ip6.Header, f *flow.Flow, from origin) {
	w.drop(DropTerminated)
	code := uint8(icmp.AddressUnreachable)
	switch h.Upper {
	case ip6.TCP:
		if w.state.host != nil {
			if q := w.answerReset(p, h, false); q != nil {
				w.put(q, w.state.host, netip.Addr{})
			}
		}
		return
	case ip6.UDP:
		code = icmp.PortUnreachable
	}
	w.sendError(p, h, from, icmp.DestinationUnreachable, code, 0)
}

// lateIn takes what the correspondent still sends on a flow that was terminated.
func (w *Worker) lateIn(p *packet.Packet, h *ip6.Header, t *Tunnel) {
	w.drop(DropTerminated)
	if h.Upper == ip6.TCP {
		if q := w.answerReset(p, h, true); q != nil {
			w.sendOwn(q, t)
		}
	}
}

// answerReset makes the reset that the sender of a segment takes for true: with the number that it acknowledges. What is for
// others than the host is limited like ICMPv6 errors.
func (w *Worker) answerReset(p *packet.Packet, h *ip6.Header, limited bool) *packet.Packet {
	b := p.Bytes()
	if h.Fragmented || h.UpperOffset+tcpHeaderLength > len(b) {
		return nil
	}
	t := b[h.UpperOffset:]
	if t[13]&(tcpRST|tcpACK) != tcpACK {
		return nil
	}
	if limited && !w.limiter.Allow(w.now, h.Source) {
		w.count(ErrorsLimited, 1)
		return nil
	}
	end := binary.BigEndian.Uint32(t[4:])
	if n := len(t) - int(t[12]>>4)*4; n > 0 {
		end += uint32(n)
	}
	return w.reset(h.Destination, h.Source, binary.BigEndian.Uint16(t[2:]), binary.BigEndian.Uint16(t), binary.BigEndian.Uint32(t[8:]), end)
}
