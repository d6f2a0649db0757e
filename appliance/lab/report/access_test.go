package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

const (
	dlif1, mac1 = "fe80::1", "02:00:00:00:00:01"
	dlif2, mac2 = "fe80::2", "02:00:00:00:00:02"
)

// accessExample is a host that moves from maar1 to maar2 at 1000 ms with all as it should be.
func accessExample() *Result {
	began := time.Unix(1000, 0)
	at := func(ms int64) int64 { return began.UnixNano() + ms*msec }
	prefix1, prefix2 := netip.MustParsePrefix("2001:db8:1000:7::/64"), netip.MustParsePrefix("2001:db8:2000:8::/64")
	address1, address2 := netip.MustParseAddr("2001:db8:1000:7::64"), netip.MustParseAddr("2001:db8:2000:8::64")
	maar1, maar2, cmd := netip.MustParseAddr("2001:db8:a1::2"), netip.MustParseAddr("2001:db8:a2::2"), netip.MustParseAddr("2001:db8:e::2")
	cn := netip.AddrPortFrom(netip.MustParseAddr("2001:db8:c::2"), 5001)
	told := func(ms int64, from, mac string, prefix netip.Prefix, preferred time.Duration) measure.Message {
		return measure.Message{
			Time: at(ms), From: netip.MustParseAddr(from), LinkLayer: mac, Kind: "RA", Detail: prefix.String(),
			Prefixes: []measure.AdvertisedPrefix{{Prefix: prefix, Preferred: preferred, Valid: time.Hour}},
		}
	}
	router := func(address, mac string) space.HostNeighbor {
		return space.HostNeighbor{Address: netip.MustParseAddr(address), LinkLayer: mac, Router: true, State: "stale"}
	}
	exchanges := func(from netip.Addr, begin, end int64) (out []traffic.Exchange) {
		for ms := begin; ms < end; ms += 100 {
			out = append(out, traffic.Exchange{Began: at(ms), Took: 10 * time.Millisecond, Local: from, Seen: from})
		}
		return out
	}
	silence := measure.Silence{From: at(998), To: at(1060), Recovered: true, Sent: 500, Lost: 31}
	var down traffic.Snapshot
	for i := range int64(1000) {
		down.Sent = append(down.Sent, at(2*i))
		down.Arrivals = append(down.Arrivals, traffic.Arrival{Sequence: uint64(i), Sent: at(2 * i), Received: at(2*i + 5)})
	}
	move := measure.Move{Node: "host", Interface: "eth0", From: "access1", To: "access2", Way: topology.CarrierWay, Unplugged: at(999), Plugged: at(1000)}
	r := &Result{
		Lab:   &topology.Lab{Name: "access", Title: "a host moves", Settings: []topology.Setting{{Name: "cmd-mode", Value: "proxy"}}},
		Began: began, Ended: began.Add(2 * time.Second), Moves: []measure.Move{move},
		Flows: []Flow{
			{Flow: topology.Flow{Name: "udp-1", Program: topology.DatagramProgram}, Mobile: "host", Correspondent: "cn", Seen: address1,
				Datagrams: &Datagrams{Downlink: down, Uplink: down}, Silences: []MoveSilence{{Downlink: silence, Uplink: silence}}},
			{Flow: topology.Flow{Name: "udp-2", Program: topology.DatagramProgram, AfterMove: 1}, Mobile: "host", Correspondent: "cn", Seen: address2,
				Datagrams: &Datagrams{Downlink: down, Uplink: down}},
			{Flow: topology.Flow{Name: "look-ups", Program: topology.ExchangeProgram}, Mobile: "host", Correspondent: "cn",
				Exchanges: append(exchanges(address1, 0, 1100), exchanges(address2, 1200, 2000)...)},
		},
		Access: &Access{
			Host: "host", Transit: "core", Names: map[netip.Addr]string{maar1: "maar1", maar2: "maar2", cmd: "cmd"},
			Places: []Place{
				{
					Network: "access1", Router: "maar1", Pool: netip.MustParsePrefix("2001:db8:1000::/48"), Begin: at(0), Plugged: at(0), End: at(999),
					Host: space.HostState{
						Addresses: []space.HostAddress{{Address: address1, Preferred: time.Hour, Valid: time.Hour}},
						Neighbors: []space.HostNeighbor{router(dlif1, mac1)}, Routers: []netip.Addr{netip.MustParseAddr(dlif1)},
					},
					Messages: []measure.Message{told(-500, dlif1, mac1, prefix1, time.Hour)},
					Data:     []measure.Data{{Time: at(500), From: netip.AddrPortFrom(address1, 9), To: cn, Octets: 100}},
				},
				{
					Network: "access2", Router: "maar2", Pool: netip.MustParsePrefix("2001:db8:2000::/48"), Way: topology.CarrierWay,
					Begin: at(999), Plugged: at(1000), End: at(2000),
					Host: space.HostState{
						Addresses: []space.HostAddress{{Address: address1, Deprecated: true, Valid: time.Hour}, {Address: address2, Preferred: time.Hour, Valid: time.Hour}},
						Neighbors: []space.HostNeighbor{router(dlif1, mac1), router(dlif2, mac2)},
						Routers:   []netip.Addr{netip.MustParseAddr(dlif1), netip.MustParseAddr(dlif2)},
					},
					Tunnels: []Tunnel{{Node: "maar1", Prefix: prefix1, Remote: maar2}},
					Messages: []measure.Message{
						{Time: at(1001), From: netip.MustParseAddr("fe80::64"), Kind: "MLD", Detail: "multicast listener report"},
						{Time: at(1002), From: maar2, To: cmd, Kind: "PBU", Detail: "sequence 7", Octets: 200},
						{Time: at(1042), From: cmd, To: maar2, Kind: "PBA", Detail: "previous MAAR 2001:db8:a1::2", Octets: 200},
						told(1045, dlif2, mac2, prefix2, time.Hour), told(1046, dlif1, mac1, prefix1, 0), told(1600, dlif1, mac1, prefix1, 0),
					},
					Data: []measure.Data{
						{Time: at(1500), From: netip.AddrPortFrom(address2, 9), To: cn, Octets: 100},
						{Time: at(1050), From: netip.AddrPortFrom(address1, 9), To: cn, Octets: 140, OuterFrom: maar2, OuterTo: maar1},
					},
				},
			},
		},
	}
	return r
}

