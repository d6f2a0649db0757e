package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// service is a service flow under way: a session or exchanges.
type service struct {
	spec                  topology.Flow
	mobile, correspondent string
	session               *traffic.Session
	responder             *traffic.Responder
	exchanges             *traffic.Exchanges
	outcome               *traffic.SessionOutcome

	// before is what the mobile node said of it just before the first move.
	before *control.Flow
}

type runningEcho struct {
	spec      topology.Echo
	responder *traffic.Responder
	running   *traffic.Echo
}

// client speaks to a kedge node.
func (d *node) client() *control.Client {
	return control.NewClient(filepath.Join(d.directory, controlSocket))
}

// ready waits for what the lab awaits before there is traffic.
func (s *session) ready(ctx context.Context) error {
	for _, a := range s.lab.Awaits {
		err := s.await(ctx, fmt.Sprintf("the directory of node %s", a.Node), func(ctx context.Context) error {
			proxies, err := s.network.nodes[a.Node].client().Directory(ctx)
			known := 0
			for _, p := range proxies {
				if p.RoundTripMilliseconds >= 0 {
					known++
				}
			}
			if err == nil && known < a.Directory {
				err = fmt.Errorf("%d entries of known round trip, expected %d", known, a.Directory)
			}
			return err
		})
		if err != nil {
			return err
		}
		s.progress.say("the directory of node %s has %d entries", a.Node, a.Directory)
	}
	return nil
}

