package report

import (
	"net/netip"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/traffic"
)

type (
	jsonFlow struct {
		Name          string     `json:"name"`
		Program       string     `json:"program"`
		OpenedBy      string     `json:"opened_by"`
		Mobile        string     `json:"mobile_node"`
		Correspondent string     `json:"correspondent"`
		Class         string     `json:"class"`
		Mode          string     `json:"mode"`
		Seen          netip.Addr `json:"address_seen_by_correspondent,omitzero"`
		Bound         netip.Addr `json:"address_of_program,omitzero"`
		Holder        string     `json:"address_held_by"`
		Outcome       string     `json:"outcome"`
		// Before and After are what the mobile node said of the flow: before the move, with the decision, and at the end.
		Before *control.Flow `json:"before_move,omitempty"`
		After  *control.Flow `json:"at_end,omitempty"`

		Connect    float64        `json:"connect_ms,omitempty"`
		ToMobile   *jsonWay       `json:"to_mobile_node,omitempty"`
		FromMobile *jsonWay       `json:"from_mobile_node,omitempty"`
		PathBefore jsonRoundTrips `json:"round_trip_before_ms"`
		PathAfter  jsonRoundTrips `json:"round_trip_after_ms"`
		Exchanges  *jsonExchanges `json:"exchanges,omitempty"`
		// Datagrams are of a flow of those; Silences are of each move since a flow of a host was opened.
		Datagrams *jsonDatagrams    `json:"datagrams,omitempty"`
		Silences  []jsonMoveSilence `json:"moves,omitempty"`
		End       *jsonTermination  `json:"termination,omitempty"`
	}
	jsonWay struct {
		Sent     int64   `json:"sent_octets"`
		Received int64   `json:"received_octets"`
		Verified int64   `json:"verified_octets"`
		Silent   float64 `json:"silent_ms"`
		Resumed  bool    `json:"recovered"`
	}
	jsonDatagrams struct {
		DownlinkSent    int `json:"downlink_sent"`
		DownlinkArrived int `json:"downlink_arrived"`
		UplinkSent      int `json:"uplink_sent"`
		UplinkArrived   int `json:"uplink_arrived"`
	}
	// Absent figures are 0.
	jsonRoundTrips struct {
		Flow   float64 `json:"flow"`
		Home   float64 `json:"home_agent"`
		Direct float64 `json:"direct"`
	}
	jsonExchanges struct {
		Steady         int         `json:"steady"`
		Answered       int         `json:"answered"`
		Own            int         `json:"own_address"`
		Moving         int         `json:"near_move"`
		MovingAnswered int         `json:"near_move_answered"`
		Took           jsonSummary `json:"took_ms"`
		Silent         float64     `json:"silent_ms"`
	}
	// Times since the traffic began; absent is never.
	jsonTermination struct {
		Bound             *float64 `json:"bound_at_ms,omitempty"`
		Judged            *float64 `json:"judged_at_ms,omitempty"`
		Reason            string   `json:"reason,omitempty"`
		Told              *float64 `json:"program_told_at_ms,omitempty"`
		Error             string   `json:"program_error,omitempty"`
		ToldCorrespondent *float64 `json:"correspondent_told_at_ms,omitempty"`
		Unused            *float64 `json:"address_unused_at_ms,omitempty"`
		GivenBack         *float64 `json:"address_given_back_at_ms,omitempty"`
		ChallengeACKs     int64    `json:"challenge_acks"`
	}
	jsonLease struct {
		Address   netip.Addr `json:"address"`
		Lent      float64    `json:"lent_at_ms"`
		GivenBack *float64   `json:"given_back_at_ms,omitempty"`
	}
)

func (r *Result) jsonFlow(f Flow) jsonFlow {
	out := jsonFlow{
		Name: f.Name, Program: string(f.Program), OpenedBy: f.From, Mobile: f.Mobile, Correspondent: f.Correspondent,
		Class: f.className(), Mode: f.mode(), Seen: f.Seen, Bound: f.Bound, Holder: f.Holder, Outcome: f.outcome(r.Moves),
		Before: f.Before, After: f.After,
		PathBefore: roundTrips(f.PathBefore), PathAfter: roundTrips(f.PathAfter), Silences: jsonSilences(f.Silences),
	}
	if d := f.Datagrams; d != nil {
		out.Datagrams = &jsonDatagrams{len(d.Downlink.Sent), len(d.Downlink.Arrivals), len(d.Uplink.Sent), len(d.Uplink.Arrivals)}
		return out
	}
	if f.Session == nil {
		c := f.Count(r.Moves)
		out.Exchanges = &jsonExchanges{
			Steady: c.Steady, Answered: c.Answered, Own: c.Own, Moving: c.Moving, MovingAnswered: c.MovingAnswered,
			Took: summary(c.Took), Silent: milliseconds(c.Silence),
		}
		return out
	}
	out.Connect = milliseconds(f.Session.Connect)
	out.ToMobile, out.FromMobile = jsonOf(f.Downlink(), f.ToMobile), jsonOf(f.Uplink(), f.FromMobile)
	if t := f.Termination; t != nil {
		out.End = &jsonTermination{
			Bound: r.moment(t.Bound), Judged: r.moment(t.Judged), Reason: t.Reason, Told: r.moment(t.Told), Error: ending(f),
			ToldCorrespondent: r.moment(t.ToldCorrespondent), Unused: r.moment(t.Unused), GivenBack: r.moment(t.GivenBack),
			ChallengeACKs: r.ChallengeACKs,
		}
	}
	return out
}

func jsonOf(w traffic.Way, s measure.Silence) *jsonWay {
	return &jsonWay{Sent: w.Sent, Received: w.Received, Verified: w.Verified, Silent: milliseconds(s.Duration()), Resumed: s.Recovered}
}

func roundTrips(p RoundTrips) jsonRoundTrips {
	return jsonRoundTrips{Flow: milliseconds(p.Flow), Home: milliseconds(p.Home), Direct: milliseconds(p.Direct)}
}

// moment is a time since the traffic began, nil for never.
func (r *Result) moment(ns int64) *float64 {
	if ns == 0 {
		return nil
	}
	v := r.at(ns)
	return &v
}
