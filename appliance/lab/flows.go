package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// flows is traffic under way.
type flows struct {
	downloads []*runningDownload
	probes    []*runningProbe
	services  []*service
	echoes    []*runningEcho
	// holders are the nodes that had bindings before the first move.
	holders map[netip.Prefix]string
}

type runningDownload struct {
	spec    topology.Download
	running *traffic.Download
}

type runningProbe struct {
	spec    topology.Probe
	running *traffic.Probe
}

func (f *flows) received() (octets int64) {
	for _, d := range f.downloads {
		octets += d.running.Received()
	}
	for _, f := range f.services {
		if f.session != nil {
			octets += f.session.Received()
		}
	}
	return octets
}

// finishTime is how long a download may take to deliver what is under way at the end.
const finishTime = 10 * time.Second

// reachable waits until every probe's datagrams pass both ways.
func (s *session) reachable(ctx context.Context) error {
	for _, p := range s.lab.Probes {
		if err := s.await(ctx, "probe "+p.Name, func(ctx context.Context) error { return s.tryProbe(ctx, p) }); err != nil {
			return err
		}
		s.progress.say("probe %s passes both ways between %s and %s", p.Name, p.CorrespondentAddress, p.MobileAddress)
	}
	return nil
}

// await repeats try until it succeeds or the lab's start time is over.
func (s *session) await(ctx context.Context, what string, try func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, s.lab.StartTimeout.Std())
	defer cancel()
	for {
		err := try(limited)
		if err == nil {
			return nil
		}
		if limited.Err() != nil {
			return s.explain(fmt.Errorf("%s does not work after %v: %w", what, s.lab.StartTimeout.Std(), err))
		}
		select {
		case <-limited.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *session) tryProbe(ctx context.Context, spec topology.Probe) error {
	mobile := s.network.nodes[spec.Mobile].space
	if !mobile.HasAddress(spec.MobileAddress) {
		return fmt.Errorf("node %s does not have the address %s yet", spec.Mobile, spec.MobileAddress)
	}
	p, err := s.startProbe(ctx, spec)
	if err != nil {
		return err
	}
	defer p.Stop()
	const enough = 20
	for {
		_, down := p.Downlink.Counts()
		_, up := p.Uplink.Counts()
		if down >= enough && up >= enough {
			return nil
		}
		select {
		case <-ctx.Done():
			refused := errors.Join(p.Downlink.Snapshot().LastSendError, p.Uplink.Snapshot().LastSendError)
			return errors.Join(fmt.Errorf("%d datagrams arrived downlink, %d uplink", down, up), refused)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (s *session) startProbe(ctx context.Context, spec topology.Probe) (*traffic.Probe, error) {
	return traffic.StartProbe(ctx,
		traffic.Endpoint{Node: s.network.nodes[spec.Correspondent].space, Address: spec.CorrespondentAddress, Port: spec.Port},
		traffic.Endpoint{Node: s.network.nodes[spec.Mobile].space, Address: spec.MobileAddress, Port: spec.Port},
		spec.Spacing.Std(), spec.Size)
}

// startFlows starts all downloads and probes. They run until endFlows, also if ctx ends before.
func (s *session) startFlows(ctx context.Context) (*flows, error) {
	f := &flows{}
	lasting := context.WithoutCancel(ctx)
	for i, d := range s.lab.Downloads {
		err := s.await(ctx, "download "+d.Name, func(context.Context) error {
			running, err := traffic.StartDownload(lasting,
				traffic.Endpoint{Node: s.network.nodes[d.From].space, Address: d.FromAddress, Port: d.Port},
				traffic.Endpoint{Node: s.network.nodes[d.To].space, Address: d.ToAddress},
				d.Rate.PerSecond(), s.lab.Seed+uint64(i))
			if err == nil {
				f.downloads = append(f.downloads, &runningDownload{spec: d, running: running})
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		s.progress.say("download %s connected: %v from %s to %s", d.Name, d.Rate, d.From, d.To)
	}
	for _, p := range s.lab.Probes {
		running, err := s.startProbe(lasting, p)
		if err != nil {
			return nil, err
		}
		f.probes = append(f.probes, &runningProbe{spec: p, running: running})
	}
	if err := s.startEchoes(ctx, f); err != nil {
		return f, err
	}
	return f, s.startServices(ctx, f, 0)
}

// endFlows ends all traffic and keeps what it has seen. Moves are measured up to end.
func (s *session) endFlows(f *flows, moves []measure.Move, end int64) {
	s.endServices(f, moves, end)
	events := s.journal.all()
	for _, p := range f.probes {
		p.running.Stop()
		r := report.Probe{Probe: p.spec, Downlink: p.running.Downlink.Snapshot(), Uplink: p.running.Uplink.Snapshot()}
		own := slices.DeleteFunc(slices.Clone(moves), func(m measure.Move) bool { return m.Node != p.spec.Mobile })
		r.Handoffs = measure.Handoffs(own, r.Downlink, r.Uplink, s.withoutOthers(events, p.spec), end)
		r.Classes = measure.Classify(r.Handoffs)
		s.result.Probes = append(s.result.Probes, r)
	}
	for _, d := range f.downloads {
		s.result.Downloads = append(s.result.Downloads, report.Download{Download: d.spec, Outcome: d.running.Finish(finishTime)})
	}
}

// withoutOthers leaves out the events that are about other probes' mobile nodes.
func (s *session) withoutOthers(events []measure.Event, spec topology.Probe) []measure.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e measure.Event) bool {
		return slices.ContainsFunc(s.lab.Probes, func(other topology.Probe) bool {
			return other.Mobile != spec.Mobile && (e.Node == other.Mobile || e.Home == other.MobileAddress.String())
		})
	})
}
