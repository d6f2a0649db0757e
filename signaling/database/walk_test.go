package database

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// model is what a database ought to hold of each mobile node, kept in the slowest way there is: from all PBUs that it accepted.
type model struct {
	serving  int
	prefixes []netip.Prefix
	stamp    time.Time
	expires  time.Time
}

// domain is a domain of MAARs that know nothing but what they were last told, over a network that loses, doubles and delays.
type domain struct {
	*world
	random *rand.Rand
	nodes  map[string]*model
	// where is what MAAR i holds of each mobile node: whom it was told, or knows, to be the S-MAAR.
	where [gateway]map[string]netip.Addr
	stamp [gateway]map[string]mh.NTPTime
	flown []flight
	// calm loses nothing.
	calm bool
}

// flight is a message on its way to the database or from it.
type flight struct {
	at  time.Time
	to  int // 0 is the database
	r   signaling.Received
	pbu *pbu
}

// fly puts a message on the way: lost, doubled, or late.
func (d *domain) fly(f flight) {
	n := 1
	if !d.calm {
		n = []int{0, 1, 1, 1, 1, 1, 2}[d.random.IntN(7)]
	}
	for range n {
		f.at = d.now.Add(time.Duration(1+d.random.IntN(60)) * time.Millisecond)
		d.flown = append(d.flown, f)
	}
}

// carry takes effects of the database to MAARs.
func (d *domain) carry(effects []signaling.Effect) {
	d.take(effects)
	for _, e := range effects {
		if s, is := e.(signaling.Send); is {
			i := slices.IndexFunc(d.cfg.Routers, func(r Router) bool { return r.Address == s.Destination }) + 1
			d.fly(flight{to: i, r: signaling.Received{Source: s.Source, Destination: s.Destination, Payload: s.Payload}})
		}
	}
}

// step goes to the next thing that happens before to.
func (d *domain) step(to time.Time) bool {
	slices.SortStableFunc(d.flown, func(a, b flight) int { return a.at.Compare(b.at) })
	next := d.m.Next()
	if len(d.flown) > 0 && (next.IsZero() || !d.flown[0].at.After(next)) && !d.flown[0].at.After(to) {
		f := d.flown[0]
		d.flown = d.flown[1:]
		d.now = f.at
		if f.to == 0 {
			d.arrives(f)
		} else {
			d.delivered(f)
		}
		return true
	}
	if next.IsZero() || next.After(to) {
		d.now = to
		return false
	}
	if next.After(d.now) {
		d.now = next
	}
	d.carry(d.m.Handle(d.now, signaling.Tick{}))
	return true
}

// arrives hands a message to the database, and to the model if it was accepted.
func (d *domain) arrives(f flight) {
	before := d.m.Counters()
	d.carry(d.m.Handle(d.now, f.r))
	after := d.m.Counters()
	if f.pbu == nil {
		return
	}
	id, _ := mh.Find[*mh.MobileNodeIdentifier](f.pbu.Options)
	ts, _ := mh.Find[*mh.Timestamp](f.pbu.Options)
	n := d.nodes[id.Identifier]
	if n != nil && !d.now.Before(n.expires) {
		n = nil
	}
	// An S-MAAR's PBU is accepted if it is later than all before; a stale copy may also fail by its MESG-ID.
	later := n == nil || ts.Time.After(n.stamp)
	switch {
	case after.Registrations+after.Handoffs+after.Refreshes > before.Registrations+before.Handoffs+before.Refreshes:
		if !later {
			d.t.Errorf("%v: accepted a PBU of %v after one of %v", d.now, ts.Time, n.stamp)
		}
		if n == nil {
			n = &model{}
		}
		p := pref1(f.pbu)
		n.prefixes = append(slices.DeleteFunc(n.prefixes, func(o netip.Prefix) bool { return o == p }), p)
		n.serving, n.stamp, n.expires = f.pbu.from, ts.Time, d.now.Add(f.pbu.Lifetime)
		if len(n.prefixes) > DefaultMaxPreviousMAARs+1 {
			n.prefixes = n.prefixes[1:]
		}
		d.nodes[id.Identifier] = n
		d.hereafter(f.pbu.from, id.Identifier)
	case after.Deregistrations > before.Deregistrations:
		if n != nil && n.serving == f.pbu.from {
			delete(d.nodes, id.Identifier)
			d.hereafter(f.pbu.from, id.Identifier)
		}
	case later && f.pbu.Lifetime > 0 && after.Discarded == before.Discarded && after.Refused[mh.StatusIDMismatch] == before.Refused[mh.StatusIDMismatch]:
		d.t.Errorf("%v: did not accept %s", d.now, draw(&f.pbu.BindingUpdate))
	}
}

// hereafter has MAAR i take no notice of what the database told it before now: it has spoken itself.
func (d *domain) hereafter(i int, id string) {
	delete(d.where[i-1], id)
	d.stamp[i-1][id] = mh.NTPTimeOf(d.now)
}

func pref1(p *pbu) netip.Prefix {
	o, _ := mh.Find[*mh.AnchoredPrefix](p.Options)
	return o.Prefix
}

