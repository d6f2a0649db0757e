package lab

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/space"
)

// needLab skips where labs cannot run, with the reason.
func needLab(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real traffic for seconds")
	}
	if err := space.Check(true); err != nil {
		t.Skip(err)
	}
	probe := space.Isolated(false, "lab", "list")
	if err := probe.Run(); err != nil {
		t.Skip(space.Explain(err))
	}
}

// runLab runs this binary as `kedge lab` and returns what it printed and its exit status.
func runLab(t *testing.T, args ...string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(os.Args[0], append([]string{"lab"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

type document struct {
	Passed    bool
	Downloads []struct {
		Survived, Verified bool
		Received           int64 `json:"received_octets"`
	}
	Probes []struct {
		DownlinkSent int `json:"downlink_sent"`
		DownlinkLost int `json:"downlink_lost"`
		UplinkSent   int `json:"uplink_sent"`
		UplinkLost   int `json:"uplink_lost"`
		Downlink     struct {
			Median float64
		} `json:"downlink_latency_ms"`
		Uplink struct {
			Median float64
		} `json:"uplink_latency_ms"`
		Handoffs []struct {
			From, To string
			Downlink struct {
				Silent        float64 `json:"silent_ms"`
				Recovered     bool
				Sent, Lost    int
				LatencyBefore float64 `json:"latency_before_ms"`
			}
		}
	}
	Flows []struct {
		Name, Outcome string
		To            flowWay `json:"to_mobile_node"`
		From          flowWay `json:"from_mobile_node"`
		Before        struct {
			Flow, Direct float64
			Home         float64 `json:"home_agent"`
		} `json:"round_trip_before_ms"`
		Exchanges *struct {
			Steady, Answered int
			Own              int `json:"own_address"`
		}
	}
	Nodes []struct {
		Name    string
		Packets int `json:"captured_packets"`
	}
}

type flowWay struct {
	Verified int64   `json:"verified_octets"`
	Silent   float64 `json:"silent_ms"`
}

func readDocument(t *testing.T, directory string) (d document) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(directory, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// A kernel host leaves the network of its address for 300 ms and comes back: the lab must see just that.
func TestPlainLab(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	out, status := runLab(t, "testdata/plain.toml", "-o", directory)
	if status != 0 || !strings.Contains(out, "\nPASSED\n") {
		t.Fatalf("exit status %d:\n%s", status, out)
	}
	if strings.ContainsAny(out, "\r\x1b") {
		t.Error("control codes in what is no terminal")
	}
	d := readDocument(t, directory)
	if !d.Passed || !d.Downloads[0].Survived || !d.Downloads[0].Verified || d.Downloads[0].Received < 500_000 {
		t.Errorf("download: %+v", d.Downloads)
	}
	h := d.Probes[0].Handoffs
	if len(h) != 2 || h[0].Downlink.Recovered || !h[1].Downlink.Recovered {
		t.Fatalf("handoffs: %+v", h)
	}
	// A busy machine makes everything longer, and sends fewer than the 300.
	if v := h[1].Downlink.Silent; v < 300 {
		t.Errorf("away for 300 ms, silent for %.1f ms", v)
	}
	if v := h[0].Downlink.LatencyBefore; v < 5 {
		t.Errorf("the wire has 5 ms, the median latency is %.2f ms", v)
	}
	if v := h[0].Downlink; v.Sent < 30 || v.Lost < v.Sent/2 {
		t.Errorf("%d of %d datagrams lost in a silence", v.Lost, v.Sent)
	}
	checkPicture(t, filepath.Join(directory, "timeline.svg"))
	for _, n := range d.Nodes {
		checkCapture(t, filepath.Join(directory, n.Name+".pcapng"), n.Packets)
	}
}

func checkPicture(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	shapes := map[string]int{}
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s is not XML: %v", path, err)
		}
		if e, ok := token.(xml.StartElement); ok {
			shapes[e.Name.Local]++
		}
	}
	if shapes["polyline"] < 2 || shapes["line"] < 4 {
		t.Errorf("%s draws no curves: %v", path, shapes)
	}
}

// checkCapture asks an independent program how many packets there are and whether they are in order of time.
func checkCapture(t *testing.T, path string, packets int) {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("no tshark to read the captures with")
		return
	}
	out, err := exec.Command(tshark, "-r", path, "-T", "fields", "-e", "frame.time_delta", "-e", "frame.interface_name").Output()
	if err != nil {
		t.Fatalf("tshark cannot read %s: %v", path, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != packets || packets < 100 {
		t.Errorf("%s: tshark reads %d packets, the lab says %d", path, len(lines), packets)
	}
	for i, line := range lines {
		if strings.HasPrefix(line, "-") {
			t.Errorf("%s: packet %d is earlier than the one before", path, i+1)
		}
		if !strings.Contains(line, "eth") {
			t.Fatalf("%s: packet %d has no interface name: %q", path, i+1, line)
		}
	}
}

func TestImpairedWire(t *testing.T) {
	needLab(t)
	directory := t.TempDir()
	out, status := runLab(t, "testdata/impaired.toml", "-o", directory)
	if status != 0 {
		t.Fatalf("exit status %d:\n%s", status, out)
	}
	p := readDocument(t, directory).Probes[0]
	// What is above the stated delay is this machine's scheduling, which may be anything when it is busy.
	if v := p.Downlink.Median; v < 20 || v > 100 {
		t.Errorf("the wire has 20 ms downlink, the median latency is %.2f ms", v)
	}
	// A datagram of 126 octets on the wire takes 0.5 ms at 2 Mbit/s.
	if v := p.Uplink.Median; v < 5.5 || v > 85 {
		t.Errorf("the wire has 5.5 ms uplink, the median latency is %.2f ms", v)
	}
	// About 2000 datagrams; 10 % are 200, and five standard deviations 67.
	if loss := float64(p.DownlinkLost) / float64(p.DownlinkSent); loss < 0.06 || loss > 0.14 {
		t.Errorf("loss of 10 %% stated, %d of %d lost", p.DownlinkLost, p.DownlinkSent)
	}
	if p.UplinkLost > p.UplinkSent/50 {
		t.Errorf("no loss stated, %d of %d lost", p.UplinkLost, p.UplinkSent)
	}
}

// The commands for exploring, and a kernel host that autoconfigures by the lab's router advertisements on both links.
func TestUpExecMoveDown(t *testing.T) {
	needLab(t)
	t.Setenv(stateVariable, t.TempDir())
	directory := t.TempDir()
	if out, status := runLab(t, "up", "testdata/slaac.toml", "-o", directory); status != 0 {
		t.Fatalf("up: exit status %d:\n%s", status, out)
	}
	down := false
	t.Cleanup(func() {
		if !down {
			runLab(t, "down", "slaac-test")
		}
	})
	if out, status := runLab(t, "up", "testdata/slaac.toml", "-o", directory); status == 0 || !strings.Contains(out, "up already") {
		t.Errorf("up twice: exit status %d: %s", status, out)
	}
	if out, _ := runLab(t, "list"); !strings.Contains(out, "up: slaac-test") {
		t.Errorf("list does not show the lab: %s", out)
	}
	awaitPrefix := func(prefix string) {
		t.Helper()
		var out string
		for end := time.Now().Add(8 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			var status int
			out, status = runLab(t, "exec", "slaac-test", "mn", "--", "cat", "/proc/net/if_inet6")
			if status != 0 {
				t.Fatalf("exec: exit status %d: %s", status, out)
			}
			if strings.Contains(out, prefix) {
				return
			}
		}
		t.Fatalf("no address in %s on the node:\n%s", prefix, out)
	}
	awaitPrefix("20010db800010000")
	if out, status := runLab(t, "move", "slaac-test", "mn", "eth0", "access2"); status != 0 {
		t.Fatalf("move: exit status %d: %s", status, out)
	}
	awaitPrefix("20010db800020000")
	if out, _ := runLab(t, "exec", "slaac-test", "mn", "--", "cat", "/run/kedge/note"); out != "seen by the node\n" {
		t.Errorf("the node's file reads %q", out)
	}
	if out, _ := runLab(t, "exec", "slaac-test", "mn", "--", "ls", "/sys/class/net"); !strings.Contains(out, "eth0") {
		t.Errorf("the node's /sys/class/net has %q", out)
	}
	if _, status := runLab(t, "exec", "slaac-test", "mn", "--", "sh", "-c", "exit 7"); status != 7 {
		t.Errorf("exit status %d came through as %d", 7, status)
	}
	if out, status := runLab(t, "exec", "slaac-test", "nobody", "--", "true"); status == 0 || !strings.Contains(out, "there are ar, mn") {
		t.Errorf("exec on no node: exit status %d: %s", status, out)
	}
	if out, status := runLab(t, "down", "slaac-test"); status != 0 {
		t.Errorf("down: exit status %d: %s", status, out)
	}
	down = true
	if out, status := runLab(t, "exec", "slaac-test", "mn", "--", "true"); status == 0 || !strings.Contains(out, "is not up") {
		t.Errorf("exec after down: exit status %d: %s", status, out)
	}
}

// A node whose program ends makes the lab fail, with what the program said.
func TestNodeEnds(t *testing.T) {
	needLab(t)
	file := filepath.Join(t.TempDir(), "ends.toml")
	if err := os.WriteFile(file, []byte(`
start_timeout = "1s"
[[node]]
name = "mn"
kind = "kedge"
command = ["sh", "-c", "echo no licence to run; exit 3"]
[[node]]
name = "cn"
kind = "host"
[[probe]]
name = "probe"
correspondent = "cn"
correspondent_address = "::1"
mobile = "mn"
mobile_address = "2001:db8::1"
`), 0o644); err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	out, status := runLab(t, file, "-o", directory)
	if status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	for _, want := range []string{"node mn ended: exit status 3", "no licence to run", "does not have the address 2001:db8::1 yet", "\nFAILED"} {
		if !strings.Contains(out, want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
	if readDocument(t, directory).Passed {
		t.Error("the JSON says that it passed")
	}
}
