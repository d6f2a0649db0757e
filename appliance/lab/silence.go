package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
)

// silencePort is the one that the datagram after a silence goes to.
const silencePort = 9700

// silence lets time pass without traffic, and sees whether a correspondent's first datagram arrives all the same.
func (s *session) silence(ctx context.Context, a topology.Await) error {
	s.progress.say("no traffic for %v", a.Silence.Std())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(a.Silence.Std()):
	}
	socket := func(node string, address netip.Addr) (c *net.UDPConn, err error) {
		err = s.network.nodes[node].space.Do(func() error {
			c, err = net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, silencePort)))
			return err
		})
		return c, err
	}
	to, err := socket(a.Node, a.Address)
	if err != nil {
		return err
	}
	defer to.Close()
	from, err := socket(a.From, a.FromAddress)
	if err != nil {
		return err
	}
	defer from.Close()
	sent := time.Now()
	if _, err := from.WriteToUDPAddrPort([]byte(s.lab.Name), netip.AddrPortFrom(a.Address, silencePort)); err != nil {
		return err
	}
	_ = to.SetReadDeadline(sent.Add(3 * time.Second))
	_, _, err = to.ReadFromUDPAddrPort(make([]byte, 100))
	check := report.Check{
		Name: fmt.Sprintf("%s: is reached by %s after %v without traffic", a.Node, a.From, a.Silence.Std()), Passed: err == nil,
		Expected: "the first datagram arrives",
	}
	if check.Found = fmt.Sprintf("it arrived after %.1f ms", float64(time.Since(sent))/1e6); err != nil {
		check.Found = "it did not arrive"
	}
	s.result.Checks = append(s.result.Checks, check)
	return nil
}
