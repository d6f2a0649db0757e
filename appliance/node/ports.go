package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kedge/forwarding"
	"kedge/netstack"
	"kedge/netstack/packet"
)

// batch is how many packets a link hands over at once at most.
const batch = 64

// ports are the links of a node by the numbers that forwarding knows them under. A link may be absent for a while: what is
// for it is dropped then. Looking one up takes no lock.
type ports struct {
	links [256]atomic.Pointer[netstack.Link]
}

func (p *ports) set(id forwarding.PortID, l netstack.Link) { p.links[id].Store(&l) }

func (p *ports) clear(id forwarding.PortID) { p.links[id].Store(nil) }

// get is nil for a link that is absent.
func (p *ports) get(id forwarding.PortID) netstack.Link {
	if l := p.links[id].Load(); l != nil {
		return *l
	}
	return nil
}

// send writes what a worker wants sent. Links count what they cannot send; an error of a link concerns nobody here.
func (p *ports) send(outputs []forwarding.Output) {
	for i := range outputs {
		if l := p.get(outputs[i].Port); l != nil {
			_, _ = l.Write(outputs[i].Packets)
		}
	}
}

// receiver is what a pump hands packets to that do not leave again.
type receiver interface {
	toHost(p *packet.Packet)
	// toHostLater is toHost for callers that the host may have called.
	toHostLater(p *packet.Packet)
	signal(s *forwarding.Signal, now time.Time)
	// early comes after the signals that it may depend on.
	early(all []forwarding.Early)
	// newsOfFlows says that the engine has news of flows.
	newsOfFlows()
	// strangers sent data on an access link without being attached.
	strangers(all []forwarding.Stranger)
}

// pump carries packets from one link through the engine, until the link is closed. Errors that pass are waited out.
func pump(ctx context.Context, l netstack.Link, id forwarding.PortID, w *forwarding.Worker, ports *ports, to receiver) error {
	pkts := packet.NewBatch(batch, packet.MaxLength)
	for {
		n, err := l.Read(pkts)
		for rest := pkts[:n]; len(rest) > 0; {
			part := throughFragment(rest)
			rest = rest[len(part):]
			carry(time.Now(), id, part, w, ports, to)
		}
		switch {
		case err == nil:
		case errors.Is(err, netstack.ErrClosed) || ctx.Err() != nil:
			return err
		case errors.Is(err, errGone):
			return err
		default:
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", l.Name(), err)
			}
		}
	}
}

// throughFragment is the beginning of a batch up to the first packet that is a fragment, that included; all of it where there
// is none. The host puts fragments together and hands on what they make at once, so that what was read behind them does not
// overtake it.
func throughFragment(pkts []*packet.Packet) []*packet.Packet {
	for i, p := range pkts {
		if b := p.Bytes(); len(b) > nextHeaderAt && b[nextHeaderAt] == unix.IPPROTO_FRAGMENT {
			return pkts[:i+1]
		}
	}
	return pkts
}

// nextHeaderAt is where the IPv6 header says what follows it.
const nextHeaderAt = 6

// carry takes packets of one link through the engine.
func carry(now time.Time, id forwarding.PortID, pkts []*packet.Packet, w *forwarding.Worker, ports *ports, to receiver) {
	r := w.Process(now, id, pkts)
	ports.send(r.Outputs)
	for _, p := range r.ToHost {
		to.toHost(p)
	}
	for i := range r.Signals {
		to.signal(&r.Signals[i], now)
	}
	if len(r.Early) > 0 {
		to.early(r.Early)
	}
	if r.News {
		to.newsOfFlows()
	}
	if len(r.Strangers) > 0 {
		to.strangers(r.Strangers)
	}
}
