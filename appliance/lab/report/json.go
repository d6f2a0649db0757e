package report

import (
	"encoding/json"
	"io"
	"time"

	"kedge/appliance/lab/measure"
)

// The JSON document. Durations are in milliseconds, rates in bits per second, times in RFC 3339. Its fields stay.
type (
	jsonResult struct {
		Lab         string         `json:"lab"`
		Passed      bool           `json:"passed"`
		Failure     string         `json:"failure,omitempty"`
		Interrupted bool           `json:"interrupted,omitempty"`
		Began       time.Time      `json:"began"`
		Ended       time.Time      `json:"ended"`
		Machine     string         `json:"machine"`
		Rootless    bool           `json:"rootless"`
		Favoured    bool           `json:"raised_priority"`
		Load        float64        `json:"load_before"`
		Command     string         `json:"command"`
		Downloads   []jsonDownload `json:"downloads,omitempty"`
		Probes      []jsonProbe    `json:"probes,omitempty"`
		Flows       []jsonFlow     `json:"flows,omitempty"`
		Leases      []jsonLease    `json:"addresses_lent,omitempty"`
		Access      *jsonAccess    `json:"network_based_mobility,omitempty"`
		Nodes       []jsonNode     `json:"nodes"`
		Checks      []jsonCheck    `json:"expectations"`
	}
	jsonDownload struct {
		Name            string       `json:"name"`
		Survived        bool         `json:"survived"`
		Verified        bool         `json:"verified"`
		Error           string       `json:"error,omitempty"`
		Sent            int64        `json:"sent_octets"`
		Received        int64        `json:"received_octets"`
		SentHash        string       `json:"sent_sha256"`
		ReceivedHash    string       `json:"received_sha256"`
		Retransmissions uint32       `json:"retransmissions"`
		TimeOuts        uint32       `json:"retransmission_timeouts"`
		Samples         []jsonSample `json:"samples"`
	}
	jsonSample struct {
		At   float64 `json:"at_ms"`
		Rate float64 `json:"bits_per_second"`
	}
	jsonProbe struct {
		Name         string        `json:"name"`
		DownlinkSent int           `json:"downlink_sent"`
		DownlinkLost int           `json:"downlink_lost"`
		UplinkSent   int           `json:"uplink_sent"`
		UplinkLost   int           `json:"uplink_lost"`
		DownLatency  jsonSummary   `json:"downlink_latency_ms"`
		UpLatency    jsonSummary   `json:"uplink_latency_ms"`
		Handoffs     []jsonHandoff `json:"handoffs"`
		// Classes of moves: foreign, returning, leaving.
		Classes map[string]jsonClass `json:"classes"`
	}
	jsonHandoff struct {
		From     string             `json:"from"`
		To       string             `json:"to"`
		Class    string             `json:"class"`
		At       float64            `json:"at_ms"`
		Gap      float64            `json:"unplugged_ms"`
		Downlink jsonSilence        `json:"downlink"`
		Uplink   jsonSilence        `json:"uplink"`
		Updates  int                `json:"binding_updates"`
		Parts    map[string]float64 `json:"since_plugged_in_ms"`
	}
	jsonSilence struct {
		Silent        float64 `json:"silent_ms"`
		Recovered     bool    `json:"recovered"`
		Sent          int     `json:"sent"`
		Lost          int     `json:"lost"`
		Reordered     int     `json:"reordered"`
		LatencyBefore float64 `json:"latency_before_ms"`
		LatencyAfter  float64 `json:"latency_after_ms"`
	}
	jsonClass struct {
		Moves    int                    `json:"moves"`
		Downlink jsonSummary            `json:"downlink_silent_ms"`
		Uplink   jsonSummary            `json:"uplink_silent_ms"`
		Lost     int                    `json:"lost"`
		Parts    map[string]jsonSummary `json:"since_plugged_in_ms,omitempty"`
	}
	jsonSummary struct {
		Min    float64 `json:"min"`
		Median float64 `json:"median"`
		Max    float64 `json:"max"`
	}
	jsonNode struct {
		Name    string `json:"name"`
		Kind    string `json:"kind"`
		Exit    string `json:"ended_early,omitempty"`
		Packets uint64 `json:"captured_packets"`
		Dropped uint64 `json:"capture_dropped"`
		Omitted uint64 `json:"capture_omitted"`
	}
	jsonCheck struct {
		Name     string `json:"name"`
		Passed   bool   `json:"passed"`
		Found    string `json:"found"`
		Expected string `json:"expected"`
	}
)

