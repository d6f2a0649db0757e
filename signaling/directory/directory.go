// Package directory is the home agent's directory of Distributed Home-Proxies (DHPs) as a signaling.Machine. DHPs
// advertise which prefixes they are near to; mobile nodes ask which of them are near certain correspondent nodes (CNs), and
// get a key ticket for each.
//
// A message comes in through Handle, is checked for form (receive.go) and authenticated (authenticate.go); advertisements
// change the table of coverage prefixes (advertisement.go, table.go), queries are answered from it (query.go). What is
// advertised is lost with a restart and comes back with the DHPs' next advertisements.
package directory

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/fault"
)

// The kinds of report.
const (
	// QueryReceived, QueryReplySent and QueryRefused have the mobile node's address in Peer.
	QueryReceived  signaling.ReportKind = "dhp-query-received"
	QueryReplySent signaling.ReportKind = "dhp-query-reply-sent"
	QueryRefused   signaling.ReportKind = "dhp-query-refused"
	// Advertised, Withdrawn, Expired and AdvertisementRefused have the DHP's.
	Advertised           signaling.ReportKind = "dhp-advertised"
	Withdrawn            signaling.ReportKind = "dhp-withdrawn"
	Expired              signaling.ReportKind = "dhp-expired"
	AdvertisementRefused signaling.ReportKind = "dhp-advertisement-refused"
)

// home stands for the home address in what is authenticated: there is none.
var home = netip.IPv6Unspecified()

const (
	// defaultErrorRate is Config.ErrorRate's default.
	defaultErrorRate = 10
	// refusalRate bounds the replies a second to messages that failed to authenticate.
	refusalRate = 100
	// defaultTicketLifetime and defaultRemembered are Config's.
	defaultTicketLifetime = time.Hour
	defaultRemembered     = 1 << 20
)

// Machine is a directory. It takes MH type 11 and nothing else.
type Machine struct {
	cfg     Config
	byID    map[string]*MobileNode
	proxies []*proxy
	bySPI   map[uint32]*proxy
	// byAddress are the DHPs by the address that they are known by.
	byAddress map[netip.Addr]*proxy
	// exclusive are the SPIs that belong to one mobile node, or to a DHP.
	exclusive map[uint32]bool
	// start makes the clock that timestamps are held against.
	start time.Time

	table  table
	next   time.Time
	memory memory

	errors, refusals fault.Bucket
	counters         Counters

	effects []signaling.Effect
}

var _ signaling.Machine = (*Machine)(nil)

// New makes a directory that starts at now. The error says what Config.Check finds.
func New(cfg Config, now time.Time) (*Machine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.ErrorRate == 0 {
		cfg.ErrorRate = defaultErrorRate
	}
	if cfg.TicketLifetime == 0 {
		cfg.TicketLifetime = defaultTicketLifetime
	}
	if cfg.MaxRemembered == 0 {
		cfg.MaxRemembered = defaultRemembered
	}
	m := &Machine{
		cfg:       cfg,
		byID:      make(map[string]*MobileNode),
		bySPI:     make(map[uint32]*proxy),
		byAddress: make(map[netip.Addr]*proxy),
		exclusive: make(map[uint32]bool),
		start:     now,
		memory:    newMemory(cfg.MaxRemembered),
		errors:    fault.NewBucket(cfg.ErrorRate),
		refusals:  fault.NewBucket(refusalRate),
		counters:  Counters{Refused: make(Refused)},
	}
	for i := range m.cfg.MobileNodes {
		n := &m.cfg.MobileNodes[i]
		m.byID[n.Identifier] = n
		m.exclusive[n.SPI] = true
	}
	for _, c := range m.cfg.Proxies {
		p := &proxy{Proxy: c, association: cfg.Associations[c.SPI]}
		m.proxies = append(m.proxies, p)
		m.bySPI[c.SPI] = p
		m.byAddress[c.Address] = p
		m.exclusive[c.SPI] = true
	}
	for _, a := range cfg.Associations {
		m.memory.keep = max(m.memory.keep, a.Memory())
	}
	return m, nil
}

// Handle implements signaling.Machine.
func (m *Machine) Handle(now time.Time, event signaling.Event) []signaling.Effect {
	m.expire(now)
	if r, ok := event.(signaling.Received); ok {
		m.received(now, &r)
	}
	effects := m.effects
	m.effects = nil
	return effects
}

// Next implements signaling.Machine.
func (m *Machine) Next() time.Time { return m.next }

func (m *Machine) do(e signaling.Effect) {
	if m.effects == nil {
		m.effects = make([]signaling.Effect, 0, 4)
	}
	m.effects = append(m.effects, e)
}

// clock is the time of day for RFC 4285 section 6.
func (m *Machine) clock(now time.Time) time.Time {
	if m.cfg.Clock != nil {
		return m.cfg.Clock(now)
	}
	return m.start.Add(now.Sub(m.start))
}