func TestAccessJudgement(t *testing.T) {
	r := accessExample()
	r.Judge()
	if !r.Passed() || len(r.Checks) != 11 {
		t.Errorf("as it should be, %d checks: %+v", len(r.Checks), r.Checks)
	}
	for _, c := range []struct {
		name, check, found string
		spoil              func(*Result, *Place)
	}{
		{"tentative", "place 2, maar2: the host has an address", "tentative", func(_ *Result, p *Place) { p.Host.Addresses[1].Tentative = true }},
		{"no local prefix", "place 2, maar2: the host has an address", "none", func(_ *Result, p *Place) { p.Messages = nil }},
		{"old address preferred", "place 2, maar2: the host keeps its addresses", "2001:db8:1000:7::64 is preferred", func(_ *Result, p *Place) {
			p.Host.Addresses[0].Deprecated, p.Host.Addresses[0].Preferred = false, time.Minute
		}},
		{"old address gone", "place 2, maar2: the host keeps its addresses", "none of 2001:db8:1000:7::/64", func(_ *Result, p *Place) { p.Host.Addresses = p.Host.Addresses[1:] }},
		{"another MAC", "place 2, maar2: earlier MAARs keep", "maar1 was fe80::1 at " + mac1 + " and is fe80::1 at " + mac2, func(_ *Result, p *Place) {
			p.Messages[4].LinkLayer, p.Messages[5].LinkLayer = mac2, mac2
		}},
		{"another MAC in the cache", "place 2, maar2: earlier MAARs keep", "maar1 is at " + mac2 + " in the host's neighbour cache", func(_ *Result, p *Place) { p.Host.Neighbors[0].LinkLayer = mac2 }},
		{"router gone", "place 2, maar2: earlier MAARs keep", "maar1 is not in the host's router list", func(_ *Result, p *Place) { p.Host.Routers = p.Host.Routers[1:] }},
		{"not advertised", "place 2, maar2: earlier MAARs keep", "maar1's prefix is not advertised", func(_ *Result, p *Place) { p.Messages = p.Messages[:4] }},
		{"tunnel", "place 2, maar2: nothing with the local prefix", "1 of 2 packets", func(_ *Result, p *Place) {
			d := p.Data[0]
			d.OuterFrom, d.OuterTo = p.Data[1].OuterTo, p.Data[1].OuterFrom
			p.Data = append(p.Data, d)
		}},
		{"wrong prefix", "udp-2: opened at maar2", "2001:db8:1000:7::64", func(r *Result, _ *Place) { r.Flows[1].Seen = r.Flows[0].Seen }},
		{"no answer", "place 2, maar2: new exchanges", "5 of 6; 400.0 ms after arrival from 2001:db8:2000:8::64: no", func(r *Result, _ *Place) {
			r.Flows[2].Exchanges[13].Err = errNo
		}},
		{"silent", "udp-1: datagrams arrive again", "after 0 of 1", func(r *Result, _ *Place) { r.Flows[0].Silences[0].Uplink.Recovered = false }},
	} {
		r := accessExample()
		c.spoil(r, &r.Access.Places[1])
		r.Judge()
		failed := ""
		for _, check := range r.Checks {
			if !check.Passed && strings.HasPrefix(check.Name, c.check) {
				failed = check.Found
			}
		}
		if !strings.Contains(failed, c.found) || failed == "" {
			t.Errorf("%s: %q fails with %q, expected %q", c.name, c.check, failed, c.found)
		}
	}
}

type noError struct{}

func (noError) Error() string { return "no" }

var errNo = noError{}

