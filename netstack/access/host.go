package access

import (
	"container/list"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"kedge/netstack/packet"
)

// The flags of a host.
const (
	// heardFlag says that a packet came from the host since that was last looked at.
	heardFlag = 1 << iota
	// watchedFlag says that the host's next packet is to be reported.
	watchedFlag
)

// host is a station on the link.
type host struct {
	link packet.LinkAddress
	// flags are read and set without the table's mutex.
	flags atomic.Uint32
	// present says that the host is on the link as far as is known; told, that an owner of the table believes so.
	present, told bool
	// unheard says that h was taken to be there and has not shown itself since.
	unheard bool
	// routers are served to the host, in the order in which they first were; leaving ones are being taken back.
	routers, leaving []*router
	// addresses are the host's, the newest last.
	addresses []netip.Addr
	// lastHeard is when the host's last neighbour discovery came, or when a packet was noticed to have come.
	lastHeard time.Time
	// attached is when Attached was last reported, repeat how long the next has to wait. owed is the cause of one that waits
	// until owedAt.
	attached, owedAt time.Time
	repeat           time.Duration
	owed             Cause
	// probeAt is when it is asked whether the host is there, probes how many questions it has not answered.
	probeAt time.Time
	probes  int
	// forgetAt is when a host that nobody serves is forgotten.
	forgetAt    time.Time
	contestedAt time.Time
	// stranger is where the host is in Table.strangers.
	stranger *list.Element
	// place is the index in the queue plus one; 0 if nothing is due.
	place int
	due   time.Time
}

// addHost makes a host one of the table's hosts if there is room.
func (t *Table) addHost(link packet.LinkAddress) *host {
	for t.strangers.Len() >= t.cfg.MaxStrangers || len(t.hosts) >= t.cfg.MaxHosts {
		oldest := t.strangers.Front()
		if oldest == nil {
			t.counters.Refused++
			return nil
		}
		t.counters.Evicted++
		t.removeHost(oldest.Value.(*host))
	}
	h := &host{link: link, repeat: RepeatInterval}
	t.hosts[link] = h
	t.links.set(linkKey(link), h)
	t.setMode(h)
	return h
}

func (t *Table) removeHost(h *host) {
	for _, a := range h.addresses {
		t.disown(h, a)
	}
	if h.stranger != nil {
		t.strangers.Remove(h.stranger)
		h.stranger = nil
	}
	t.links.remove(linkKey(h.link))
	delete(t.hosts, h.link)
	t.queue.set(h, time.Time{})
}

// setMode is for changes of presence and of whether anybody serves h.
func (t *Table) setMode(h *host) {
	served := len(h.routers) > 0
	if served && h.present && !h.unheard {
		h.flags.And(^uint32(watchedFlag))
	} else {
		h.flags.Or(watchedFlag)
	}
	switch {
	case served && h.stranger != nil:
		t.strangers.Remove(h.stranger)
		h.stranger, h.forgetAt = nil, time.Time{}
	case !served && h.stranger == nil:
		h.stranger = t.strangers.PushBack(h)
		h.forgetAt, h.probeAt = t.now.Add(ForgetTime), time.Time{}
	}
}

// schedule is called when what is due for h may have changed.
func (t *Table) schedule(h *host) {
	if t.hosts[h.link] != h {
		return
	}
	due := earliest(earliest(h.owedAt, h.probeAt), h.forgetAt)
	if h.present {
		for _, r := range h.routers {
			due = earliest(due, r.next)
		}
		for _, r := range h.leaving {
			due = earliest(due, r.next)
		}
	}
	t.queue.set(h, due)
}

// earliest is the earlier of two times of which zero is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// run does what is due for h.
func (t *Table) run(h *host) {
	past := func(at time.Time) bool { return !at.IsZero() && !at.After(t.now) }
	if past(h.owedAt) {
		t.report(h, h.owed)
	}
	if past(h.probeAt) {
		t.probe(h)
	}
	if h.present {
		for _, r := range h.routers {
			if past(r.next) {
				t.advertise(r, netip.Addr{})
			}
		}
		for _, r := range slices.Clone(h.leaving) {
			if past(r.next) {
				t.advertise(r, netip.Addr{})
			}
		}
	}
	if past(h.forgetAt) {
		t.depart(h, Unreachable)
	}
	t.schedule(h)
}

// sign is what shows that a host is on the link, at an address that may be invalid or unspecified. A strong one is what
// hosts do after a change of link.
func (t *Table) sign(link packet.LinkAddress, addr netip.Addr, cause Cause, strong bool) *host {
	h := t.hosts[link]
	if h == nil {
		if !t.admitStranger() {
			t.counters.Unreported++
			return nil
		}
		if h = t.addHost(link); h == nil {
			return nil
		}
	}
	silent := h.flags.Load()&heardFlag == 0 && t.now.Sub(h.lastHeard) >= SilenceTime
	returned := !h.present || h.unheard || len(h.routers) == 0
	t.heard(h)
	if addr.IsValid() {
		t.learn(h, addr)
	}
	if !h.present || h.unheard {
		h.present, h.unheard = true, false
		t.setMode(h)
	}
	if returned || cause == LinkUp || strong && silent {
		for _, r := range h.routers {
			t.advertiseSoon(r)
		}
		t.report(h, cause)
	}
	t.schedule(h)
	return h
}

