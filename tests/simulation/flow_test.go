package simulation

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"kedge/signaling"
)

// flow is one service flow of a roamer.
type flow struct {
	number  uint64
	profile int
	key     signaling.FlowKey
	// address is what the correspondent sees; invalid while the flow is held.
	address netip.Addr
	begun   time.Duration
	decided time.Duration
	over    bool
	// heard is when a packet of it was answered last.
	heard time.Duration
}

// open begins a flow as forwarding does: at once if its address is chosen already, else it is held.
func (m *roamer) open(profile int, remote netip.Addr) *flow {
	m.serial++
	f := &flow{number: m.serial, profile: profile, begun: m.w.now, key: signaling.FlowKey{Local: m.home, Remote: remote, Protocol: 6,
		LocalPort: uint16(m.serial), RemotePort: 443}}
	if a := lookup(m.hinted, -1, remote); a.IsValid() && m.serial%2 == 0 {
		f.key.Local = a // its program was led to the host's own address
		m.settleFlow(f, a)
	} else if a := lookup(m.chosen, profile, remote); a.IsValid() {
		m.settleFlow(f, a)
	} else {
		m.w.tally.held++
		m.tell(signaling.FlowHeld{Flow: f.number, Key: f.key, Profile: profile, Since: m.time()})
		life := m.life
		m.w.after(holdTime+2*time.Millisecond+m.w.c.lag, func() {
			if m.life == life && !f.address.IsValid() && !f.over {
				m.w.fatal("%s has not decided on flow %d (%+v) after %v", m.name, f.number, f.key, m.w.now-f.begun)
			}
		})
	}
	m.flows = append(m.flows, f)
	m.byID[f.number] = f
	return f
}

// lookup is the address of the longest prefix.
func lookup(table map[choice]netip.Addr, profile int, remote netip.Addr) (best netip.Addr) {
	bits := -1
	for c, a := range table {
		if c.profile == profile && c.prefix.Bits() > bits && c.prefix.Contains(remote) {
			best, bits = a, c.prefix.Bits()
		}
	}
	return best
}

func (m *roamer) settleFlow(f *flow, a netip.Addr) {
	m.mustHold(a, "flow")
	f.address, f.decided, f.heard = a, m.w.now, m.w.now
	if a == m.home {
		m.w.tally.stayed++
	} else {
		m.w.tally.translated++
	}
	m.count(a, 1)
}

// count tells signalling whenever an address begins to be used, and ceases to be.
func (m *roamer) count(a netip.Addr, n int) {
	before := m.uses[a]
	if m.uses[a] += n; (before == 0) != (m.uses[a] == 0) {
		m.tell(signaling.AddressUse{Address: a, Flows: m.uses[a]})
	}
}

// tell hands news to signalling, in order, a moment later.
func (m *roamer) tell(e signaling.Event) {
	if m.news = append(m.news, e); len(m.news) > 1 {
		return
	}
	life := m.life
	m.w.after(m.w.upTo(m.w.c.lag), func() {
		if m.life != life {
			return
		}
		news := m.news
		m.news = nil
		for _, e := range news {
			if u, ok := e.(signaling.AddressUse); ok {
				u.Flows = m.uses[u.Address]
				e = u
			}
			m.handle(e)
		}
	})
}

func (m *roamer) decide(d signaling.Decide) {
	f := m.byID[d.Flow]
	switch {
	case f == nil:
		return // forgotten, with the program that held it
	case f.address.IsValid():
		m.w.fatal("%s decides on flow %d twice", m.name, d.Flow)
	case d.Address != f.key.Local:
		m.mustHold(d.Address, d)
	}
	if f.over {
		return
	}
	m.settleFlow(f, d.Address)
}

// shut ends a flow.
func (m *roamer) shut(f *flow) {
	if f.over {
		return
	}
	f.over = true
	m.flows = slices.DeleteFunc(m.flows, func(o *flow) bool { return o == f })
	if f.address.IsValid() {
		delete(m.byID, f.number)
		m.count(f.address, -1)
	}
}

func (m *roamer) terminate(t signaling.Terminate) {
	for _, f := range slices.Clone(m.flows) {
		if f.address == t.Address && (t.Profile < 0 || t.Profile == f.profile) {
			m.w.tally.terminated++
			m.shut(f)
		}
	}
}

// restoreFlows is what a restart leaves of flows: those of the home address, and the translated ones whose addresses are
// held again.
func (m *roamer) restoreFlows() {
	flows := m.flows
	m.flows = nil
	clear(m.byID)
	for _, f := range flows {
		switch {
		case f.address == m.home:
		case f.address.IsValid() && m.held[f.address] && f.key.Local == m.home:
		default:
			f.over = true
			continue
		}
		f.heard = m.w.now
		m.flows = append(m.flows, f)
		m.byID[f.number] = f
		m.count(f.address, 1)
	}
}

// data sends a packet of each flow, and one of the home address.
func (m *roamer) data() {
	m.w.after(m.w.c.beat, m.data)
	if !m.up {
		return
	}
	for _, f := range m.flows {
		if f.address.IsValid() {
			m.packet(f.address, f.key.Remote, func() { f.heard = m.w.now })
		}
	}
	m.packet(m.home, peerIn(0, 0), func() { m.homeHeard = m.w.now })
}

// packet sends one packet from an address, through its tunnel, and has answered called with the answer.
func (m *roamer) packet(from, peer netip.Addr, answered func()) {
	m.mustHold(from, "packet")
	b, ok := m.bound[from]
	switch {
	case !ok:
		return
	case b.Native:
		if m.isHome() && !m.w.agent.defends[from] {
			m.w.transport(from, peer, func() { m.w.transport(peer, from, answered) })
		}
		return
	case !m.owns(b.Local):
		// The tunnel stays until there is a way for a Binding Update; its link is gone.
		return
	}
	life := m.life
	m.w.transport(b.Local, b.Remote, func() {
		anchor := &m.w.agent.anchoring
		if b.Remote != agentAddr {
			anchor = &m.w.proxies[placeOf(b.Remote)-placeProxy].anchoring
		}
		anchor.outbound(from, b.Local, peer, func() {
			if now, ok := m.bound[from]; ok && m.life == life && now.Remote == b.Remote && m.owns(now.Local) {
				answered()
			}
		}, func() {
			if m.life == life && m.owns(b.Local) {
				m.refused(b.Local, b.Remote, from, peer)
			}
		})
	})
}

// refused is an anchor's ICMPv6 error about a packet out of a tunnel that no binding bears out.
func (m *roamer) refused(local, anchor, from, peer netip.Addr) {
	header := func(next byte, length uint16, src, dst netip.Addr) []byte {
		b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, length)
		b = append(b, next, 64)
		b = append(b, src.AsSlice()...)
		return append(b, dst.AsSlice()...)
	}
	quoted := append(header(41, 40, local, anchor), header(59, 0, from, peer)...)
	m.handle(signaling.ReceivedICMP{Source: anchor, Destination: local, Payload: append([]byte{1, 5, 0, 0, 0, 0, 0, 0}, quoted...)})
}
