package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"kedge/appliance/lab/measure"
	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
	"kedge/appliance/lab/traffic"
)

// measurement is of one system, under one condition in one round.
type measurement struct {
	*comparison
	system    *topology.System
	condition string
	round     int
	// idle is how many processors are busy without the traffic.
	idle float64
}

func (m *measurement) add(figure topology.Figure, direction string, streams int, value float64) {
	m.result.Add(m.round, m.system.Name, report.Quantity{Condition: m.condition, Figure: figure, Direction: direction, Streams: streams}, value)
}

// saw checks that the correspondent saw a flow come from where the system has it come from.
func (m *measurement) saw(all ...netip.Addr) error {
	for _, a := range all {
		if err := m.system.Saw(a); err != nil {
			return err
		}
	}
	return nil
}

// undisturbed makes a measurement until there was no more than report.Disturbance, or it has been made often enough.
func (m *measurement) undisturbed(ctx context.Context, once func() error) error {
	for attempt := 1; ; attempt++ {
		before, err := measure.Spent()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := once(); err != nil {
			return err
		}
		after, err := measure.Spent()
		if err != nil {
			return err
		}
		stolen := after.Since(before).Stolen.Seconds() / time.Since(began).Seconds() / float64(runtime.NumCPU())
		if err := traffic.Pause(ctx, settleTime); err != nil {
			return err
		}
		switch {
		case stolen <= report.Disturbance:
			return nil
		case attempt == report.Attempts:
			m.result.Disturbed++
			return nil
		}
		m.result.Repeated++
	}
}

// tcp measures throughput and processor time.
func (m *measurement) tcp(ctx context.Context) (said string, err error) {
	for _, streams := range m.order.Plan.Streams {
		said += fmt.Sprintf("%s%d:", map[bool]string{true: " "}[said != ""], streams)
		for _, direction := range m.order.Plan.Directions {
			var carried traffic.Carried
			var spent [2]measure.Processors
			var failures [2]error
			err := m.undisturbed(ctx, func() (err error) {
				carried, err = traffic.Bulk(ctx, m.mobile(m.system), m.correspondent(0), traffic.BulkOptions{
					FromServer: direction == topology.Down, Streams: streams, Length: m.order.Plan.Length,
					Counting: func() { spent[0], failures[0] = measure.Spent() },
					Counted:  func() { spent[1], failures[1] = measure.Spent() },
				})
				if err = errors.Join(err, failures[0], failures[1]); err == nil {
					err = m.saw(carried.Seen...)
				}
				return err
			})
			if err != nil {
				return said, fmt.Errorf("TCP %s, %d streams: %w", direction, streams, err)
			}
			m.add(topology.TCPFigure, direction, streams, carried.PerSecond())
			if m.idle <= otherWork {
				worked := spent[1].Since(spent[0]).Busy.Seconds() - m.idle*carried.Took.Seconds()
				m.add(topology.ProcessorFigure, direction, streams, worked/(float64(carried.Octets)/1e9))
			}
			said += fmt.Sprintf(" %s %.2f", direction, carried.PerSecond()/1e9)
		}
	}
	return said + " Gbit/s", nil
}

// otherWork is how many processors may be busy with other things for processor time to say anything: what is measured
// would take theirs away, and be counted as costing less.
const otherWork = 0.25

// settleTime is for what is still on its way after a measurement.
const settleTime = 50 * time.Millisecond

// packetSize is the payload of small datagrams in octets.
const packetSize = 64

// packets measures small datagrams a second.
func (m *measurement) packets(ctx context.Context) (said string, err error) {
	for _, direction := range m.order.Plan.Directions {
		var arrived traffic.Arrived
		err := m.undisturbed(ctx, func() (err error) {
			arrived, err = traffic.Blast(ctx, m.mobile(m.system), m.correspondent(packetsPort), traffic.BlastOptions{
				FromServer: direction == topology.Down, Size: packetSize, Length: m.order.Plan.Length,
			})
			if err == nil {
				err = m.saw(arrived.Seen)
			}
			return err
		})
		if err != nil {
			return said, fmt.Errorf("datagrams %s: %w", direction, err)
		}
		m.add(topology.PacketsFigure, direction, 0, arrived.PerSecond())
		said += fmt.Sprintf("%s %.0f ", direction, arrived.PerSecond()/1e3)
	}
	return said + "k/s", nil
}

// echoSpacing is of round trips.
const echoSpacing = 5 * time.Millisecond

// latency measures round trips at light load, for half of the time of other measurements.
func (m *measurement) latency(ctx context.Context) (string, error) {
	responder, err := traffic.StartResponder(ctx, m.correspondent(latencyPort))
	if err != nil {
		return "", err
	}
	defer responder.Stop()
	echo, err := traffic.StartEcho(ctx, m.mobile(m.system), "", m.correspondent(latencyPort), echoSpacing)
	if err != nil {
		return "", err
	}
	err = traffic.Pause(ctx, m.order.Plan.Length/2)
	echo.Stop()
	if err != nil {
		return "", err
	}
	trips := echo.RoundTrips()
	if len(trips) == 0 {
		return "", errors.Join(errors.New("no round trip was completed"), echo.Err())
	}
	var took []time.Duration
	for _, t := range trips {
		if err := m.saw(t.Seen); err != nil {
			return "", fmt.Errorf("round trips: %w", err)
		}
		took = append(took, t.Took)
	}
	slices.Sort(took)
	middle, tail := measure.Quantile(took, 0.5), measure.Quantile(took, 0.99)
	m.add(topology.MedianFigure, "", 0, middle.Seconds())
	m.add(topology.TailFigure, "", 0, tail.Seconds())
	return fmt.Sprintf("%.0f us", middle.Seconds()*1e6), nil
}
