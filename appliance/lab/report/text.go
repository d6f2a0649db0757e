package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// Text writes the report for people.
func (r *Result) Text(w io.Writer) error {
	t := &writer{w: w}
	t.heading(r.Lab.Name + ": " + r.Lab.Title)
	if r.Lab.Description != "" {
		t.printf("%s\n\n", strings.TrimSpace(r.Lab.Description))
	}
	t.printf("Began     %s, ran %.1f s\n", r.Began.Format(time.RFC3339), r.Ended.Sub(r.Began).Seconds())
	t.printf("Machine   %s%s\n", r.Machine, map[bool]string{true: ", without root"}[r.Rootless])
	t.printf("Load      %.1f in the minute before%s%s\n", r.Load,
		map[bool]string{true: ": BUSY WITH OTHER WORK, whose delays are in the figures"}[r.Load > float64(r.Processors)],
		map[bool]string{true: "; the lab has raised its priority"}[r.Favoured])
	t.printf("Command   %s\n", r.Command)
	if len(r.Lab.Settings) > 0 {
		t.printf("With     ")
		for i, v := range r.Lab.Settings {
			t.printf("%s %s %s", map[bool]string{true: ","}[i > 0], v.Name, v.Value)
		}
		t.printf("\n")
	}
	t.printf("\n")
	t.network(r.Lab)
	for _, d := range r.Downloads {
		t.download(d)
	}
	t.sideBySide(r.Probes)
	for _, p := range r.Probes {
		t.probe(p)
	}
	if r.Access == nil {
		t.flows(r)
	}
	t.access(r)
	t.nodes(r.Nodes)
	t.verdict(r)
	return t.err
}

// writer keeps the first error.
type writer struct {
	w   io.Writer
	err error
}

func (t *writer) printf(format string, a ...any) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.w, format, a...)
	}
}

func (t *writer) heading(text string) {
	t.printf("%s\n%s\n\n", text, strings.Repeat("=", len([]rune(text))))
}

func (t *writer) section(text string) {
	t.printf("%s\n%s\n", text, strings.Repeat("-", len([]rune(text))))
}

// table writes rows of cells, all but the first aligned to the right.
func (t *writer) table(rows [][]string) {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row[1:], "\t")+"\t")
	}
	tw.Flush()
	widest := 0
	for _, row := range rows {
		widest = max(widest, len([]rune(row[0])))
	}
	for i, line := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		t.printf("  %s%s%s\n", rows[i][0], strings.Repeat(" ", widest-len([]rune(rows[i][0]))), strings.TrimRight(line, " "))
	}
	t.printf("\n")
}

func (t *writer) network(l *topology.Lab) {
	t.section("Network")
	for _, w := range l.Wires {
		t.printf("  %s - %s%s\n", w.Ends[0], w.Ends[1], impairment(w))
	}
	for _, n := range l.Networks {
		var on []string
		for _, node := range l.Nodes {
			for _, f := range node.Interfaces {
				if f.Network == n.Name {
					on = append(on, node.Name+"."+f.Name)
				}
			}
		}
		t.printf("  network %s%s: %s\n", n.Name, map[bool]string{true: " (home link)"}[n.Home], strings.Join(on, ", "))
	}
	for _, node := range l.Nodes {
		for _, f := range node.Interfaces {
			if f.Advertise != nil {
				t.printf("  %s.%s advertises by policy %q: %s\n", node.Name, f.Name, f.Advertise.Policy, policyText(f.Advertise.Policy))
			}
		}
	}
	t.printf("  offload of the interfaces: %s\n\n", l.Offload)
}

func policyText(p topology.Policy) string {
	if p == topology.RFC4861Policy {
		return "solicitations answered after 0 to 500 ms, unsolicited every 200 to 600 s (RFC 4861 defaults)"
	}
	return "solicitations answered at once, unsolicited every 30 to 70 ms"
}

func impairment(w topology.Wire) string {
	if !w.Impaired() {
		return ""
	}
	there, back := impairmentText(w.Impairment), impairmentText(w.Backward())
	if there == back {
		return ": " + there + " each way"
	}
	return ": there " + there + ", back " + back
}

func impairmentText(i topology.Impairment) string {
	parts := []string{"delay " + i.Delay.Std().String()}
	if i.Loss > 0 {
		parts = append(parts, fmt.Sprintf("loss %g %%", i.Loss*100))
	}
	if i.Rate.PerSecond() > 0 {
		parts = append(parts, "rate "+i.Rate.String())
	}
	return strings.Join(parts, ", ")
}

func (t *writer) download(d Download) {
	t.section("TCP download " + d.Name + ": " + d.From + " to " + d.To)
	state := "survived"
	if !d.Survived() {
		state = fmt.Sprintf("BROKE: %v", d.Err)
	}
	hash := "SHA-256 equal at both ends, " + d.ReceivedHash
	if !d.Verified() {
		hash = fmt.Sprintf("SHA-256 DIFFERS: sent %s, received %s", d.SentHash, d.ReceivedHash)
	}
	t.printf("  the one connection %s; %.1f MB received of %.1f MB sent at %v; %d retransmissions, %d time-outs\n  %s\n\n",
		state, float64(d.Outcome.Received)/1e6, float64(d.Sent)/1e6, d.Rate, d.Retransmissions, d.RetransmissionTimeouts, hash)
}

