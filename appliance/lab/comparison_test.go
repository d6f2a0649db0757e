package lab

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
)

type comparisonDocument struct {
	Passed      bool
	Interrupted bool
	Failure     string
	LeftOut     []report.LeftOut `json:"left_out"`
	Ratios      []report.Ratio
	Samples     []report.Sample
}

func readComparison(t *testing.T, text []byte) (d comparisonDocument) {
	t.Helper()
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return d
}

// Everything is measured of each system under each condition.
func TestComparison(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	markdown := filepath.Join(directory, "table.md")
	out, status := runLab(t, "throughput", "testdata/compare.toml", "--systems", "two,three", "--conditions", "on,gro", "--seconds", "0.15",
		"--streams", "1,3", "--rounds", "1", "--markdown", markdown, "-o", directory)
	if status != 0 || !strings.Contains(out, "\nMEASURED\n") || !strings.Contains(out, "three / two") {
		t.Fatalf("exit status %d:\n%s", status, out)
	}
	text, err := os.ReadFile(filepath.Join(directory, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	d := readComparison(t, text)
	count := map[topology.Figure]int{}
	for _, s := range d.Samples {
		count[s.Figure]++
		if s.Value <= 0 && s.Figure != report.IdleFigure && s.Figure != topology.ProcessorFigure {
			t.Errorf("%+v", s)
		}
	}
	// Two systems and conditions; two directions and numbers of streams.
	for figure, want := range map[topology.Figure]int{
		topology.TCPFigure: 16, topology.PacketsFigure: 8, topology.MedianFigure: 4, topology.TailFigure: 4, report.IdleFigure: 4,
	} {
		if count[figure] != want {
			t.Errorf("%s: %d samples, expected %d", figure, count[figure], want)
		}
	}
	marked := 0
	for _, r := range d.Ratios {
		if r.Mark == report.ReachesMust {
			marked++
		}
	}
	if marked != 4 {
		t.Errorf("%d ratios reach what they must, expected TCP's 4 under gro: %+v", marked, d.Ratios)
	}
	if text, err := os.ReadFile(markdown); err != nil || !strings.Contains(string(text), "| gro: TCP up, 1 stream | ") {
		t.Errorf("%v:\n%s", err, text)
	}
}

// A system that fails is left out with what it had to say, and the others are measured.
func TestComparisonFailure(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	var out strings.Builder
	cmd := exec.Command(os.Args[0], "lab", "throughput", "testdata/compare.toml", "--systems", "two,elsewhere", "--conditions", "gro", "--seconds", "0.1",
		"--measure", "latency", "--rounds", "1", "--json", "-o", directory)
	cmd.Stdout = &out
	_ = cmd.Run()
	d := readComparison(t, []byte(out.String()))
	if status := cmd.ProcessState.ExitCode(); status != exitFailed || d.Passed || !strings.Contains(d.Failure, "this one gives up") {
		t.Errorf("exit status %d, failure %q", status, d.Failure)
	}
	if len(d.LeftOut) != 1 || d.LeftOut[0].System != "elsewhere" || len(d.Samples) == 0 {
		t.Errorf("left out %+v, %d samples", d.LeftOut, len(d.Samples))
	}
}

// What was measured before an interrupt is reported.
func TestComparisonInterrupted(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	cmd := exec.Command(os.Args[0], "lab", "throughput", "testdata/compare.toml", "--systems", "two", "--seconds", "0.1", "--rounds", "1000",
		"--measure", "latency", "-o", directory)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var last string
	sent := false
	for lines := bufio.NewScanner(out); lines.Scan(); last += lines.Text() + "\n" {
		if !sent && strings.Contains(lines.Text(), "round 1 of") {
			sent = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != exitInterrupted || !strings.Contains(last, "\nINTERRUPTED\n") || !strings.Contains(last, "round trip, median") {
		t.Errorf("exit status %d:\n%s", status, last)
	}
}

func TestComparisonOptions(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--systems", "tow"}, `--systems: found "tow", expected some of two, three, elsewhere`},
		{[]string{"--conditions", "max"}, `--conditions: found "max", expected some of gro, mtu, on, off`},
		{[]string{"--directions", "left"}, `--directions: found "left"`},
		{[]string{"--measure", "joy"}, `--measure: found "joy"`},
		{[]string{"--streams", "0"}, `--streams: found 0`},
		{[]string{"--rounds", "-1"}, `--rounds: found -1`},
		{[]string{"--seconds", "0"}, `--seconds: found 0`},
	} {
		out, status := runLab(t, append([]string{"throughput", "testdata/compare.toml"}, c.args...)...)
		if status == 0 || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit status %d, %q, expected %q", c.args, status, out, c.want)
		}
	}
	if out, status := runLab(t, "throughput", "testdata/plain.toml"); status == 0 || !strings.Contains(out, "has no [compare]") {
		t.Errorf("exit status %d, %q", status, out)
	}
	if out, status := runLab(t, "testdata/compare.toml"); status == 0 || !strings.Contains(out, "kedge lab throughput") {
		t.Errorf("exit status %d, %q", status, out)
	}
}

func TestWireGuardProgram(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := wireGuard("", "."); err == nil || !strings.Contains(err.Error(), wireGuardSource) {
		t.Errorf("error %v, expected it to say where it looked", err)
	}
	if _, err := wireGuard("no-such-wireguard", "."); err == nil {
		t.Error("a program that does not exist is taken")
	}
}
