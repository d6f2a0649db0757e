package node

import (
	"errors"
	"net/netip"
	"path/filepath"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/store"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

// mobilityDatabase is the role of a central mobility database.
type mobilityDatabase struct {
	*database.Machine
	cfg *config.Database
	// store is nil where sessions are not kept.
	store *store.Store
}

func newMobilityDatabase(c *config.Config) (role, error) {
	d := c.Database
	settings := database.Config{
		Address: d.Address, Associations: associations(c), AllowAnyNode: d.AllowAnyMobileNode, MaxLifetime: d.MaxLifetime,
		AggregationTimeout: d.AggregationTimeout, PacingInterval: max(d.Pacing, time.Nanosecond), MaxSessions: d.MaxSessions,
		MaxPreviousMAARs: d.MaxPreviousMAARs, ServePlain: d.ServePlain, HomePrefixes: d.HomePrefixes,
	}
	settings.Mode = map[config.DatabaseMode]database.Mode{
		config.Relay: database.Relay, config.Locator: database.Locator, config.Proxy: database.Proxy,
	}[d.Mode]
	if d.Ordering == config.BySequence {
		settings.Ordering = database.BySequence
	}
	if d.Deregistration == config.RenewTimers {
		settings.Deregistration = database.RenewPrevious
	}
	for _, r := range d.Routers {
		settings.Routers = append(settings.Routers, database.Router{Address: r.Address, SPI: r.SPI, Prefixes: r.Pools, Plain: r.Plain})
	}
	for _, m := range d.MobileNodes {
		id := mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: m.Identifier}
		if m.Identifier == "" {
			id = mh.MobileNodeIdentifier{Subtype: mh.IdentifierEUI48, Identifier: string(m.LinkLayer[:])}
		}
		settings.Nodes = append(settings.Nodes, database.Node{Identifier: id, Prefix: m.Prefix})
	}
	role := &mobilityDatabase{cfg: d}
	var err error
	if d.KeepSessions {
		if role.store, err = store.Open(filepath.Join(c.StateDirectory, "sessions.db")); err != nil {
			return nil, err
		}
		settings.Store = role.store
	}
	if role.Machine, err = database.New(settings, time.Now()); err != nil {
		return nil, errors.Join(err, role.close())
	}
	return role, nil
}

// stopped is true at once: sessions are durable, and MAARs need not know that their database pauses.
func (d *mobilityDatabase) stopped() bool                                   { return true }
func (d *mobilityDatabase) start(now time.Time) ([]signaling.Effect, error) { return d.Restore(now) }
func (d *mobilityDatabase) removeBinding(time.Time, netip.Addr) ([]signaling.Effect, bool) {
	return nil, false
}

func (d *mobilityDatabase) close() error {
	if d.store == nil {
		return nil
	}
	return d.store.Close()
}

func (d *mobilityDatabase) show(now time.Time, s *control.Status) string {
	s.Database = &control.Database{Address: d.cfg.Address, Mode: string(d.cfg.Mode), Routers: len(d.cfg.Routers), Sessions: d.Len()}
	addCounters(s.Counters, "database", d.Counters())
	return ""
}

func (d *mobilityDatabase) bindings(now time.Time) []control.Binding {
	list := []control.Binding{}
	for s := range d.Sessions(now) {
		for _, p := range s.Prefixes {
			list = append(list, control.Binding{
				Home: p.Prefix, CareOf: s.Serving, Peer: p.Anchor, Identifier: s.MobileNode, LifetimeSeconds: s.Left.Seconds(),
				Sequence: s.Sequence, State: "registered",
			})
		}
	}
	return list
}

// sessions lists at most limit sessions.
func (d *mobilityDatabase) sessions(now time.Time, limit int) []control.MobilitySession {
	list := []control.MobilitySession{}
	for s := range d.Sessions(now) {
		if len(list) == limit {
			break
		}
		shown := control.MobilitySession{
			MobileNode: s.MobileNode, Distributed: s.Distributed, Serving: s.Serving, LifetimeSeconds: s.Left.Seconds(),
			Sequence: s.Sequence, Prefixes: []control.AnchoredPrefix{},
		}
		for _, p := range s.Prefixes {
			shown.Prefixes = append(shown.Prefixes, control.AnchoredPrefix{
				Prefix: p.Prefix, Anchor: p.Anchor, Acknowledged: p.Acknowledged, RouterLinkLocal: p.LinkLocal, RouterLinkLayer: p.LinkLayer,
			})
		}
		list = append(list, shown)
	}
	return list
}