// JSON writes the result for programs.
func (r *Result) JSON(w io.Writer) error {
	out := jsonResult{
		Lab:         r.Lab.Name,
		Passed:      r.Passed(),
		Interrupted: r.Interrupted,
		Began:       r.Began,
		Ended:       r.Ended,
		Machine:     r.Machine,
		Rootless:    r.Rootless,
		Favoured:    r.Favoured,
		Load:        r.Load,
		Command:     r.Command,
		Nodes:       []jsonNode{},
		Checks:      []jsonCheck{},
	}
	if r.Failure != nil {
		out.Failure = r.Failure.Error()
	}
	for _, d := range r.Downloads {
		out.Downloads = append(out.Downloads, r.jsonDownload(d))
	}
	for _, p := range r.Probes {
		out.Probes = append(out.Probes, r.jsonProbe(p))
	}
	for _, f := range r.Flows {
		out.Flows = append(out.Flows, r.jsonFlow(f))
	}
	for _, l := range r.Leases {
		out.Leases = append(out.Leases, jsonLease{Address: l.Address, Lent: r.at(l.Lent), GivenBack: r.moment(l.GivenBack)})
	}
	out.Access = r.jsonAccess()
	for _, n := range r.Nodes {
		out.Nodes = append(out.Nodes, jsonNode{
			Name: n.Name, Kind: string(n.Kind), Exit: n.Exit,
			Packets: n.Capture.Packets, Dropped: n.Capture.Dropped, Omitted: n.Capture.Omitted,
		})
	}
	for _, c := range r.Checks {
		out.Checks = append(out.Checks, jsonCheck(c))
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func (r *Result) at(ns int64) float64 { return float64(ns-r.Began.UnixNano()) / 1e6 }

func (r *Result) jsonDownload(d Download) jsonDownload {
	out := jsonDownload{
		Name: d.Name, Survived: d.Survived(), Verified: d.Verified(),
		Sent: d.Sent, Received: d.Outcome.Received, SentHash: d.SentHash, ReceivedHash: d.ReceivedHash,
		Retransmissions: d.Retransmissions, TimeOuts: d.RetransmissionTimeouts,
		Samples: []jsonSample{},
	}
	if d.Err != nil {
		out.Error = d.Err.Error()
	}
	for _, s := range d.Samples {
		out.Samples = append(out.Samples, jsonSample{At: r.at(s.Time), Rate: sampleRate(s)})
	}
	return out
}

func (r *Result) jsonProbe(p Probe) jsonProbe {
	out := jsonProbe{
		Name:         p.Name,
		DownlinkSent: len(p.Downlink.Sent), DownlinkLost: len(p.Downlink.Sent) - len(p.Downlink.Arrivals),
		UplinkSent: len(p.Uplink.Sent), UplinkLost: len(p.Uplink.Sent) - len(p.Uplink.Arrivals),
		DownLatency: summary(measure.Latency(p.Downlink)),
		UpLatency:   summary(measure.Latency(p.Uplink)),
		Handoffs:    []jsonHandoff{},
		Classes:     map[string]jsonClass{},
	}
	for _, c := range p.Classes {
		out.Classes[string(c.Name)] = class(c)
	}
	for _, h := range p.Handoffs {
		j := jsonHandoff{
			From: h.From, To: h.To, Class: string(h.Class),
			At: r.at(h.Unplugged), Gap: float64(h.Plugged-h.Unplugged) / 1e6,
			Downlink: silence(h.Downlink), Uplink: silence(h.Uplink), Updates: h.BindingUpdates(),
			Parts: map[string]float64{},
		}
		for i, d := range h.Parts.List() {
			if d != nil {
				j.Parts[measure.PartNames[i]] = milliseconds(*d)
			}
		}
		out.Handoffs = append(out.Handoffs, j)
	}
	return out
}

func class(c measure.Class) jsonClass {
	out := jsonClass{Moves: c.Moves, Downlink: summary(c.Downlink), Uplink: summary(c.Uplink), Lost: c.Lost}
	for i, s := range c.Parts {
		if s.Count > 0 {
			if out.Parts == nil {
				out.Parts = map[string]jsonSummary{}
			}
			out.Parts[measure.PartNames[i]] = summary(s)
		}
	}
	return out
}

func summary(s measure.Summary) jsonSummary {
	return jsonSummary{Min: milliseconds(s.Min), Median: milliseconds(s.Median), Max: milliseconds(s.Max)}
}

func silence(s measure.Silence) jsonSilence {
	return jsonSilence{
		Silent: milliseconds(s.Duration()), Recovered: s.Recovered, Sent: s.Sent, Lost: s.Lost, Reordered: s.Reordered,
		LatencyBefore: milliseconds(s.LatencyBefore), LatencyAfter: milliseconds(s.LatencyAfter),
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Round(time.Microsecond)) / 1e6 }
