package lab

import (
	"context"
	"slices"
	"sync"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// endServices ends all flows and keeps what they have seen.
func (s *session) endServices(f *flows, moves []measure.Move, end int64) {
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	after := map[*service]*control.Flow{}
	for _, v := range f.services {
		if v.session != nil {
			after[v] = s.ask(ctx, v)
		}
	}
	var ending sync.WaitGroup
	for _, v := range f.services {
		ending.Go(func() {
			switch {
			case v.session != nil:
				v.end()
			case v.datagrams != nil:
				v.datagrams.Stop()
			default:
				v.exchanges.Stop()
				v.responder.Stop()
			}
		})
	}
	ending.Wait()
	for _, e := range f.echoes {
		if e.running != nil {
			e.running.Stop()
			s.result.Echoes = append(s.result.Echoes, report.Echo{Echo: e.spec, Trips: e.running.RoundTrips()})
		}
		e.responder.Stop()
	}
	if len(f.services) == 0 {
		return
	}
	events := s.journal.all()
	measure.InOrder(events)
	s.result.Moves = moves
	for i, m := range moves {
		until := end
		if i+1 < len(moves) {
			until = moves[i+1].Unplugged
		}
		s.result.Traces = append(s.result.Traces, measure.Handoff{Move: m, Events: measure.Between(events, m.Unplugged, until)})
	}
	for _, v := range f.services {
		r := report.Flow{Flow: v.spec, Mobile: v.mobile, Correspondent: v.correspondent, Before: v.before, After: after[v]}
		switch {
		case v.session != nil:
			r.Session, r.Seen = v.outcome, v.seen()
			local, _ := v.mobileEnd()
			r.Bound = local.Addr()
		case v.datagrams != nil:
			down, up := v.datagrams.Downlink.Snapshot(), v.datagrams.Uplink.Snapshot()
			r.Datagrams = &report.Datagrams{Downlink: down, Uplink: up}
			r.Seen, r.Bound = v.source, v.source
		default:
			r.Exchanges = v.exchanges.All()
			for _, x := range slices.Backward(r.Exchanges) {
				if x.Err == nil {
					r.Seen, r.Bound = x.Seen, x.Local
					break
				}
			}
		}
		r.Holder = f.holder(r.Seen)
		s.measureService(f, &r, moves[min(v.spec.AfterMove, len(moves)):], end)
		s.result.Flows = append(s.result.Flows, r)
	}
	s.terminations(events, moves)
	s.access.report(s, moves, events, end)
	var mobiles []string
	for _, v := range f.services {
		if !slices.Contains(mobiles, v.mobile) {
			mobiles = append(mobiles, v.mobile)
			s.result.Leases = append(s.result.Leases, measure.Leases(events, v.mobile)...)
		}
	}
}

// pathWindow is how long before the move, and before a flow's end, round trips are taken from.
const pathWindow = int64(time.Second)

func (s *session) measureService(f *flows, r *report.Flow, moves []measure.Move, end int64) {
	if len(moves) == 0 {
		return
	}
	move, closed := moves[0], end
	if r.Session != nil {
		if c := r.MobileEnd().Closed; c != 0 {
			closed = min(closed, c)
		}
	}
	windows := []measure.Window{
		{Begin: move.Unplugged - pathWindow, End: move.Unplugged},
		{Begin: max(closed-pathWindow, moves[len(moves)-1].Plugged), End: closed},
	}
	for i, p := range []*report.RoundTrips{&r.PathBefore, &r.PathAfter} {
		switch {
		case r.Session != nil:
			p.Flow = measure.RoundTrip(r.Session.Forward.Snapshot(), r.Session.Backward.Snapshot(), windows[i])
		case r.Datagrams != nil:
			p.Flow = measure.RoundTrip(r.Datagrams.Downlink, r.Datagrams.Uplink, windows[i])
		default:
			p.Flow = measure.EchoRoundTrip(traffic.RoundTrips(r.Exchanges), windows[i])
		}
		for _, e := range f.echoes {
			if e.spec.To != r.Correspondent || e.running == nil {
				continue
			}
			trip := measure.EchoRoundTrip(e.running.RoundTrips(), windows[i])
			if e.spec.Path == topology.HomePath {
				p.Home = trip
			} else {
				p.Direct = trip
			}
		}
	}
	if r.Session == nil {
		return
	}
	r.ToMobile = silence(r, r.Downlink().Snapshot(), move.Unplugged, closed)
	r.FromMobile = silence(r, r.Uplink().Snapshot(), move.Unplugged, closed)
}

// silence is that of a move in one direction of a session. What comes to its orderly end is not silent behind it.
func silence(r *report.Flow, way traffic.Snapshot, move, closed int64) measure.Silence {
	if n := len(way.Arrivals); n > 0 && r.Session.Survived() {
		closed = way.Arrivals[n-1].Received
	}
	return measure.Around(way, move, closed, measure.Longest(way, move))
}

// terminations finds how those flows ended that the mobile node was to end.
func (s *session) terminations(events []measure.Event, moves []measure.Move) {
	for i := range s.result.Flows {
		r := &s.result.Flows[i]
		if r.Expect != topology.ResetFate || len(moves) == 0 {
			continue
		}
		t := measure.Terminate(events, r.Mobile, r.Seen, moves[0].Plugged)
		if r.MobileEnd().Err != nil {
			t.Told = r.MobileEnd().Closed
		}
		if r.CorrespondentEnd().Err != nil {
			t.ToldCorrespondent = r.CorrespondentEnd().Closed
		}
		for _, other := range s.result.Flows {
			if other.Session != nil && other.Seen == r.Seen {
				t.Unused = max(t.Unused, other.MobileEnd().Closed)
			}
		}
		r.Termination = &t
		s.result.ChallengeACKs = s.network.nodes[r.Mobile].space.ChallengeACKs()
	}
}
