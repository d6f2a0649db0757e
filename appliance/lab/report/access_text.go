package report

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"kedge/appliance/lab/measure"
)

// access tells of network-based mobility.
func (t *writer) access(r *Result) {
	a := r.Access
	if a == nil {
		return
	}
	t.section("A host without mobility software: " + a.Host)
	t.handoffTable(r)
	t.silences(r)
	t.services(r)
	t.tunnelTable(a)
	for i := range a.Places {
		t.place(r, i)
	}
	for i := range a.Places {
		t.accessSequence(r, i)
	}
}

func (t *writer) handoffTable(r *Result) {
	a := r.Access
	t.printf("  Handoffs. Signalling is every Mobility Header message that came in at %s, repetitions included. Milliseconds since the\n"+
		"  host was plugged in: its first sign of life, the first message of signalling, the router advertisements of the local prefix\n"+
		"  and of all earlier ones (deprecated), and the first new connection with the local prefix, before which the host's kernel\n"+
		"  looks for duplicates of its address (RFC 4862) where it is new.\n", a.Transit)
	rows := [][]string{{"handoff", "by", "cut", "messages", "octets", "PBU", "PBA", "host", "signalling", "local RA", "others RA", "local used"}}
	for i, p := range a.Places {
		kinds, messages, octets := p.counts()
		what, way, cut := fmt.Sprintf("attach at %s", p.Router), "", ""
		if i > 0 {
			what, way, cut = fmt.Sprintf("%d %s -> %s", i, a.Places[i-1].Router, p.Router), string(p.Way), number(time.Duration(p.Plugged-p.Begin))
		}
		row := []string{what, way, cut, fmt.Sprint(messages), fmt.Sprint(octets), fmt.Sprint(kinds["PBU"]), fmt.Sprint(kinds["PBA"])}
		if i == 0 {
			row = append(row, "", "", "", "", "")
		} else {
			preferred, deprecated := p.told(p.local())
			host, _ := p.first(func(m measure.Message) bool { return a.signalled(m, p) })
			first, _ := p.first(signalling)
			row = append(row, figure(host), figure(first), figure(preferred), figure(deprecated), figure(r.localUsed(p)))
		}
		rows = append(rows, row)
	}
	t.table(rows)
}

func (t *writer) silences(r *Result) {
	a := r.Access
	t.printf("  Silent times in milliseconds, to the host / from it, and datagrams lost both ways. A TCP connection is silent for longer\n" +
		"  than its path where its own retransmission timer is waiting.\n")
	head := []string{"flow"}
	for i := 1; i < len(a.Places); i++ {
		head = append(head, fmt.Sprintf("%d to %s by %s", i, a.Places[i].Router, a.Places[i].Way), "lost")
	}
	rows := [][]string{head}
	for _, f := range r.Flows {
		if f.Mobile != a.Host || len(f.Silences) == 0 {
			continue
		}
		row := append([]string{f.Name}, slices.Repeat([]string{"", ""}, f.AfterMove)...)
		for _, s := range f.Silences {
			lost := ""
			if f.Datagrams != nil {
				lost = fmt.Sprint(s.Downlink.Lost + s.Uplink.Lost)
			}
			row = append(row, silent(s.Downlink)+" / "+silent(s.Uplink), lost)
		}
		rows = append(rows, row)
	}
	t.table(rows)
}

func (t *writer) services(r *Result) {
	a := r.Access
	rows := [][]string{{"flow", "opened at", "address", "anchored at", "outcome", "octets"}}
	for _, f := range r.Flows {
		if f.Mobile != a.Host || f.Exchanges != nil {
			continue
		}
		outcome, octets := "", ""
		if f.Session != nil {
			down, up := f.Downlink(), f.Uplink()
			outcome = f.outcome(r.Moves)
			octets = fmt.Sprintf("%.2f MB to the host, %.2f MB from it, %s", float64(down.Received)/1e6, float64(up.Received)/1e6, verified(f))
		} else {
			down, up := f.Datagrams.Downlink, f.Datagrams.Uplink
			outcome = fmt.Sprintf("%d of %d datagrams to the host, %d of %d from it", len(down.Arrivals), len(down.Sent), len(up.Arrivals), len(up.Sent))
		}
		rows = append(rows, []string{f.Name, a.Places[f.AfterMove].Router, f.addressName(), a.anchorOf(f.Seen), outcome, octets})
	}
	t.columns(rows)
	rows = [][]string{{"place", "local prefix", "new exchanges with it", "packets with it, not tunnelled", "tunnelled"}}
	for i, p := range a.Places {
		local := p.local()
		exchanges := "-"
		for _, f := range r.Flows {
			if right, all, _ := exchangesFrom(f, p, local); f.Mobile == a.Host && f.Exchanges != nil {
				exchanges = fmt.Sprintf("%d of %d", right, all)
			}
		}
		native, tunnelled := p.traffic(local, a.since(i))
		rows = append(rows, []string{fmt.Sprintf("%d %s", i+1, p.Router), prefixText(local), exchanges, fmt.Sprint(native), fmt.Sprint(tunnelled)})
	}
	t.columns(rows)
}

