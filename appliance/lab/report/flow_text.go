package report

import (
	"fmt"
	"strings"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
)

// flows tells of all flows in tables, then of each.
func (t *writer) flows(r *Result) {
	if len(r.Flows) == 0 {
		return
	}
	t.section("Service flows")
	rows := [][]string{{"flow", "opened by", "class", "address used", "held for it by", "mode", "outcome"}}
	for _, f := range r.Flows {
		rows = append(rows, []string{f.Name, f.From, f.className(), f.addressName(), f.holderName(), f.mode(), f.outcome(r.Moves)})
	}
	t.columns(rows)
	t.printf("  Milliseconds. Round trips are medians of the second before the move and of the flow's last: inside the flow (what was\n" +
		"  written until it arrived, both ways; an exchange), through the home agent and direct. Silent is the longest time without an arrival\n" +
		"  around the move, which TCP's own retransmission timer can make longer than the path's.\n")
	rows = [][]string{{"", "connect()", "before: flow", "home", "direct", "after: flow", "home", "direct", "silent down", "silent up"}}
	for _, f := range r.Flows {
		row := []string{f.Name}
		if f.Session == nil {
			row = append(row, "")
		} else {
			row = append(row, number(f.Session.Connect))
		}
		for _, p := range []RoundTrips{f.PathBefore, f.PathAfter} {
			row = append(row, figure(p.Flow), figure(p.Home), figure(p.Direct))
		}
		if f.Session == nil {
			row = append(row, figure(f.Count(r.Moves).Silence), "")
		} else {
			row = append(row, f.silent(f.ToMobile), f.silent(f.FromMobile))
		}
		rows = append(rows, row)
	}
	t.table(rows)
	for _, f := range r.Flows {
		t.flow(r, f)
	}
	t.leases(r)
	if r.terminated() {
		t.printf("  TCP segments by which the mobile node's kernel doubted a reset (challenge ACKs): %d\n\n", r.ChallengeACKs)
	}
	t.sequences(r.Traces)
}

// leases tells of the addresses that anchors lent.
func (t *writer) leases(r *Result) {
	if len(r.Leases) == 0 {
		return
	}
	t.printf("  Addresses lent, in seconds since the traffic began:\n")
	rows := [][]string{{"address", "lent", "given back", "flows"}}
	for _, l := range r.Leases {
		var users []string
		for _, f := range r.Flows {
			if f.Seen == l.Address {
				users = append(users, f.Name)
			}
		}
		back := "not before the end"
		if l.GivenBack != 0 {
			back = seconds(r.at(l.GivenBack))
		}
		rows = append(rows, []string{l.Address.String(), seconds(r.at(l.Lent)), back, strings.Join(users, ", ")})
	}
	t.columns(rows)
}

func seconds(ms float64) string { return fmt.Sprintf("%.3f", ms/1e3) }

func (r *Result) terminated() bool {
	for _, f := range r.Flows {
		if f.Termination != nil {
			return true
		}
	}
	return false
}

// columns writes rows of cells, all aligned to the left.
func (t *writer) columns(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+2)
		}
		t.printf("  %s\n", strings.TrimRight(line, " "))
	}
	t.printf("\n")
}

func figure(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return number(d)
}

// silent is a flow's silence; one that was ended has none to show.
func (f Flow) silent(s measure.Silence) string {
	if f.Termination != nil && f.Termination.Told != 0 {
		return "ended"
	}
	return silent(s)
}

func (f Flow) className() string {
	switch {
	case f.Before != nil:
		return f.Before.Class
	case f.Session == nil && f.own():
		return "non-persistent"
	}
	return "-"
}

// own reports whether the last exchange came from the host's own address.
func (f Flow) own() bool { return f.Holder == "" && f.Seen.IsValid() && f.Seen == f.Bound }

func (f Flow) addressName() string {
	if !f.Seen.IsValid() {
		return "-"
	}
	return f.Seen.String()
}

func (f Flow) holderName() string {
	switch {
	case f.Holder != "":
		return f.Holder
	case f.own():
		return "the host itself"
	}
	return "nobody"
}

func (f Flow) mode() string {
	switch {
	case f.Before != nil:
		return f.Before.Mode
	case f.Session == nil && f.own():
		return "native"
	case f.Holder != "":
		return "bidirectional-tunnel"
	}
	return "-"
}

func (f Flow) outcome(moves []measure.Move) string {
	if d := f.Datagrams; d != nil {
		return fmt.Sprintf("%d of %d datagrams arrived", len(d.Downlink.Arrivals)+len(d.Uplink.Arrivals), len(d.Downlink.Sent)+len(d.Uplink.Sent))
	}
	if f.Session == nil {
		c := f.Count(moves)
		return fmt.Sprintf("%d of %d exchanges answered", c.Answered+c.MovingAnswered, c.Steady+c.Moving)
	}
	end := f.MobileEnd()
	switch {
	case f.Session.Survived():
		return "maintained"
	case f.Termination != nil && f.Termination.Told != 0 && f.Expect == topology.ResetFate:
		return "terminated"
	case end.Err != nil:
		return "BROKE: " + end.Err.Error()
	}
	return "BROKE: " + endText(f.CorrespondentEnd()) + " at the correspondent"
}

func (t *writer) line(name, format string, a ...any) {
	t.printf("    %-11s %s\n", name, fmt.Sprintf(format, a...))
}

