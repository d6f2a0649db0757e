package dmipv6

import (
	"net/netip"
	"time"

	"kedge/signaling"
)

func attached(careOf netip.Addr) signaling.Attachment {
	return signaling.Attachment{Uplink: "eth0", CareOf: careOf, Router: router, MTU: 1500}
}

func registration(careOf netip.Addr) signaling.HomeRegistration {
	return signaling.HomeRegistration{HomeAgent: agent, Registered: true, CareOf: careOf, Uplink: "eth0", RoundTrip: 80 * time.Millisecond}
}

// attach brings the mobile node to a network; its registration with the home agent takes a round trip.
func (w *world) attach(careOf netip.Addr) []signaling.Effect {
	w.careOf = careOf
	out := w.handle(attached(careOf))
	w.after(2*w.oneWay(careOf, agent), func() {
		if w.careOf == careOf {
			w.handle(registration(careOf))
		}
	})
	return out
}

// online attaches and waits until that is done.
func (w *world) online() *world {
	w.attach(careOfA)
	w.run(2 * time.Second)
	return w
}

// flow holds a new flow.
func (w *world) flow(number uint64, profile int, remote netip.Addr) {
	w.handle(signaling.FlowHeld{Flow: number, Profile: profile, Since: w.time(),
		Key: signaling.FlowKey{Local: home, Remote: remote, Protocol: 6, LocalPort: uint16(number), RemotePort: 443}})
}

// settle runs until a flow is decided, and returns its address and how long that took.
func (w *world) settle(number uint64, profile int, remote netip.Addr) (netip.Addr, time.Duration) {
	w.t.Helper()
	from := w.now
	w.flow(number, profile, remote)
	for range 2000 {
		if d, ok := w.decided[number]; ok {
			return d.Address, w.when[number] - from
		}
		w.run(time.Millisecond)
	}
	w.t.Fatalf("flow %d is not decided after 2 s", number)
	return netip.Addr{}, 0
}

func (w *world) use(a netip.Addr, flows int) {
	w.handle(signaling.AddressUse{Address: a, Flows: flows})
}

// lookup is what forwarding would choose for a new flow; invalid if it holds it.
func (w *world) lookup(profile int, remote netip.Addr) (best netip.Addr) {
	bits := -1
	for c, a := range w.chosen {
		if c.profile == profile && c.prefix.Contains(remote) && c.prefix.Bits() > bits {
			best, bits = a, c.prefix.Bits()
		}
	}
	return best
}

// since are the effects of type E from a time on.
func since[E signaling.Effect](w *world, from time.Duration) (list []E) {
	for _, e := range w.trace {
		if x, ok := e.effect.(E); ok && e.at >= from {
			list = append(list, x)
		}
	}
	return list
}

// kinds are the reports from a time on.
func (w *world) kinds(from time.Duration) (list []signaling.ReportKind) {
	for _, r := range since[signaling.Report](w, from) {
		list = append(list, r.Kind)
	}
	return list
}

func (w *world) count(kind signaling.ReportKind, from time.Duration) (n int) {
	for _, k := range w.kinds(from) {
		if k == kind {
			n++
		}
	}
	return n
}

func (w *world) at(kind signaling.ReportKind, from time.Duration) time.Duration {
	w.t.Helper()
	for _, e := range w.trace {
		if r, ok := e.effect.(signaling.Report); ok && r.Kind == kind && e.at >= from {
			return e.at - from
		}
	}
	w.t.Fatalf("no %s from %v on", kind, from)
	return 0
}
