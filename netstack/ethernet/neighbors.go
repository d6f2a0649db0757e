package ethernet

import (
	"net/netip"
	"time"

	"kedge/netstack/neighbor"
	"kedge/netstack/packet"
)

// Neighbors is what the link asks of a neighbour table; *neighbor.Table is one.
type Neighbors interface {
	// LinkAddresses says to and from which link-layer address a packet for a next hop travels; a zero from is the
	// interface's own. It is asked for every packet, and must not lock or allocate.
	LinkAddresses(hop netip.Addr) (to, from packet.LinkAddress, known bool)
	Resolve(now time.Time, addr netip.Addr, p *packet.Packet) neighbor.Output
	Handle(now time.Time, b []byte, from packet.LinkAddress) neighbor.Output
	Tick(now time.Time) neighbor.Output
	Next() time.Time
	Wake() <-chan struct{}
}

// AccessTable is a neighbour table that is several routers, each with a link-layer address of its own, to hosts that it
// watches for; *access.Table is one. Receives and Heard are asked for every packet, and must not lock or allocate.
type AccessTable interface {
	Neighbors
	// Receives reports whether a unicast link-layer address other than the interface's is one of the table's.
	Receives(to packet.LinkAddress) bool
	// Expects reports whether a frame between two link-layer addresses, to a router (packet.RouterPrefix) for whom Receives
	// does not hold, is to be received all the same.
	Expects(to, from packet.LinkAddress) bool
	// Addresses are some for which Receives holds, all if they are not more than most. An Output with Readdressed says that
	// they have changed.
	Addresses(most int) []packet.LinkAddress
	// Heard notes that a packet which is no neighbour discovery came from a host. If it is false, Stranger wants to know.
	Heard(from packet.LinkAddress) bool
	Stranger(now time.Time, from packet.LinkAddress) neighbor.Output
}

var _ Neighbors = (*neighbor.Table)(nil)

type attachment struct {
	table Neighbors
	// access is table if it is one, else nil.
	access AccessTable
	report func(neighbor.Output)
}

// Attach gives the link its neighbour table, in place of any earlier one: a table knows the interface's link-layer
// address, so that an interface which returns with another needs another table. The link drives the table's timers,
// hands received messages to it and sends its frames. What else its outputs hold, undeliverable packets and events,
// goes to report, from any goroutine that reads, writes or keeps the time; report may be nil. It may use the link, but
// not close it. For an AccessTable the link also receives frames for the table's own link-layer addresses.
func (l *Link) Attach(table Neighbors, report func(neighbor.Output)) {
	access, _ := table.(AccessTable)
	l.attached.Store(&attachment{table: table, access: access, report: report})
	l.readdress()
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
	if out.Readdressed {
		l.readdress() // first, since frames get answers
	}
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
