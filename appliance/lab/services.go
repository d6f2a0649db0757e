package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// service is a service flow under way: a session, exchanges or datagrams.
type service struct {
	spec                  topology.Flow
	mobile, correspondent string
	session               *traffic.Session
	responder             *traffic.Responder
	exchanges             *traffic.Exchanges
	datagrams             *traffic.Probe
	// source is the mobile node's address of datagrams.
	source  netip.Addr
	outcome *traffic.SessionOutcome

	// before is what the mobile node said of it just before the first move.
	before *control.Flow
}

type runningEcho struct {
	spec      topology.Echo
	responder *traffic.Responder
	running   *traffic.Echo
}

// ready waits for what the lab awaits before there is traffic.
func (s *session) ready(ctx context.Context) error {
	if err := s.access.ready(ctx, s); err != nil {
		return err
	}
	for _, a := range s.lab.Awaits {
		if a.Silence.Std() > 0 {
			if err := s.silence(ctx, a); err != nil {
				return err
			}
			continue
		}
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

// startServices opens the flows, in order, that shall start when so many moves have been made.
func (s *session) startServices(ctx context.Context, f *flows, moves int) error {
	for i, spec := range s.lab.Flows {
		if spec.AfterMove != moves {
			continue
		}
		if err := s.watch(ctx, f, time.Now().Add(spec.After.Std())); err != nil {
			return err
		}
		service := &service{spec: spec}
		service.mobile, service.correspondent = s.lab.Mobile(spec)
		if err := s.open(context.WithoutCancel(ctx), service, s.lab.Seed+uint64(i)); err != nil {
			return s.explain(fmt.Errorf("flow %s: %w", spec.Name, err))
		}
		f.services = append(f.services, service)
		s.progress.say("flow %s started: %s to %s port %d", spec.Name, spec.From, spec.To, spec.Port)
	}
	return nil
}

// open starts the program of a flow. It is one attempt: a flow's first packets are what this is about.
func (s *session) open(ctx context.Context, v *service, seed uint64) (err error) {
	spec := v.spec
	from := traffic.Endpoint{Node: s.network.nodes[spec.From].space, Address: spec.FromAddress}
	to := traffic.Endpoint{Node: s.network.nodes[spec.To].space, Address: spec.ToAddress, Port: spec.Port}
	switch spec.Program {
	case topology.ExchangeProgram:
		if v.responder, err = traffic.StartResponder(ctx, to); err == nil {
			v.exchanges = traffic.StartExchanges(ctx, from, to, spec.Spacing.Std())
		}
	case topology.DatagramProgram:
		if !from.Address.IsValid() {
			if from.Address, err = traffic.SourceAddress(from, to); err != nil {
				return err
			}
		}
		from.Port, v.source = spec.Port, from.Address
		v.datagrams, err = traffic.StartProbe(ctx, to, from, spec.Spacing.Std(), datagramSize)
	default:
		v.session, err = traffic.OpenSession(ctx, from, to, spec.Rate.PerSecond(), seed)
	}
	return err
}

// datagramSize is the UDP payload of a flow of datagrams in octets.
const datagramSize = 64

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

// awaitReturns waits until the addresses of flows that were reset are given back, if that is expected and nothing else uses
// them.
func (s *session) awaitReturns(ctx context.Context, f *flows) error {
	end := time.Now().Add(s.lab.Expect.Flows.GivenBackMax.Std())
	for _, v := range f.services {
		if v.session == nil || v.spec.Expect != topology.ResetFate || f.uses(v.seen()) {
			continue
		}
		given := func() bool {
			return slices.ContainsFunc(s.journal.all(), func(e measure.Event) bool {
				return e.Kind == measure.BindingDeleted && e.Node != v.mobile && e.Home == v.seen().String()
			})
		}
		for !given() && time.Now().Before(end) {
			if err := s.watch(ctx, f, time.Now().Add(100*time.Millisecond)); err != nil {
				return err
			}
		}
	}
	return nil
}

// uses reports whether a flow with that address still goes on.
func (f *flows) uses(seen netip.Addr) bool {
	return slices.ContainsFunc(f.services, func(v *service) bool {
		return v.session != nil && v.seen() == seen && !v.session.Ended()
	})
}
