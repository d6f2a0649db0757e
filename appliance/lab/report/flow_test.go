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

	"golang.org/x/sys/unix"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// flowsExample has a flow that was maintained, one that was ended, and exchanges, around a move at 2000 ms.
func flowsExample() *Result {
	home, lent := netip.MustParseAddr("2001:db8:f::100"), netip.MustParseAddr("2001:db8:d1::7")
	own := netip.MustParseAddr("2001:db8:1::9")
	began := time.Unix(1000, 0)
	at := func(ms int64) int64 { return began.UnixNano() + ms*msec }
	way := func(until int64) (w traffic.Way) {
		for ms := int64(100); ms < until; ms += 5 {
			w.Sent += 1000
			w.Writes = append(w.Writes, traffic.Mark{Time: at(ms), Octets: w.Sent})
			w.Arrivals = append(w.Arrivals, traffic.Mark{Time: at(ms + 6), Octets: w.Sent})
		}
		w.Received, w.Verified = w.Sent, w.Sent
		return w
	}
	session := func(until int64, err error) *traffic.SessionOutcome {
		return &traffic.SessionOutcome{
			Opened: at(80), Connect: 12 * time.Millisecond,
			Opener: traffic.End{Closed: at(until), Err: err}, Acceptor: traffic.End{Closed: at(until + 6), Err: err},
			Forward: way(until), Backward: way(until),
		}
	}
	silence := measure.Silence{From: at(1998), To: at(2040), Recovered: true}
	known := &control.Flow{
		Class: "session-lasting", Rule: "everything else", Initiator: "mobile-node", Mode: "bidirectional-tunnel", Uplink: "eth0",
		Decision: &control.Decision{
			Outcome: "an address of a DHP", Source: "home agent",
			Candidates: []control.Candidate{
				{Address: netip.MustParseAddr("2001:db8:b1::1"), ToProxyMilliseconds: 10, Measured: true, ToCorrespondentMilliseconds: 0.25, SumMilliseconds: 10.25, Chosen: true, Reason: "lowest sum"},
				{Address: netip.MustParseAddr("2001:db8:b2::1"), ToProxyMilliseconds: 90, ToCorrespondentMilliseconds: -1, SumMilliseconds: 90},
			},
			Steps: []control.DecisionStep{{AfterMilliseconds: 0.1, Step: "dhp-query-sent", Detail: "one"}},
		},
	}
	prefix := []netip.Prefix{netip.MustParsePrefix("2001:db8:d1::/64")}
	maintained := Flow{
		Flow:   topology.Flow{Name: "file", Program: topology.StreamProgram, From: "mn", To: "cn", Expect: topology.SurvivesFate, Class: "session-lasting", SeenAs: prefix},
		Mobile: "mn", Correspondent: "cn", Session: session(4000, nil), Seen: lent, Bound: home, Holder: "dhp1", Before: known,
		ToMobile: silence, FromMobile: silence,
		PathBefore: RoundTrips{Flow: 10 * time.Millisecond, Home: 170 * time.Millisecond, Direct: 9 * time.Millisecond},
	}
	ended := maintained
	ended.Name, ended.Expect = "bounded", topology.ResetFate
	ended.Session = session(2400, unix.ECONNRESET)
	ended.Termination = &measure.Termination{
		Bound: at(2050), Judged: at(2380), Reason: "50 ms are more than 30 ms", Told: at(2400), ToldCorrespondent: at(2406), Unused: at(4000), GivenBack: at(5000),
	}
	exchanges := Flow{
		Flow:   topology.Flow{Name: "look-ups", Program: topology.ExchangeProgram, From: "mn", To: "cn", SeenAs: []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}},
		Mobile: "mn", Correspondent: "cn", Seen: own, Bound: own,
	}
	for ms := int64(100); ms < 4000; ms += 100 {
		x := traffic.Exchange{Began: at(ms), Took: 10 * time.Millisecond, Local: own, Seen: own}
		if ms == 2000 {
			x.Err, x.Took = errors.New("no response"), 50*time.Millisecond
		}
		exchanges.Exchanges = append(exchanges.Exchanges, x)
	}
	lab := &topology.Lab{Name: "flows", Title: "example", Offload: "none"}
	lab.Expect.Flows = topology.FlowExpectations{JudgedMax: topology.Of(time.Second), ResetMax: topology.Of(100 * time.Millisecond), GivenBackMax: topology.Of(2 * time.Second)}
	return &Result{
		Lab: lab, Machine: "test", Began: began, Ended: began.Add(5 * time.Second),
		Flows:  []Flow{maintained, ended, exchanges},
		Moves:  []measure.Move{{Node: "mn", From: "a", To: "b", Unplugged: at(2000), Plugged: at(2001)}},
		Leases: []measure.Lease{{Address: lent, Lent: at(90), GivenBack: at(5000)}},
		Names:  map[netip.Addr]string{netip.MustParseAddr("2001:db8:b1::1"): "dhp1"},
		Echoes: []Echo{{
			Echo:  topology.Echo{Name: "cn-home", Path: topology.HomePath, To: "cn"},
			Trips: []traffic.RoundTrip{{Sent: at(100), Took: 170 * time.Millisecond}, {Sent: at(300), Took: 171 * time.Millisecond}},
		}},
	}
}