func (t *writer) flow(r *Result, f Flow) {
	what := fmt.Sprintf("TCP, %v each way", f.Rate)
	if f.Datagrams != nil {
		what = fmt.Sprintf("UDP, a datagram each %v both ways", f.Spacing.Std())
	} else if f.Session == nil {
		what = fmt.Sprintf("UDP, a request and response each %v from a new socket", f.Spacing.Std())
	}
	t.printf("  %s: %s opens to %s port %d; %s\n", f.Name, f.From, f.To, f.Port, what)
	switch {
	case f.Before != nil:
		b := f.Before
		t.line("class", "%s, by rule %q; started by the %s", b.Class, b.Rule, strings.ReplaceAll(b.Initiator, "-", " "))
	case f.Session == nil && f.own():
		t.line("class", "not on the TUN: the kernel's policy routing sends it out by the host's own address")
	default:
		t.line("class", "the mobile node has no record of this flow")
	}
	t.address(f)
	if f.Before != nil && f.Before.Decision != nil {
		t.decision(r, f)
	}
	if f.Datagrams != nil {
		t.line("datagrams", "%s\n", f.outcome(r.Moves))
		return
	}
	if f.Session == nil {
		c := f.Count(r.Moves)
		t.line("exchanges", "%d, %d answered, in %s / %s / %s ms (min / median / max); %d within a second of a move, %d answered",
			c.Steady, c.Answered, number(c.Took.Min), number(c.Took.Median), number(c.Took.Max), c.Moving, c.MovingAnswered)
		t.printf("\n")
		return
	}
	if f.PathBefore.Flow > 0 {
		t.line("connect()", "%s, of which the round trip of the path is %s", ms(f.Session.Connect), ms(f.PathBefore.Flow))
	}
	down, up := f.Downlink(), f.Uplink()
	t.line("octets", "%.2f MB to the mobile node and %.2f MB from it arrived; each compared with what was sent: %s",
		float64(down.Received)/1e6, float64(up.Received)/1e6, verified(f))
	switch {
	case f.Termination != nil:
		t.termination(f)
	case f.Session.Survived():
		t.line("outcome", "maintained: the one connection ended in order by its program")
	default:
		t.line("outcome", "%s; at the correspondent: %s", f.outcome(r.Moves), endText(f.CorrespondentEnd()))
	}
	t.printf("\n")
}

func verified(f Flow) string {
	down, up := f.Downlink(), f.Uplink()
	switch {
	case down.Intact() && up.Intact():
		return "all of them equal"
	case down.Verified == down.Received && up.Verified == up.Received:
		return fmt.Sprintf("equal; %d and %d that were sent did not arrive", down.Sent-down.Received, up.Sent-up.Received)
	}
	return fmt.Sprintf("THEY DIFFER after %d and %d", down.Verified, up.Verified)
}

func (t *writer) address(f Flow) {
	if !f.Seen.IsValid() {
		t.line("address", "never seen by the correspondent")
		return
	}
	text := fmt.Sprintf("%s sees %v", f.Correspondent, f.Seen)
	if f.Holder != "" {
		text += ", which " + f.Holder + " holds"
	}
	if f.Bound == f.Seen {
		text += "; so does the program, untranslated"
	} else {
		text += fmt.Sprintf("; the program sees %v, translated", f.Bound)
	}
	if f.Before != nil && f.Before.Uplink != "" {
		text += "; " + f.Before.Mode + " by " + f.Before.Uplink
	}
	t.line("address", "%s", text)
}

func (t *writer) decision(r *Result, f Flow) {
	d := f.Before.Decision
	text := d.Outcome
	if d.Source != "" {
		text += "; proxies known from: " + d.Source
	}
	if d.Reused {
		text += "; an address already held"
	}
	t.line("choice", "%s", text)
	for _, c := range d.Candidates {
		t.line("", "%s", candidate(r.Names[c.Address], c))
	}
	for _, s := range d.Steps {
		t.line("", "%+8.1f ms  %s%s", s.AfterMilliseconds, s.Step, map[bool]string{true: ": " + s.Detail}[s.Detail != ""])
	}
}

func candidate(name string, c control.Candidate) string {
	known := "assumed"
	if c.Measured {
		known = "measured"
	}
	text := fmt.Sprintf("%s %s: %s to it (%s) + %s to the correspondent = %s; preference %d, load %d %%: %s", name, c.Address,
		milli(c.ToProxyMilliseconds), known, milli(c.ToCorrespondentMilliseconds), milli(c.SumMilliseconds), c.Preference, c.LoadPercent,
		map[bool]string{true: "CHOSEN", false: "not chosen"}[c.Chosen])
	if c.Reason != "" {
		text += ", " + c.Reason
	}
	return text
}

func milli(v float64) string {
	if v < 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f ms", v)
}

func (t *writer) termination(f Flow) {
	e := f.Termination
	after := func(from, to int64) string {
		d, both := measure.Since(from, to)
		if !both {
			return "never"
		}
		return ms(d)
	}
	if e.Told == 0 {
		t.line("outcome", "NOT TERMINATED: %s at the mobile node", ending(f))
		return
	}
	t.line("outcome", "terminated: %s at the mobile node, %s at the correspondent", ending(f), endText(f.CorrespondentEnd()))
	if e.Reason != "" {
		t.line("", "because: %s", e.Reason)
	}
	t.line("", "binding -> judgement %s -> program told %s; judgement -> correspondent told %s", after(e.Bound, e.Judged), after(e.Judged, e.Told), after(e.Judged, e.ToldCorrespondent))
	t.line("", "its address was given back %s after the last flow with it had ended", after(e.Unused, e.GivenBack))
}
