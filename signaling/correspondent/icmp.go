package correspondent

import (
	"time"

	"kedge/signaling"
	"kedge/signaling/quoted"
)

// icmp takes an ICMPv6 error about a packet that left with a type 2 routing header.
func (m *Machine) icmp(now time.Time, r *signaling.ReceivedICMP) {
	const unreachable, portUnreachable = 1, 4 // RFC 4443 section 3.1
	if len(r.Payload) < 8 || r.Payload[0] != unreachable || r.Payload[1] == portUnreachable {
		m.counters.Ignored++
		return
	}
	q := quoted.Parse(r.Payload[8:])
	_, home := quoted.HomeAddresses(r.Payload[8:])
	b, ok := m.valid(home)
	if q.Source != m.cfg.Address || !ok || b.CareOf != q.Destination {
		m.counters.Ignored++
		return
	}
	m.unreachable(now, b)
}