// startEchoes starts measuring paths and waits until each is answered.
func (s *session) startEchoes(ctx context.Context, f *flows) error {
	lasting := context.WithoutCancel(ctx)
	for _, spec := range s.lab.Echoes {
		to := traffic.Endpoint{Node: s.network.nodes[spec.To].space, Address: spec.ToAddress, Port: spec.Port}
		responder, err := traffic.StartResponder(lasting, to)
		if err != nil {
			return err
		}
		e := &runningEcho{spec: spec, responder: responder}
		f.echoes = append(f.echoes, e)
		from := traffic.Endpoint{Node: s.network.nodes[spec.From].space, Address: spec.FromAddress}
		err = s.await(ctx, "echo "+spec.Name, func(ctx context.Context) (err error) {
			if e.running == nil {
				if e.running, err = traffic.StartEcho(lasting, from, spec.Interface, to, spec.Spacing.Std()); err != nil {
					return err
				}
			}
			if len(e.running.RoundTrips()) == 0 {
				return errors.Join(errors.New("no request was answered"), e.running.Err())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// startServices opens all flows, in order.
func (s *session) startServices(ctx context.Context, f *flows) error {
	if err := s.startEchoes(ctx, f); err != nil {
		return err
	}
	for i, spec := range s.lab.Flows {
		if err := s.watch(ctx, f, time.Now().Add(spec.After.Std())); err != nil {
			return err
		}
		service := &service{spec: spec}
		service.mobile, service.correspondent = s.lab.Mobile(spec)
		from := traffic.Endpoint{Node: s.network.nodes[spec.From].space, Address: spec.FromAddress}
		to := traffic.Endpoint{Node: s.network.nodes[spec.To].space, Address: spec.ToAddress, Port: spec.Port}
		lasting := context.WithoutCancel(ctx)
		var err error
		if spec.Program == topology.ExchangeProgram {
			if service.responder, err = traffic.StartResponder(lasting, to); err == nil {
				service.exchanges = traffic.StartExchanges(lasting, from, to, spec.Spacing.Std())
			}
		} else {
			// One attempt: a flow's first packets are what this is about.
			service.session, err = traffic.OpenSession(lasting, from, to, spec.Rate.PerSecond(), s.lab.Seed+uint64(i))
		}
		if err != nil {
			return s.explain(fmt.Errorf("flow %s: %w", spec.Name, err))
		}
		f.services = append(f.services, service)
		s.progress.say("flow %s started: %s to %s port %d", spec.Name, spec.From, spec.To, spec.Port)
	}
	return nil
}

// endEarly lets the programs end that shall end before the lab does.
func (s *session) endEarly(ctx context.Context, f *flows, since time.Time) error {
	var early []*service
	for _, v := range f.services {
		if v.spec.Ends.Std() > 0 && v.session != nil {
			early = append(early, v)
		}
	}
	slices.SortStableFunc(early, func(a, b *service) int { return int(a.spec.Ends.Std() - b.spec.Ends.Std()) })
	for _, v := range early {
		if err := s.watch(ctx, f, since.Add(v.spec.Ends.Std())); err != nil {
			return err
		}
		v.end()
		s.progress.say("flow %s ended by its program", v.spec.Name)
	}
	return nil
}

func (v *service) end() {
	if v.outcome == nil {
		outcome := v.session.Finish(finishTime)
		v.outcome = &outcome
	}
}

// observe asks the kedge nodes what they know of the flows, before the first move.
func (s *session) observe(ctx context.Context, f *flows) {
	if f.holders != nil || len(f.services) == 0 {
		return
	}
	f.holders = map[netip.Prefix]string{}
	for _, spec := range s.lab.Nodes {
		if spec.Kind != topology.KedgeKind {
			continue
		}
		client := s.network.nodes[spec.Name].client()
		if status, err := client.Status(ctx); err == nil {
			s.name(status, spec.Name)
		}
		bindings, err := client.Bindings(ctx)
		if err != nil {
			continue
		}
		for _, b := range bindings {
			// A mobile node's own list names the peer.
			if !b.Peer.IsValid() {
				f.holders[b.Home] = spec.Name
			}
		}
	}
	for _, v := range f.services {
		if v.session != nil {
			v.before = s.ask(ctx, v)
		}
	}
}

// holder is the node that had a binding for an address before the first move, empty if none had.
func (f *flows) holder(a netip.Addr) string {
	for prefix, holder := range f.holders {
		if prefix.Contains(a) {
			return holder
		}
	}
	return ""
}

// name notes which addresses are a node's.
func (s *session) name(status control.Status, node string) {
	if s.result.Names == nil {
		s.result.Names = map[netip.Addr]string{}
	}
	for _, l := range status.Links {
		for _, a := range l.Addresses {
			s.result.Names[a] = node
		}
	}
}

// mobileEnd is the session's addresses at the mobile node.
func (v *service) mobileEnd() (local, remote netip.AddrPort) {
	if v.mobile == v.spec.From {
		return v.session.Opener()
	}
	return v.session.Acceptor()
}

// seen is the mobile node's address as the correspondent sees it.
func (v *service) seen() netip.Addr {
	_, remote := v.session.Acceptor()
	if v.mobile != v.spec.From {
		_, remote = v.session.Opener()
	}
	return remote.Addr()
}

// ask finds what the mobile node knows of a session, nil if it does not.
func (s *session) ask(ctx context.Context, v *service) *control.Flow {
	client := s.network.nodes[v.mobile].client()
	all, err := client.Flows(ctx, 1000)
	if err != nil {
		return nil
	}
	local, remote := v.mobileEnd()
	for _, f := range all {
		if f.Remote != remote.Addr() || f.RemotePort != remote.Port() || f.LocalPort != local.Port() {
			continue
		}
		if detailed, err := client.Flow(ctx, f.Number); err == nil {
			return &detailed
		}
		return &f
	}
	return nil
}

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
			if v.session != nil {
				v.end()
				return
			}
			v.exchanges.Stop()
			v.responder.Stop()
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
		if v.session != nil {
			r.Session, r.Seen = v.outcome, v.seen()
			local, _ := v.mobileEnd()
			r.Bound = local.Addr()
		} else {
			r.Exchanges = v.exchanges.All()
			for _, x := range slices.Backward(r.Exchanges) {
				if x.Err == nil {
					r.Seen, r.Bound = x.Seen, x.Local
					break
				}
			}
		}
		r.Holder = f.holder(r.Seen)
		s.measureService(f, &r, moves, end)
		s.result.Flows = append(s.result.Flows, r)
	}
	s.terminations(events, moves)
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
		if r.Session != nil {
			p.Flow = measure.RoundTrip(r.Session.Forward.Snapshot(), r.Session.Backward.Snapshot(), windows[i])
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
	down, up := r.Downlink().Snapshot(), r.Uplink().Snapshot()
	r.ToMobile = measure.Around(down, move.Unplugged, closed, measure.Longest(down, move.Unplugged))
	r.FromMobile = measure.Around(up, move.Unplugged, closed, measure.Longest(up, move.Unplugged))
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