// heard notes that neighbour discovery came from h.
func (t *Table) heard(h *host) {
	h.flags.And(^uint32(heardFlag))
	h.lastHeard, h.probes = t.now, 0
	if h.stranger != nil {
		t.strangers.MoveToBack(h.stranger)
		h.forgetAt = t.now.Add(ForgetTime)
	} else {
		h.probeAt = t.now.Add(t.cfg.IdleTime)
	}
}

// report says that h has attached, now or when it may be said again.
func (t *Table) report(h *host, cause Cause) {
	if at := h.attached.Add(h.repeat); !h.attached.IsZero() && t.now.Before(at) {
		if h.owedAt.IsZero() {
			t.counters.Damped++
			h.owed, h.owedAt = cause, at
		}
		h.flags.Or(heardFlag) // its packets have nothing to add until then
		return
	}
	h.flags.And(^uint32(heardFlag))
	if len(h.routers) == 0 && !h.attached.IsZero() {
		h.repeat = min(2*h.repeat, MaxRepeatInterval)
	}
	h.attached, h.owedAt, h.told = t.now, time.Time{}, true
	t.out.Events = append(t.out.Events, Attached{LinkLayer: h.link, LinkLocal: h.linkLocal(), Cause: cause})
}

// depart ends h's presence. If nobody serves it, it is forgotten.
func (t *Table) depart(h *host, cause Cause) {
	if h.told {
		t.out.Events = append(t.out.Events, Departed{LinkLayer: h.link, Cause: cause})
	}
	h.present, h.told, h.unheard = false, false, false
	h.owedAt, h.probeAt, h.probes, h.leaving = time.Time{}, time.Time{}, 0, nil
	h.flags.And(^uint32(heardFlag))
	if len(h.routers) == 0 {
		t.removeHost(h)
		return
	}
	t.setMode(h)
	t.schedule(h)
}

// admitStranger limits how many hosts that nothing was known of are looked at.
func (t *Table) admitStranger() bool {
	rate := float64(t.cfg.StrangerRate)
	if t.filled.IsZero() {
		t.tokens = rate
	} else {
		t.tokens = min(rate, t.tokens+t.now.Sub(t.filled).Seconds()*rate)
	}
	t.filled = t.now
	if t.tokens < 1 {
		return false
	}
	t.tokens--
	return true
}

// learn notes an address of h's: a link-local one, or one of its prefixes.
func (t *Table) learn(h *host, addr netip.Addr) {
	if addr.IsLinkLocalUnicast() {
		if len(t.claims[addr]) > 0 && slices.ContainsFunc(t.claims[addr], func(r *router) bool { return r.host == h }) {
			return
		}
	} else if !slices.ContainsFunc(h.routers, func(r *router) bool { return r.Prefix.Contains(addr) }) {
		return
	}
	if at := slices.Index(h.addresses, addr); at >= 0 {
		h.addresses = append(slices.Delete(h.addresses, at, at+1), addr)
	} else {
		if len(h.addresses) == MaxAddresses {
			t.disown(h, h.addresses[0])
			h.addresses = slices.Delete(h.addresses, 0, 1)
		}
		h.addresses = append(h.addresses, addr)
	}
	if addr.IsLinkLocalUnicast() && t.owners[addr] == nil {
		t.owners[addr] = h
		t.routeLinkLocals(h)
	}
}

// disown ends h's claim to an address, if it has one.
func (t *Table) disown(h *host, addr netip.Addr) {
	if t.owners[addr] == h {
		delete(t.owners, addr)
		t.destinations.remove(destinationKey(addr))
	}
}

// routeLinkLocals has packets for h's link-local addresses come from its main router.
func (t *Table) routeLinkLocals(h *host) {
	for _, a := range h.addresses {
		if t.owners[a] != h {
			continue
		}
		if r := h.mainRouter(); r != nil {
			t.destinations.set(destinationKey(a), destination{h.link, r.LinkLayer})
		} else {
			t.destinations.remove(destinationKey(a))
		}
	}
}

// linkLocal is the newest link-local address known; invalid if none is.
func (h *host) linkLocal() netip.Addr {
	for _, a := range slices.Backward(h.addresses) {
		if a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// mainRouter is the first router with a preferred prefix, or else the newest; nil if there is none.
func (h *host) mainRouter() *router {
	if i := slices.IndexFunc(h.routers, func(r *router) bool { return r.Preferred > 0 }); i >= 0 {
		return h.routers[i]
	}
	if len(h.routers) > 0 {
		return h.routers[len(h.routers)-1]
	}
	return nil
}