// An exchange with a deprecated address counts, unless the host has just been told of that prefix again.
func TestReminded(t *testing.T) {
	for began, want := range map[int64]int{1650: 5, 1400: 6} {
		r := accessExample()
		f := &r.Flows[2]
		for i := range f.Exchanges {
			if x := &f.Exchanges[i]; x.Began-r.Began.UnixNano() == began/100*100*msec {
				x.Local, x.Began = r.Flows[0].Seen, r.Began.UnixNano()+began*msec
			}
		}
		if right, all, wrong := exchangesFrom(*f, r.Access.Places[1], r.Access.Places[1].local()); all != want || right != 5 {
			t.Errorf("at %d ms: %d of %d%s", began, right, all, wrong)
		}
	}
}

// At a place that the host returns to, what is on its way may still come through a tunnel for a second.
func TestReturn(t *testing.T) {
	r := accessExample()
	p := &r.Access.Places[1]
	p.Network = "access1"
	if since := r.Access.since(1); since != p.Plugged+returnTime {
		t.Errorf("after a return, no tunnels %v after it", time.Duration(since-p.Plugged))
	}
	if since := r.Access.since(0); since != r.Access.Places[0].Begin {
		t.Error("at the first place tunnels are not an error from the beginning")
	}
}

func TestAccessText(t *testing.T) {
	r := accessExample()
	r.Judge()
	var b bytes.Buffer
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"With      cmd-mode proxy",
		"  1 maar1 -> maar2  carrier  1.0         2     400    1    1   1.0         2.0      45.0       46.0       200.0",
		"  udp-1            62.0 / 62.0    62",
		"  udp-2  maar2      2001:db8:2000:8::64  maar2        1000 of 1000 datagrams to the host, 1000 of 1000 from it",
		"  2 maar2  2001:db8:2000:8::/64  6 of 6                 1                               0",
		"  2 maar2  maar1: 2001:db8:1000:7::/64 to maar2  maar2 -> maar1 1 packets",
		"  2001:db8:1000:7::64  deprecated  0s             1h0m0s     maar1",
		"  fe80::1  yes             02:00:00:00:00:01  stale  maar1's DLIF  same",
		"         +1.0  |---------------->|        |  multicast listener report",
		"         +2.0  |        |        |------->|  Proxy Binding Update: sequence 7",
		"        +42.0  |        |        |<-------|  Proxy Binding Acknowledgement: previous MAAR maar1",
		"        +46.0  |<----------------|        |  Router Advertisement: 2001:db8:1000:7::/64, from maar1's DLIF at 02:00:00:00:00:01 (2 times)",
		"        +50.0  |        |<-------|        |  first packet in this tunnel",
		"        +60.0  *        |        |        |  udp-1 reaches cn again",
	} {
		if !strings.Contains(b.String(), "\n"+line+"\n") {
			t.Errorf("missing line %q", line)
		}
	}
	if t.Failed() {
		t.Log(b.String())
	}
	var svg bytes.Buffer
	if err := r.SVG(&svg); err != nil || !strings.Contains(svg.String(), "udp-1: opened at maar1, 2001:db8:1000:7::64") || !strings.Contains(svg.String(), "silent 62.0 ms") {
		t.Errorf("picture: %v\n%s", err, svg.String())
	}
}

func TestSeries(t *testing.T) {
	s := Series{Title: "maar: all modes", Command: "kedge lab maar"}
	for _, mode := range []string{"relay", "proxy"} {
		r := accessExample()
		if mode == "relay" {
			r.Access.Places[1].Host.Routers = nil
		}
		r.Judge()
		var b bytes.Buffer
		if err := r.JSON(&b); err != nil {
			t.Fatal(err)
		}
		run := Run{Settings: []topology.Setting{{Name: "cmd-mode", Value: mode}, {Name: "cmd-delay", Value: "20ms"}}}
		if err := run.Read(b.Bytes()); err != nil {
			t.Fatal(err)
		}
		s.Runs = append(s.Runs, run)
	}
	if s.Passed() {
		t.Error("passes though a run failed")
	}
	var text, document bytes.Buffer
	if err := s.Text(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  proxy             0, 0      2, 400", "  relay        62.0 / 62.0", "  proxy        45.0", "  relay          10 of 11 hold", "  proxy          11 of 11 hold",
		"    FAIL  place 2, maar2: earlier MAARs keep their link-local and link-layer addresses towards the host: maar1 is not in the host's router list (expected the same)",
		"FAILED",
	} {
		if !strings.Contains(text.String(), "\n"+line+"\n") {
			t.Errorf("missing line %q in\n%s", line, text.String())
		}
	}
	var out struct {
		Passed bool
		Runs   []struct {
			Settings map[string]string
			Report   struct {
				Access struct {
					Places []struct {
						Router   string
						Messages map[string]int `json:"signalling_messages"`
					}
				} `json:"network_based_mobility"`
			}
		}
	}
	if err := s.JSON(&document); err != nil || json.Unmarshal(document.Bytes(), &out) != nil {
		t.Fatal(err)
	}
	if len(out.Runs) != 2 || out.Runs[1].Settings["cmd-mode"] != "proxy" || len(out.Runs[1].Report.Access.Places) != 2 ||
		out.Runs[1].Report.Access.Places[1].Messages["PBU"] != 1 {
		t.Errorf("document: %+v", out)
	}
}
