package movement

import (
	"net/netip"
	"time"
)

// gateway is the reachability of the operator's default router, which sends no advertisements to be heard by.
type gateway struct {
	unreachable bool
	// probeAt is when to ask whether it is back; zero if it is not missed.
	probeAt time.Time
}

// gatewayProbeInterval is the time between probes of a gateway that does not answer.
const gatewayProbeInterval = time.Second

func (m *Machine) probeGateway(now time.Time) {
	if m.gateway.probeAt.IsZero() || now.Before(m.gateway.probeAt) {
		return
	}
	m.gateway.probeAt = now.Add(gatewayProbeInterval)
	m.emit(ProbeRouter{m.cfg.Gateway})
}

func (m *Machine) handleReachable(a netip.Addr) {
	if a == m.cfg.Gateway {
		m.gateway = gateway{}
	}
}