func (a *Access) anchorOf(address netip.Addr) string {
	for _, p := range a.Places {
		if p.Pool.Contains(address) {
			return p.Router
		}
	}
	return "-"
}

func (t *writer) tunnelTable(a *Access) {
	t.printf("  Tunnels: what the nodes said just before the host left, and what was seen in them at %s (the pairs share one).\n", a.Transit)
	rows := [][]string{{"place", "by the nodes", "seen"}}
	for i, p := range a.Places {
		var said, seen []string
		for _, v := range p.Tunnels {
			said = append(said, fmt.Sprintf("%s: %s to %s", v.Node, v.Prefix, a.name(v.Remote)))
		}
		for _, v := range p.tunnels() {
			seen = append(seen, fmt.Sprintf("%s -> %s %d packets", a.name(v.from), a.name(v.to), v.packets))
		}
		for n := range max(len(said), len(seen), 1) {
			row := []string{"", "", ""}
			if n == 0 {
				row[0] = fmt.Sprintf("%d %s", i+1, p.Router)
			}
			if n < len(said) {
				row[1] = said[n]
			}
			if n < len(seen) {
				row[2] = seen[n]
			}
			if n == 0 && row[1] == "" && row[2] == "" {
				row[1], row[2] = "none", "none"
			}
			rows = append(rows, row)
		}
	}
	t.columns(rows)
}

// place tells of the host just before it left.
func (t *writer) place(r *Result, i int) {
	a := r.Access
	p := a.Places[i]
	when := "before move " + fmt.Sprint(i+1)
	if i == len(a.Places)-1 {
		when = "at the end"
	}
	if i > 0 {
		when = fmt.Sprintf("after move %d, %s", i, when)
	}
	t.printf("  The host's kernel at %s, %s\n", p.Router, when)
	rows := [][]string{{"address", "state", "preferred for", "valid for", "anchored at"}}
	for _, v := range p.Host.Addresses {
		rows = append(rows, []string{v.Address.String(), stateText(v), v.Preferred.String(), v.Valid.String(), a.anchorOf(v.Address)})
	}
	t.columns(rows)
	rows = [][]string{{"router", "default router", "neighbour cache", "", "who", "as before"}}
	before := map[netip.Addr]string{}
	for _, earlier := range a.Places[:i] {
		for _, v := range earlier.Host.Neighbors {
			if v.LinkLayer == "" {
				continue
			}
			before[v.Address] = v.LinkLayer
		}
	}
	linkLocals := map[netip.Addr]bool{}
	for _, v := range p.Host.Routers {
		linkLocals[v] = true
	}
	for _, v := range p.Host.Neighbors {
		linkLocals[v.Address] = linkLocals[v.Address] || v.Router
	}
	for _, address := range slices.SortedFunc(maps.Keys(linkLocals), netip.Addr.Compare) {
		row := []string{address.String(), "no", "-", "", a.name(address), ""}
		if slices.Contains(p.Host.Routers, address) {
			row[1] = "yes"
		}
		for _, v := range p.Host.Neighbors {
			if v.Address == address {
				row[2], row[3] = v.LinkLayer, v.State
				switch was, ok := before[address]; {
				case v.LinkLayer == "":
					row[2] = "-"
				case ok && was == v.LinkLayer:
					row[5] = "same"
				case ok:
					row[5] = "CHANGED, was " + was
				default:
					row[5] = "new"
				}
			}
		}
		rows = append(rows, row)
	}
	t.columns(rows)
}

// kindNames are the kinds of messages in words.
var kindNames = map[string]string{
	"PBU": "Proxy Binding Update", "PBA": "Proxy Binding Acknowledgement", "BU": "Binding Update", "BA": "Binding Acknowledgement",
	"RA": "Router Advertisement", "RS": "Router Solicitation", "NS": "Neighbour Solicitation", "NA": "Neighbour Advertisement",
	"MLD": "MLD",
}

// named replaces addresses by the names of their nodes.
func (a *Access) named(text string) string {
	for address, name := range a.Names {
		text = strings.ReplaceAll(text, address.String(), name)
	}
	return text
}
