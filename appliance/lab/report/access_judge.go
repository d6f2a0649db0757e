package report

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/space"
)

// judgeAccess is about what RFC 8885 promises a host without mobility software.
func (r *Result) judgeAccess(add adder) {
	a := r.Access
	if a == nil || r.Failure != nil {
		return
	}
	known := map[netip.Prefix]router{}
	for i, p := range a.Places {
		local := p.local()
		name := a.placeName(i) + ": "
		judgeAddresses(add, name, p, local, known)
		a.judgeRouters(add, name, p, known)
		r.judgeNew(add, name, i, local)
		native, tunnelled := p.traffic(local, a.since(i))
		add(name+"nothing with the local prefix is in a tunnel", tunnelled == 0 && native > 0,
			fmt.Sprintf("%d of %d packets", tunnelled, native+tunnelled), "none of them")
		for prefix, found := range p.routers() {
			if _, ok := known[prefix]; !ok {
				known[prefix] = found
			}
		}
	}
	for _, f := range r.Flows {
		if f.Mobile != a.Host || f.Datagrams == nil || len(f.Silences) == 0 {
			continue
		}
		resumed := 0
		for _, s := range f.Silences {
			if s.Downlink.Recovered && s.Uplink.Recovered {
				resumed++
			}
		}
		add(f.Name+": datagrams arrive again both ways after each move", resumed == len(f.Silences),
			fmt.Sprintf("after %d of %d", resumed, len(f.Silences)), "after all")
	}
}

// judgeAddresses is about the host's addresses: the local one preferred, those of earlier places deprecated and still there.
func judgeAddresses(add adder, name string, p Place, local netip.Prefix, known map[netip.Prefix]router) {
	preferred, found := "none", false
	var wrong []string
	have := map[netip.Prefix]bool{}
	for _, v := range p.Host.Addresses {
		for prefix := range known {
			have[prefix] = have[prefix] || prefix.Contains(v.Address)
		}
		switch {
		case local.IsValid() && local.Contains(v.Address):
			preferred, found = stateText(v), !v.Deprecated && !v.Tentative
		case v.Preferred != 0:
			// The flag is not asked for: the kernel sets it a little later than the lifetime, each time that it is told anew.
			wrong = append(wrong, v.Address.String()+" is "+stateText(v))
		}
	}
	add(name+"the host has an address of the local prefix "+prefixText(local), found, preferred, "preferred")
	for prefix := range known {
		if prefix != local && !have[prefix] {
			wrong = append(wrong, "none of "+prefix.String())
		}
	}
	if len(known) > 0 {
		text := "all deprecated"
		if len(wrong) > 0 {
			text = strings.Join(wrong, ", ")
		}
		add(name+"the host keeps its addresses of the other MAARs, deprecated", len(wrong) == 0, text, "preferred lifetime 0")
	}
}

// judgeRouters is about the routers of earlier places, which must look as they did there.
func (a *Access) judgeRouters(add adder, name string, p Place, known map[netip.Prefix]router) {
	if len(known) == 0 {
		return
	}
	var wrong []string
	fail := func(format string, v ...any) { wrong = append(wrong, fmt.Sprintf(format, v...)) }
	told := p.routers()
	for _, prefix := range a.sorted(known) {
		was := known[prefix]
		now, ok := told[prefix]
		switch {
		case !ok:
			fail("%s's prefix is not advertised", a.anchor(prefix))
		case now.linkLocal != was.linkLocal || now.linkLayer != was.linkLayer:
			fail("%s was %s at %s and is %s at %s", a.anchor(prefix), was.linkLocal, was.linkLayer, now.linkLocal, now.linkLayer)
		}
		listed := false
		for _, v := range p.Host.Routers {
			listed = listed || v == was.linkLocal
		}
		if !listed {
			fail("%s is not in the host's router list", a.anchor(prefix))
		}
		for _, v := range p.Host.Neighbors {
			if v.Address == was.linkLocal && v.LinkLayer != "" && v.LinkLayer != was.linkLayer {
				fail("%s is at %s in the host's neighbour cache, not at %s", a.anchor(prefix), v.LinkLayer, was.linkLayer)
			}
		}
	}
	text := "the same"
	if len(wrong) > 0 {
		text = strings.Join(wrong, "; ")
	}
	add(name+"earlier MAARs keep their link-local and link-layer addresses towards the host", len(wrong) == 0, text, "the same")
}

// judgeNew is about connections opened at a place.
func (r *Result) judgeNew(add adder, name string, i int, local netip.Prefix) {
	p := r.Access.Places[i]
	for _, f := range r.Flows {
		if f.Mobile != r.Access.Host {
			continue
		}
		switch {
		case f.Exchanges != nil:
			right, all, wrong := exchangesFrom(f, p, local)
			add(name+"new exchanges use the local prefix", right == all && all > 0, fmt.Sprintf("%d of %d%s", right, all, wrong),
				"all that began once the host knew its routers, answered")
		case f.AfterMove == i:
			add(f.Name+": opened at "+r.Access.Places[i].Router+", it has an address of the local prefix", local.IsValid() && local.Contains(f.Seen),
				f.Seen.String(), prefixText(local))
		}
	}
}

// exchangesFrom counts the exchanges of a place since the host used the local prefix and had been told of all its routers,
// and of them those that had an address of it and were answered; wrong says what the others did. Those that were under way
// at the end are not counted.
func exchangesFrom(f Flow, p Place, local netip.Prefix) (right, all int, wrong string) {
	used, ok := p.firstLocal(f, local)
	if !local.IsValid() || !ok {
		return 0, 0, ""
	}
	_, deprecated := p.told(local)
	begin, end := p.Plugged+int64(max(used, deprecated)), p.End-int64(underWay)
	for _, x := range f.Exchanges {
		if x.Began < begin || x.Began > end || !local.Contains(x.Local) && p.reminded(x.Began) {
			continue
		}
		all++
		if local.Contains(x.Local) && x.Err == nil {
			right++
			continue
		}
		wrong += fmt.Sprintf("; %s after arrival from %s", ms(time.Duration(x.Began-p.Plugged)), x.Local)
		if x.Err != nil {
			wrong += ": " + x.Err.Error()
		}
	}
	return right, all, wrong
}

// reminded reports whether the host has just been told again of a deprecated prefix. Linux takes its addresses for preferred
// until a work item of the kernel has looked at their lifetimes.
func (p Place) reminded(at int64) bool {
	for _, m := range p.Messages {
		for _, v := range m.Prefixes {
			if v.Preferred == 0 && at >= m.Time && at < m.Time+int64(underWay) {
				return true
			}
		}
	}
	return false
}

// underWay is how long before a move an exchange may have begun and be lost by it.
const underWay = 300 * time.Millisecond

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return "(none is advertised)"
	}
	return p.String()
}

func stateText(v space.HostAddress) string {
	switch {
	case v.Tentative:
		return "tentative"
	case v.Deprecated || v.Preferred == 0:
		return "deprecated"
	}
	return "preferred"
}

// signalled reports whether a message is one by which the host makes itself known.
func (a *Access) signalled(m measure.Message, p Place) bool {
	if m.Kind == "RA" || signalling(m) {
		return false
	}
	for _, r := range p.routers() {
		if r.linkLocal == m.From {
			return false
		}
	}
	return true
}
