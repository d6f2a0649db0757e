package ethernet

import (
	"net/netip"
	"time"

	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// Neighbors is what the link asks of a neighbour table; *neighbor.Table is one.
type Neighbors interface {
	Lookup(addr netip.Addr) (packet.LinkAddress, bool)
	Resolve(now time.Time, addr netip.Addr, p *packet.Packet) neighbor.Output
	Handle(now time.Time, b []byte, from packet.LinkAddress) neighbor.Output
	Tick(now time.Time) neighbor.Output
	Next() time.Time
	Wake() <-chan struct{}
}

var _ Neighbors = (*neighbor.Table)(nil)

type attachment struct {
	table  Neighbors
	report func(neighbor.Output)
}

// Attach gives the link its neighbour table, in place of any earlier one: a table knows the interface's link-layer
// address, so that an interface which returns with another needs another table. The link drives the table's timers,
// hands received messages to it and sends its frames. What else its outputs hold, undeliverable packets and events,
// goes to report, from any goroutine that reads, writes or keeps the time; report may be nil. It may use the link, but
// not close it.
func (l *Link) Attach(table Neighbors, report func(neighbor.Output)) {
	l.attached.Store(&attachment{table: table, report: report})
	select {
	case l.attach <- struct{}{}:
	default:
	}
}

// Perform does what a method of the table, called by the link's owner, has asked for: it sends the frames and reports
// the rest.
func (l *Link) Perform(out neighbor.Output) {
	if a := l.attached.Load(); a != nil {
		l.perform(a, out)
		return
	}
	l.sendFrames(out.Frames)
}

func (l *Link) perform(a *attachment, out neighbor.Output) {
	if len(out.Frames) > 0 {
		l.sendFrames(out.Frames)
	}
	a.tell(out)
}

func (a *attachment) tell(out neighbor.Output) {
	if a.report != nil && len(out.Undeliverable)+len(out.Events) > 0 {
		a.report(neighbor.Output{Undeliverable: out.Undeliverable, Events: out.Events})
	}
}

// tick drives the timers of the attached table.
func (l *Link) tick() {
	defer l.running.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		a := l.attached.Load()
		var wake <-chan struct{}
		wait := time.Hour
		if a != nil {
			wake = a.table.Wake()
			if next := a.table.Next(); !next.IsZero() {
				wait = time.Until(next)
			}
		}
		timer.Reset(wait)
		select {
		case <-l.done:
			return
		case <-l.attach:
		case <-wake:
		case <-timer.C:
			if a != nil {
				l.perform(a, a.table.Tick(time.Now()))
			}
		}
	}
}
