package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

const msec = int64(time.Millisecond)

func duration(ms int64) *time.Duration {
	d := time.Duration(ms * msec)
	return &d
}

// example is a lab with one foreign move of 30 ms and one home move that never recovered.
func example() *Result {
	lab := &topology.Lab{Name: "example", Title: "a <title> & more", Offload: "none"}
	lab.Expect = topology.Expectations{
		TCPSurvives: true, HashVerified: true,
		Foreign:   &topology.MoveExpectations{DownlinkMedianMax: topology.Of(50 * time.Millisecond), LossMax: 10},
		Returning: &topology.MoveExpectations{UplinkMedianMax: topology.Of(50 * time.Millisecond)},
	}
	began := time.Unix(1000, 0)
	start := began.UnixNano()
	silence := func(from, length int64, lost int) measure.Silence {
		return measure.Silence{From: start + from*msec, To: start + (from+length)*msec, Recovered: true, Sent: 1000, Lost: lost}
	}
	foreign := measure.Handoff{
		Move:     measure.Move{Node: "mn", Class: topology.ForeignMove, Interface: "eth0", From: "access1", To: "access2", Unplugged: start + 1000*msec, Plugged: start + 1001*msec},
		Downlink: silence(1000, 30, 29), Uplink: silence(1000, 5, 2),
		Parts: measure.Parts{LinkUp: duration(1), UpdateSent: duration(2), Acknowledgement: duration(25), FirstDownlink: duration(29), FirstUplink: duration(4)},
		Events: []measure.Event{
			{Node: "mn", Time: time.Unix(0, start+1002*msec), Kind: measure.RouterAdvertisement, Peer: "fe80::1"},
			{Node: "mn", Time: time.Unix(0, start+1003*msec), Kind: measure.BindingUpdateSent, Peer: "2001:db8::1", Sequence: 7, Lifetime: 60, CareOf: "2001:db8:2::9"},
			{Node: "mn", Time: time.Unix(0, start+1026*msec), Kind: measure.AcknowledgementArrived, Peer: "2001:db8::1", Sequence: 7, Lifetime: 60},
		},
	}
	home := measure.Handoff{
		Move:     measure.Move{Node: "mn", From: "access2", To: "home", Class: topology.ReturningMove, Unplugged: start + 2000*msec, Plugged: start + 2001*msec},
		Downlink: silence(2000, 1000, 1000), Uplink: silence(2000, 20, 1),
	}
	home.Downlink.Recovered = false
	handoffs := []measure.Handoff{foreign, home}
	var samples []traffic.Sample
	var arrivals []traffic.Arrival
	for i := range int64(60) {
		samples = append(samples, traffic.Sample{Time: start + i*50*msec, Octets: 125_000})
	}
	for i := range int64(1900) {
		arrivals = append(arrivals, traffic.Arrival{Sequence: uint64(i), Sent: start + i*msec, Received: start + (i+10)*msec})
	}
	return &Result{
		Lab: lab, Machine: "test", Command: "kedge lab example", Began: began, Ended: began.Add(3 * time.Second),
		Downloads: []Download{{
			Download: topology.Download{Name: "download", From: "cn", To: "mn", ToAddress: netip.IPv6Loopback()},
			Outcome:  traffic.Outcome{Connections: 1, Sent: 100, Received: 99, SentHash: strings.Repeat("a", 64), ReceivedHash: strings.Repeat("b", 64), Samples: samples},
		}},
		Probes: []Probe{{
			Probe:    topology.Probe{Name: "probe", Correspondent: "cn", Mobile: "mn", Spacing: topology.Of(time.Millisecond)},
			Downlink: traffic.Snapshot{Sent: make([]int64, 2000), Arrivals: arrivals},
			Handoffs: handoffs, Classes: measure.Classify(handoffs),
		}},
		Nodes: []Node{{Name: "mn", Kind: topology.KedgeKind, Exit: "exit status 1", Capture: CaptureCounts{Packets: 5}}},
	}
}

func TestJudge(t *testing.T) {
	r := example()
	r.Judge()
	got := map[string]bool{}
	for _, c := range r.Checks {
		got[c.Name] = c.Passed
	}
	want := map[string]bool{
		"download: the TCP connection survives":                          true,
		"download: every octet arrives unchanged":                        false,
		"probe, moves between foreign links: traffic resumes after each": true,
		"probe, moves between foreign links: downlink silent, median":    true,
		"probe, moves between foreign links: datagrams lost by one move": false,
		"probe, moves to the home link: traffic resumes after each":      false,
		"probe, moves to the home link: uplink silent, median":           true,
		"node mn: runs to the end":                                       false,
	}
	for name, passed := range want {
		if v, ok := got[name]; !ok || v != passed {
			t.Errorf("%s: found %v, %v", name, v, ok)
		}
	}
	if len(got) != len(want) || r.Passed() {
		t.Errorf("checks: %+v", r.Checks)
	}
	if (&Result{Failure: errors.New("x")}).Passed() || (&Result{Interrupted: true}).Passed() || !(&Result{}).Passed() {
		t.Error("a lab that was not carried through passes, or one without expectations fails")
	}
}

func TestText(t *testing.T) {
	r := example()
	r.Judge()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"1 access1 -> access2", ">1000.0", "plugged in to BA received", "SHA-256 DIFFERS", "ENDED EARLY: exit status 1",
		"+2.0 ms  mn     ----> 2001:db8::1        Binding Update (sequence 7, lifetime 60s, care-of 2001:db8:2::9)",
		"\nFAILED\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

func TestJSON(t *testing.T) {
	r := example()
	r.Failure = errors.New("broke")
	var b bytes.Buffer
	if err := r.JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Passed  bool
		Failure string
		Probes  []struct {
			Classes map[string]struct {
				Downlink struct{ Median float64 } `json:"downlink_silent_ms"`
			}
			Handoffs []struct {
				Parts map[string]float64 `json:"since_plugged_in_ms"`
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Passed || got.Failure != "broke" || got.Probes[0].Classes["foreign"].Downlink.Median != 30 || got.Probes[0].Handoffs[0].Parts["BA received"] != 25 {
		t.Errorf("%+v", got)
	}
}

func TestSVG(t *testing.T) {
	for name, r := range map[string]*Result{"full": example(), "empty": {Lab: &topology.Lab{Name: "x"}}} {
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: the picture has no-numbers", name)
		}
		texts := ""
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if c, ok := token.(xml.CharData); ok {
				texts += string(c) + "\n"
			}
		}
		if name == "full" && (!strings.Contains(texts, "a <title> & more") || !strings.Contains(texts, "1: access2") || !strings.Contains(texts, "30.0 ms")) {
			t.Errorf("the picture says %q", texts)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteErrors(t *testing.T) {
	r := example()
	for name, write := range map[string]func(io.Writer) error{"text": r.Text, "JSON": r.JSON, "SVG": r.SVG} {
		if err := write(fullDisk{}); err == nil {
			t.Errorf("%s: a full disk is no error", name)
		}
	}
}
