package neighbor

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"kedge/netstack/nd"
)

const (
	// recordsPerReport keeps a report within the minimum MTU of 1280 octets (RFC 3810 section 5.2.15): 40 octets of
	// IPv6, 8 of hop-by-hop options and 8 of ICMPv6 header leave room for 61 records of 20.
	recordsPerReport = 61
	// reportsPerBurst and burstInterval spread the reports of a node with very many groups.
	reportsPerBurst = 32
	burstInterval   = 20 * time.Millisecond
	// olderVersionQuerierPresent is how long a query of version 1 makes version 1 be spoken (RFC 3810 section 9.12: twice
	// the query interval of 125 s and the query response interval of 10 s).
	olderVersionQuerierPresent = 260 * time.Second
)

// listener is the listener part of MLDv2 (RFC 3810 section 6) for groups without source filters. Each change of the set of
// groups is reported at once and once more within a second (the robustness variable is 2). After a query of version 1 it
// speaks version 1 for a while (section 8.2.1).
type listener struct {
	// members counts the addresses that need each group.
	members map[netip.Addr]int
	// changed holds the groups whose change is to be reported once more.
	changed map[netip.Addr]bool
	repeat  timer
	// asked holds the groups that a query asked about, or askedAll.
	asked    map[netip.Addr]bool
	askedAll bool
	answer   timer
	// queue holds the records that are still to be sent.
	queue []nd.ListenerRecord
	burst timer
	// olderUntil is until when version 1 is spoken.
	olderUntil time.Time
}

func (t *Table) initListener() {
	l := &t.listener
	l.members, l.changed, l.asked = map[netip.Addr]int{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	l.repeat.fire = t.repeatChanges
	l.answer.fire = t.answerQuery
	l.burst.fire = t.sendReports
	if t.cfg.Router {
		l.members[nd.AllRouters] = 1
		l.changed[nd.AllRouters] = true // reported with the first change, since New sends nothing
	}
}

func (t *Table) join(g netip.Addr) {
	l := &t.listener
	if l.members[g]++; l.members[g] == 1 {
		t.out.Events = append(t.out.Events, Joined{g})
		t.groupChanged(g)
	}
}

func (t *Table) leave(g netip.Addr) {
	l := &t.listener
	if l.members[g]--; l.members[g] == 0 {
		delete(l.members, g)
		t.out.Events = append(t.out.Events, Left{g})
		t.groupChanged(g)
	}
}

func (t *Table) groupChanged(g netip.Addr) {
	l := &t.listener
	t.report([]nd.ListenerRecord{t.change(g)})
	l.changed[g] = true
	if l.repeat.place == 0 {
		t.timers.set(&l.repeat, t.now.Add(t.jitter(unsolicitedReportInterval)))
	}
}

func (t *Table) change(g netip.Addr) nd.ListenerRecord {
	if t.listener.members[g] > 0 {
		return nd.ListenerRecord{Type: nd.ChangeToExcludeMode, Group: g}
	}
	return nd.ListenerRecord{Type: nd.ChangeToIncludeMode, Group: g}
}

func (t *Table) repeatChanges() {
	l := &t.listener
	for _, g := range sorted(l.changed) {
		l.queue = append(l.queue, t.change(g))
	}
	clear(l.changed)
	t.sendReports()
}

// receiveQuery delays the answer (RFC 3810 section 6.2). Queries that come in the meantime share it.
func (t *Table) receiveQuery(q *nd.ListenerQuery) {
	l := &t.listener
	if q.Version == 1 {
		l.olderUntil = t.now.Add(olderVersionQuerierPresent)
	}
	switch {
	case q.Group.IsUnspecified():
		l.askedAll = true
	case l.members[q.Group] > 0:
		l.asked[q.Group] = true
	default:
		return
	}
	if at := t.now.Add(t.jitter(q.MaximumResponseDelay)); l.answer.place == 0 || at.Before(l.answer.at) {
		t.timers.set(&l.answer, at)
	}
}

func (t *Table) answerQuery() {
	l := &t.listener
	groups := sorted(l.asked)
	if l.askedAll {
		groups = sorted(l.members)
	}
	clear(l.asked)
	l.askedAll = false
	for _, g := range groups {
		if l.members[g] > 0 {
			l.queue = append(l.queue, nd.ListenerRecord{Type: nd.ModeIsExclude, Group: g})
		}
	}
	t.sendReports()
}

func (t *Table) sendReports() {
	l := &t.listener
	for range reportsPerBurst {
		if len(l.queue) == 0 {
			l.queue = nil
			return
		}
		n := min(len(l.queue), recordsPerReport)
		t.report(l.queue[:n])
		l.queue = l.queue[n:]
	}
	t.timers.set(&l.burst, t.now.Add(burstInterval))
}

// report sends one report, or one for each record in version 1, from a link-local address if there is one (RFC 3590 section 4).
func (t *Table) report(records []nd.ListenerRecord) {
	src := netip.IPv6Unspecified()
	for _, a := range t.sources {
		if a.addr.IsLinkLocalUnicast() {
			src = a.addr
			break
		}
	}
	if !t.now.Before(t.listener.olderUntil) {
		t.multicast(src, nd.AllMLDv2Routers, &nd.ListenerReport{Records: records})
		return
	}
	for _, r := range records {
		if r.Type == nd.ChangeToIncludeMode {
			t.multicast(src, nd.AllRouters, &nd.ListenerDoneV1{Group: r.Group})
		} else {
			t.multicast(src, r.Group, &nd.ListenerReportV1{Group: r.Group})
		}
	}
}

func sorted[V any](groups map[netip.Addr]V) []netip.Addr {
	return slices.SortedFunc(maps.Keys(groups), netip.Addr.Compare)
}