func failed(r *Result) (names []string) {
	for _, c := range r.Checks {
		if !c.Passed {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestJudgeFlows(t *testing.T) {
	r := flowsExample()
	r.Judge()
	if f := failed(r); len(f) > 0 || len(r.Checks) != 13 {
		t.Errorf("%d checks, failed: %q", len(r.Checks), f)
	}
	for _, c := range []struct {
		name  string
		spoil func(*Result)
		want  string
	}{
		{"address", func(r *Result) { r.Flows[0].Seen = r.Flows[0].Bound }, "file: the correspondent knows it by the address expected"},
		{"class", func(r *Result) { r.Flows[0].Before = nil }, "file: class"},
		{"octets", func(r *Result) { r.Flows[0].Session.Backward.Verified-- }, "file: every octet arrives unchanged both ways"},
		{"connection", func(r *Result) { r.Flows[0].Session.Opener.Err = unix.ETIMEDOUT }, "file: the one connection survives"},
		{"judged late", func(r *Result) { r.Flows[1].Termination.Bound -= 1000 * msec }, "bounded: from the binding to the judgement"},
		{"reset late", func(r *Result) { r.Flows[1].Termination.Told += 100 * msec }, "bounded: from the judgement to the reset"},
		{"not told", func(r *Result) { r.Flows[1].Session.Opener.Err = unix.ETIMEDOUT }, "bounded: the program is told"},
		{"other end not told", func(r *Result) { r.Flows[1].Session.Acceptor.Err = nil }, "bounded: the correspondent is told"},
		{"kept", func(r *Result) { r.Flows[1].Termination.GivenBack = 0 }, "bounded: from the last flow's end until its address is given back"},
		{"changed", func(r *Result) { r.Flows[1].Session.Forward.Verified-- }, "bounded: what arrived before the end arrived unchanged"},
		{"home address", func(r *Result) { r.Flows[2].Exchanges[3].Seen = r.Flows[0].Bound }, "look-ups: every exchange uses the host's own address and is answered"},
		{"unanswered", func(r *Result) { r.Flows[2].Exchanges[38].Err = errors.New("lost") }, "look-ups: every exchange uses the host's own address and is answered"},
	} {
		r := flowsExample()
		c.spoil(r)
		r.Judge()
		if f := failed(r); len(f) != 1 || f[0] != c.want {
			t.Errorf("%s: failed %q, expected %q alone", c.name, f, c.want)
		}
	}
}

func TestCount(t *testing.T) {
	r := flowsExample()
	c := r.Flows[2].Count(r.Moves)
	// 11 began within the second after the move at 2000 and 2001 ms: 2000 to 3000.
	if c.Steady != 28 || c.Answered != 28 || c.Own != 28 || c.Moving != 11 || c.MovingAnswered != 10 || c.Silence != 200*time.Millisecond {
		t.Errorf("%+v", c)
	}
}

func TestFlowText(t *testing.T) {
	r := flowsExample()
	r.Judge()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"file      mn         session-lasting  2001:db8:d1::7  dhp1", "maintained", "terminated", "38 of 39 exchanges answered",
		"session-lasting, by rule \"everything else\"; started by the mobile node", "cn sees 2001:db8:d1::7, which dhp1 holds; the program sees 2001:db8:f::100, translated",
		"dhp1 2001:db8:b1::1: 10.0 ms to it (measured) + 0.2 ms to the correspondent = 10.2 ms; preference 0, load 0 %: CHOSEN, lowest sum",
		"90.0 ms to it (assumed) + unknown to the correspondent", "+0.1 ms  dhp-query-sent: one",
		"binding -> judgement 330.0 ms -> program told 20.0 ms", "given back 1000.0 ms after", "all of them equal", "2001:db8:d1::7  0.090  5.000       file, bounded", "connect()   12.0 ms, of which", "connection reset by peer", "PASSED",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
}

func TestFlowJSON(t *testing.T) {
	var b bytes.Buffer
	if err := flowsExample().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Flows []struct {
			Name, Outcome string
			Seen          string `json:"address_seen_by_correspondent"`
			Connect       float64
			Before        *control.Flow                    `json:"before_move"`
			ToMobile      *struct{ Silent float64 }        `json:"to_mobile_node"`
			End           *struct{ Judged, Told *float64 } `json:"termination"`
			Exchanges     *struct{ Steady, Answered int }
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Flows) != 3 || got.Flows[0].Seen != "2001:db8:d1::7" || got.Flows[0].Before.Rule != "everything else" || got.Flows[1].Outcome != "terminated" || got.Flows[1].End == nil || got.Flows[2].Exchanges.Steady != 28 {
		t.Errorf("%s", b.String())
	}
}

func TestFlowSVG(t *testing.T) {
	bare := flowsExample()
	for i := range bare.Flows {
		bare.Flows[i].Session, bare.Flows[i].Termination = &traffic.SessionOutcome{}, nil
	}
	for name, r := range map[string]*Result{"full": flowsExample(), "bare": bare} {
		var b bytes.Buffer
		if err := r.SVG(&b); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
			t.Errorf("%s: the picture has no-numbers", name)
		}
		texts, curves := "", 0
		for d := xml.NewDecoder(&b); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch v := token.(type) {
			case xml.CharData:
				texts += string(v) + "\n"
			case xml.StartElement:
				if v.Name.Local == "polyline" {
					curves++
				}
			}
		}
		if name == "full" && (curves != 4 || !strings.Contains(texts, "1: b") || !strings.Contains(texts, "reset 20.0 ms after judged")) {
			t.Errorf("%d curves, and the picture says %q", curves, texts)
		}
	}
}