// delivered has a MAAR take a message: it believes PBUs in the order of their MESG-ID and answers them.
func (d *domain) delivered(f flight) {
	m, err := mh.Parse(f.r.Payload)
	if err != nil {
		d.t.Fatal(err)
	}
	u, is := m.(*mh.BindingUpdate)
	if !is {
		return
	}
	id, _ := mh.Find[*mh.MobileNodeIdentifier](u.Options)
	stamp, _ := auth.Timestamp(u.Options)
	if last, ok := d.stamp[f.to-1][id.Identifier]; ok && int64(stamp-last) <= 0 {
		return
	}
	d.stamp[f.to-1][id.Identifier] = stamp
	s, ok := mh.Find[*mh.ServingMAAR](u.Options)
	switch {
	case u.Lifetime == 0:
		delete(d.where[f.to-1], id.Identifier)
	case !ok:
		d.t.Errorf("no S-MAAR in %s", draw(u))
	default:
		d.where[f.to-1][id.Identifier] = s.Address
	}
	_, r := d.acknowledgement(f.to, u, mh.StatusAccepted)
	d.fly(flight{r: r})
}

// agree compares database and model.
func (d *domain) agree() {
	d.t.Helper()
	d.m.check(d.t)
	live := 0
	for id, n := range d.nodes {
		if !d.now.Before(n.expires) {
			continue
		}
		live++
		s := d.m.Session(d.now, id)
		if len(s) != 1 || s[0].Serving != maar(n.serving) {
			d.t.Fatalf("%v: %s is %+v, served by %d", d.now, id, s, n.serving)
		}
		var list []netip.Prefix
		for _, p := range s[0].Prefixes {
			list = append(list, p.Prefix)
		}
		// P-MAARs that were given up are left out, in the same order; none has to be in this network.
		if !slices.Equal(list, n.prefixes) {
			d.t.Fatalf("%v: %s has %v, want %v", d.now, id, list, n.prefixes)
		}
	}
	if live != d.m.Len() {
		d.t.Fatalf("%v: %d sessions, want %d", d.now, d.m.Len(), live)
	}
}

// told checks that all MAARs know the same once everything has arrived.
func (d *domain) told() {
	d.t.Helper()
	for id, n := range d.nodes {
		for _, p := range d.m.Session(d.now, id) {
			for _, a := range p.Prefixes {
				if i := slices.IndexFunc(d.cfg.Routers, func(r Router) bool { return r.Address == a.Anchor }); i+1 != n.serving &&
					(!a.Acknowledged || d.where[i][id] != maar(n.serving)) {
					d.t.Errorf("%s: MAAR %d (acknowledged: %v) believes in %v, not %d", id, i+1, a.Acknowledged, d.where[i][id], n.serving)
				}
			}
		}
	}
	for i := range d.where {
		for id, a := range d.where[i] {
			if s := d.m.Session(d.now, id); len(s) == 0 {
				d.t.Errorf("MAAR %d still sends for %s to %v", i+1, id, a)
			}
		}
	}
}

func TestRandomWalk(t *testing.T) {
	walks := 8
	if testing.Short() {
		walks = 3
	}
	for seed := range walks {
		for _, mode := range []Mode{Relay, Locator, Proxy} {
			random := rand.New(rand.NewPCG(uint64(seed), uint64(mode)))
			d := &domain{
				world: start(t, mode, func(c *Config) { c.Store = memory{} }), random: random, nodes: map[string]*model{},
			}
			for i := range d.where {
				d.where[i], d.stamp[i] = map[string]netip.Addr{}, map[string]mh.NTPTime{}
			}
			func() {
				defer func() {
					if t.Failed() {
						t.Logf("seed %d, mode %v: %+v", seed, mode, d.m.Counters())
						for _, r := range d.reports {
							t.Logf("%+v", r)
						}
					}
				}()
				walk(d)
			}()
			if t.Failed() {
				t.Fatalf("seed %d, mode %v", seed, mode)
			}
		}
	}
}

func walk(d *domain) {
	for n := range 40 {
		i, k := 1+d.random.IntN(gateway-1), d.random.IntN(3)
		id := fmt.Sprint("mn", k)
		changes := []func(*pbu){about(id), anchoring(nth(i, k))}
		lifetime := 20 * time.Minute
		switch d.random.IntN(12) {
		case 0:
			lifetime = 0
		case 1:
			lifetime = 8 * time.Second
		}
		if n == 20 && d.random.IntN(2) == 0 {
			if err := d.restart(); err != nil {
				d.t.Fatal(err)
			}
		}
		p := d.update(i, uint16(n), lifetime, changes...)
		d.fly(flight{r: p.received(d.t), pbu: p})
		for to := d.now.Add(time.Duration(d.random.IntN(1500)) * time.Millisecond); d.step(to); {
		}
		d.agree()
	}
	d.calm = true
	for to := d.now.Add(2 * time.Minute); d.step(to); {
	}
	d.agree()
	d.told()
}