func (t *writer) probe(p Probe) {
	t.section(fmt.Sprintf("UDP probe %s: %s and %s, a datagram each %v both ways", p.Name, p.Correspondent, p.Mobile, p.Spacing.Std()))
	for _, way := range []struct {
		name string
		seen traffic.Snapshot
	}{{"downlink", p.Downlink}, {"uplink", p.Uplink}} {
		sent, got, latency := len(way.seen.Sent), len(way.seen.Arrivals), measure.Latency(way.seen)
		t.printf("  %-8s  %d sent, %d arrived, %d lost; one-way latency %s / %s / %s ms (min / median / max)\n", way.name,
			sent, got, sent-got, number(latency.Min), number(latency.Median), number(latency.Max))
	}
	t.printf("\n")
	if len(p.Handoffs) == 0 {
		return
	}
	t.printf("  Silent is the longest time without an arrival around the move; cut is how long the mobile node's interface had no\n  link; lost counts datagrams; latency is the downlink's median before and after. Milliseconds.\n")
	rows := [][]string{{"move", "cut", "silent down", "silent up", "lost down", "lost up", "reordered", "latency before", "after"}}
	for i, h := range p.Handoffs {
		rows = append(rows, []string{
			fmt.Sprintf("%d %s", i+1, h.Move),
			number(time.Duration(h.Plugged - h.Unplugged)),
			silent(h.Downlink), silent(h.Uplink),
			fmt.Sprint(h.Downlink.Lost), fmt.Sprint(h.Uplink.Lost), fmt.Sprint(h.Downlink.Reordered + h.Uplink.Reordered),
			number(h.Downlink.LatencyBefore), number(h.Downlink.LatencyAfter),
		})
	}
	t.table(rows)
	for _, c := range p.Classes {
		t.class(c)
	}
	t.sequences(p.Handoffs)
}

// sideBySide compares the moves of several mobile nodes.
func (t *writer) sideBySide(probes []Probe) {
	if len(probes) < 2 || len(probes[0].Handoffs) == 0 {
		return
	}
	t.section("Side by side")
	t.printf("  Silent times in milliseconds to the mobile node / from it, datagrams lost, and Binding Updates (BU) sent, of the same moves in turn.\n")
	head := []string{""}
	for _, p := range probes {
		head = append(head, p.Name+": silent", "lost", "BU")
	}
	rows := [][]string{head}
	for i := range probes[0].Handoffs {
		row := []string{fmt.Sprintf("%d %s", i+1, probes[0].Handoffs[i].Move)}
		for _, p := range probes {
			if i >= len(p.Handoffs) {
				row = append(row, "", "", "")
				continue
			}
			h := p.Handoffs[i]
			row = append(row, silent(h.Downlink)+" / "+silent(h.Uplink), fmt.Sprintf("%d / %d", h.Downlink.Lost, h.Uplink.Lost), fmt.Sprint(h.BindingUpdates()))
		}
		rows = append(rows, row)
	}
	t.table(rows)
}

var classText = map[topology.MoveClass]string{
	topology.ForeignMove:   "moves between foreign links",
	topology.ReturningMove: "moves to the home link",
	topology.LeavingMove:   "moves from the home link",
}

func (t *writer) class(c measure.Class) {
	t.printf("  %d %s, min / median / max in milliseconds:\n", c.Moves, classText[c.Name])
	rows := [][]string{
		{"silent downlink", number(c.Downlink.Min), number(c.Downlink.Median), number(c.Downlink.Max)},
		{"silent uplink", number(c.Uplink.Min), number(c.Uplink.Median), number(c.Uplink.Max)},
	}
	for i, s := range c.Parts {
		if s.Count > 0 {
			rows = append(rows, []string{"plugged in to " + measure.PartNames[i], number(s.Min), number(s.Median), number(s.Max)})
		}
	}
	t.table(rows)
}

func silent(s measure.Silence) string {
	if !s.Recovered {
		return ">" + number(s.Duration())
	}
	return number(s.Duration())
}

func number(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

func (t *writer) nodes(nodes []Node) {
	t.section("Nodes")
	for _, n := range nodes {
		t.printf("  %-10s %-6s", n.Name, n.Kind)
		if c := n.Capture; c != (CaptureCounts{}) {
			t.printf(" %d packets in %s.pcapng", c.Packets, n.Name)
			if c.Dropped+c.Omitted > 0 {
				t.printf(" (%d dropped, %d beyond the size limit)", c.Dropped, c.Omitted)
			}
		}
		if n.Exit != "" {
			t.printf(" ENDED EARLY: %s, see %s.log", n.Exit, n.Name)
		}
		t.printf("\n")
	}
	t.printf("\n")
}

func (t *writer) verdict(r *Result) {
	t.section("Expectations")
	for _, c := range r.Checks {
		t.printf("  %s  %s: %s (expected %s)\n", map[bool]string{true: "pass", false: "FAIL"}[c.Passed], c.Name, c.Found, c.Expected)
	}
	if len(r.Checks) == 0 {
		t.printf("  none stated\n")
	}
	switch {
	case r.Failure != nil:
		t.printf("\nFAILED: %v\n", r.Failure)
	case r.Interrupted:
		t.printf("\nINTERRUPTED\n")
	case r.Passed():
		t.printf("\nPASSED\n")
	default:
		t.printf("\nFAILED\n")
	}
}
