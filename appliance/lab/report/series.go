package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"kedge/appliance/lab/topology"
)

// Run is one of several runs of a lab.
type Run struct {
	Settings []topology.Setting
	// Directory has the run's own report.
	Directory string
	result    jsonResult
}

// Name is the values of the settings that differ between runs.
func (s Series) name(run Run) string {
	var out []string
	for i, v := range run.Settings {
		if slices.ContainsFunc(s.Runs, func(other Run) bool { return other.Settings[i] != v }) {
			out = append(out, v.Value)
		}
	}
	return strings.Join(out, " ")
}

// Series is a lab that was run with several settings, one after the other.
type Series struct {
	Title, Command string
	Runs           []Run
}

// Read takes a run's JSON report.
func (r *Run) Read(text []byte) error { return json.Unmarshal(text, &r.result) }

// Passed reports whether all runs passed.
func (s Series) Passed() bool {
	return !slices.ContainsFunc(s.Runs, func(r Run) bool { return !r.result.Passed })
}

// JSON writes all runs' documents as one.
func (s Series) JSON(w io.Writer) error {
	type run struct {
		Settings map[string]string `json:"settings"`
		Report   jsonResult        `json:"report"`
	}
	out := struct {
		Passed  bool   `json:"passed"`
		Command string `json:"command"`
		Runs    []run  `json:"runs"`
	}{Passed: s.Passed(), Command: s.Command}
	for _, r := range s.Runs {
		settings := map[string]string{}
		for _, v := range r.Settings {
			settings[v.Name] = v.Value
		}
		out.Runs = append(out.Runs, run{settings, r.result})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

// Text compares the runs, for people.
func (s Series) Text(w io.Writer) error {
	t := &writer{w: w}
	t.heading(s.Title)
	t.printf("Command   %s\n\n", s.Command)
	t.compareSignalling(s)
	t.compareDurations(s)
	t.compareSilences(s)
	t.compareProbes(s)
	t.section("Expectations")
	for _, r := range s.Runs {
		passed := 0
		for _, c := range r.result.Checks {
			if c.Passed {
				passed++
			}
		}
		t.printf("  %-14s %d of %d hold", s.name(r), passed, len(r.result.Checks))
		if r.result.Failure != "" {
			t.printf("; FAILED: %s", r.result.Failure)
		}
		t.printf("\n")
		for _, c := range r.result.Checks {
			if !c.Passed {
				t.printf("    FAIL  %s: %s (expected %s)\n", c.Name, c.Found, c.Expected)
			}
		}
	}
	t.printf("\n%s\n", map[bool]string{true: "PASSED", false: "FAILED"}[s.Passed()])
	return t.err
}

// comparePlaces has a column for each place after the first skipped ones.
func (t *writer) comparePlaces(s Series, title string, skip int, cell func(jsonPlace) string) {
	var first *jsonAccess
	for _, r := range s.Runs {
		if first = r.result.Access; first != nil {
			break
		}
	}
	if first == nil {
		return
	}
	t.section(title)
	head := []string{""}
	for i, p := range first.Places {
		switch {
		case i < skip:
		case i == 0:
			head = append(head, "attach at "+p.Router)
		default:
			head = append(head, fmt.Sprintf("%d to %s", i, p.Router))
		}
	}
	rows := [][]string{head}
	for _, r := range s.Runs {
		row := []string{s.name(r)}
		if r.result.Access != nil {
			for _, p := range r.result.Access.Places[min(skip, len(r.result.Access.Places)):] {
				row = append(row, cell(p))
			}
		}
		rows = append(rows, padded(row, len(head)))
	}
	t.table(rows)
}

func (t *writer) compareSignalling(s Series) {
	t.comparePlaces(s, "Signalling: messages and octets of each handoff", 0, func(p jsonPlace) string {
		n := 0
		for _, count := range p.Messages {
			n += count
		}
		return fmt.Sprintf("%d, %d", n, p.Octets)
	})
}

// compareDurations leaves out what the host takes for itself until it says that it is there.
func (t *writer) compareDurations(s Series) {
	t.comparePlaces(s, "From the host's first sign of life until it is told of its earlier routers, in milliseconds", 1, func(p jsonPlace) string {
		if p.Others == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", p.Others-p.Host)
	})
}

// compareSilences has a column for each move of each flow of datagrams; without any, of each connection.
func (t *writer) compareSilences(s Series) {
	type column struct {
		flow string
		move int
	}
	var columns []column
	head := []string{""}
	for _, program := range []topology.Program{topology.DatagramProgram, topology.StreamProgram} {
		for _, r := range s.Runs {
			for _, f := range r.result.Flows {
				for _, v := range f.Silences {
					c := column{f.Name, v.Move}
					if f.Program == string(program) && !slices.Contains(columns, c) {
						columns = append(columns, c)
						head = append(head, fmt.Sprintf("%s, %d to %s", f.Name, v.Move, r.result.Access.Places[v.Move].Router))
					}
				}
			}
		}
		if len(columns) > 0 {
			break
		}
	}
	if len(columns) == 0 {
		return
	}
	t.section("Silent time in milliseconds, to the host / from it, of each handoff")
	rows := [][]string{head}
	for _, r := range s.Runs {
		row := make([]string, len(head))
		row[0] = s.name(r)
		for _, f := range r.result.Flows {
			for _, v := range f.Silences {
				if i := slices.Index(columns, column{f.Name, v.Move}); i >= 0 {
					row[i+1] = jsonSilent(v.Downlink) + " / " + jsonSilent(v.Uplink)
				}
			}
		}
		rows = append(rows, row)
	}
	t.table(rows)
}

// compareProbes has a row for each probe of each run, and a column for each move of its mobile node.
func (t *writer) compareProbes(s Series) {
	var head []string
	var rows [][]string
	for _, r := range s.Runs {
		for _, p := range r.result.Probes {
			row := []string{s.name(r) + ", " + p.Name}
			names := []string{""}
			for i, h := range p.Handoffs {
				where := h.From + " -> " + h.To
				if h.From == "" || h.To == "" {
					where = strings.TrimSpace(map[bool]string{true: "into "}[h.From == ""]+h.To) + map[bool]string{true: "out of " + h.From}[h.To == ""]
				}
				names = append(names, fmt.Sprintf("%d %s", i+1, where), "lost", "BU")
				row = append(row, jsonSilent(h.Downlink)+" / "+jsonSilent(h.Uplink), fmt.Sprintf("%d / %d", h.Downlink.Lost, h.Uplink.Lost), fmt.Sprint(h.Updates))
			}
			if len(names) > len(head) {
				head = names
			}
			rows = append(rows, row)
		}
	}
	if len(head) < 2 {
		return
	}
	t.section("Silent time in milliseconds, to the mobile node / from it, datagrams lost, and Binding Updates sent, of each move")
	for i := range rows {
		rows[i] = padded(rows[i], len(head))
	}
	t.table(append([][]string{head}, rows...))
}

func jsonSilent(s jsonSilence) string {
	return map[bool]string{false: ">"}[s.Recovered] + fmt.Sprintf("%.1f", s.Silent)
}

func padded(row []string, n int) []string {
	for len(row) < n {
		row = append(row, "")
	}
	return row
}
