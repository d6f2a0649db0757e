package database_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/accessrouter"
	"kedge/signaling/auth"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

// parcel is a message under way.
type parcel struct {
	at time.Time
	signaling.Send
}

// town is a database with three MAARs, real machines all, and what they bind.
type town struct {
	t        *testing.T
	now      time.Time
	nodes    map[netip.Addr]signaling.Machine
	db       *database.Machine
	flying   []parcel
	messages int
	// tunnels are each node's prefixes by where they go, attached those that go to the host.
	tunnels  map[netip.Addr]map[netip.Prefix]netip.Addr
	attached map[netip.Addr]map[netip.Prefix]netip.Addr
}

var control = netip.MustParseAddr("2001:db8:c::1")

func router(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", i)) }

func pool(i int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("2001:db8:a%d::/48", i)) }

func newTown(t *testing.T, mode database.Mode, renew, plain bool) *town {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	w := &town{
		t: t, now: now, nodes: map[netip.Addr]signaling.Machine{}, tunnels: map[netip.Addr]map[netip.Prefix]netip.Addr{},
		attached: map[netip.Addr]map[netip.Prefix]netip.Addr{},
	}
	keys := map[uint32]auth.Association{}
	for spi := uint32(300); spi < 320; spi++ {
		keys[spi] = auth.Association{SPI: spi, Algorithm: auth.HMACSHA256, Key: auth.Key(fmt.Sprint("key number ", spi))}
	}
	c := database.Config{
		Address: control, Mode: mode, Associations: keys, AllowAnyNode: true, ServePlain: true,
		HomePrefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:f0::/48")},
	}
	if renew {
		c.Deregistration = database.RenewPrevious
	}
	for i := 1; i <= 3; i++ {
		c.Routers = append(c.Routers, database.Router{Address: router(i), SPI: uint32(300 + i), Prefixes: []netip.Prefix{pool(i)}})
		m := accessrouter.Config{
			Address: router(i), Database: control, SPI: uint32(300 + i), Locator: mode == database.Locator, Associations: keys,
			Pools: []netip.Prefix{pool(i)}, AllowAnyNode: true, Secret: [32]byte{byte(i)}, Lifetime: time.Minute,
			IdleTimeout: time.Hour,
		}
		if plain {
			m.Database, m.SPI, m.Pools = netip.Addr{}, 0, nil
			m.LocalMobilityAnchor, m.LMASPI = control, uint32(300+i)
		}
		if renew {
			m.Deregistration = accessrouter.AtExpiry
		}
		for j := 1; j <= 3; j++ {
			if j != i {
				// 304 is between 1 and 2, 305 between 1 and 3, 306 between 2 and 3.
				m.Peers = append(m.Peers, accessrouter.Peer{Address: router(j), SPI: uint32(301 + i + j)})
			}
		}
		machine, err := accessrouter.New(m, now)
		if err != nil {
			t.Fatal(err)
		}
		w.nodes[router(i)] = machine
	}
	var err error
	if w.db, err = database.New(c, now); err != nil {
		t.Fatal(err)
	}
	w.nodes[control] = w.db
	for a := range w.nodes {
		w.tunnels[a], w.attached[a] = map[netip.Prefix]netip.Addr{}, map[netip.Prefix]netip.Addr{}
	}
	return w
}

func (w *town) do(at netip.Addr, effects []signaling.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case signaling.Send:
			w.messages++
			w.flying = append(w.flying, parcel{w.now.Add(5 * time.Millisecond), e})
		case signaling.Bind:
			w.tunnels[at][e.Home] = e.Remote
		case signaling.Unbind:
			delete(w.tunnels[at], e.Home)
		case signaling.BindAttached:
			w.attached[at][e.Prefix] = e.Remote
		case signaling.UnbindAttached:
			delete(w.attached[at], e.Prefix)
		}
	}
}

// passes lets time go by.
func (w *town) passes(d time.Duration) {
	for to := w.now.Add(d); ; {
		next, at := to, netip.Addr{}
		for a, m := range w.nodes {
			if n := m.Next(); !n.IsZero() && n.Before(next) {
				next, at = n, a
			}
		}
		if len(w.flying) > 0 && !w.flying[0].at.After(next) {
			p := w.flying[0]
			w.flying = w.flying[1:]
			w.now = p.at
			if m := w.nodes[p.Destination]; m != nil {
				w.do(p.Destination, m.Handle(w.now, signaling.Received{Source: p.Source, Destination: p.Destination, Payload: p.Payload}))
			}
			continue
		}
		if !at.IsValid() {
			w.now = to
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		w.do(at, w.nodes[at].Handle(w.now, signaling.Tick{}))
	}
}

var host = signaling.LinkLayerAddress{2, 0, 0, 0, 0, 0x55}

func (w *town) arrives(i int) {
	w.do(router(i), w.nodes[router(i)].Handle(w.now, signaling.MobileNodeAttached{Link: "access", LinkLayer: host, Cause: "test"}))
}

func (w *town) leaves(i int) {
	w.do(router(i), w.nodes[router(i)].Handle(w.now, signaling.MobileNodeDetached{Link: "access", LinkLayer: host, Cause: "test"}))
}

// check compares what is bound with what has to be when MAAR serving serves and those of before are its P-MAARs.
func (w *town) check(serving int, before ...int) {
	w.t.Helper()
	s := w.db.Session(w.now, "5:020000000055")
	if len(s) != 1 || s[0].Serving != router(serving) || len(s[0].Prefixes) != 1+len(before) {
		w.t.Fatalf("%v: sessions %+v", w.now, s)
	}
	for _, p := range s[0].Prefixes {
		remote, ok := w.attached[router(serving)][p.Prefix]
		switch {
		case p.Anchor == router(serving):
			if !ok || remote.IsValid() {
				w.t.Errorf("%v: the local prefix goes to %v", w.now, remote)
			}
		case !ok || remote != p.Anchor || w.tunnels[p.Anchor][p.Prefix] != router(serving) || !p.Acknowledged || !p.LinkLocal.IsValid():
			w.t.Errorf("%v: %+v comes from %v, goes to %v", w.now, p, remote, w.tunnels[p.Anchor][p.Prefix])
		}
	}
	for _, i := range before {
		if n := len(w.attached[router(i)]); n != 0 {
			w.t.Errorf("MAAR %d still has %d prefixes attached", i, n)
		}
	}
}

func TestWithMAARs(t *testing.T) {
	for _, mode := range []database.Mode{database.Relay, database.Locator, database.Proxy} {
		for _, renew := range []bool{false, true} {
			for _, tells := range []bool{false, true} {
				t.Run(fmt.Sprint(mode, renew, tells), func(t *testing.T) {
					w := newTown(t, mode, renew, false)
					w.arrives(1)
					w.passes(10 * time.Second)
					w.check(1)
					path := []int{1, 2, 3, 1}
					for n, before := range [][]int{{1}, {1, 2}, {2, 3}} {
						if tells {
							w.leaves(path[n])
							w.passes(300 * time.Millisecond)
						}
						w.messages = 0
						w.arrives(path[n+1])
						w.passes(4 * time.Second)
						t.Logf("handoff %d: %d messages", n+1, w.messages)
						w.check(path[n+1], before...)
						// Through refreshes, and the P-MAARs' expiry.
						w.passes(150 * time.Second)
						w.check(path[n+1], before...)
					}
					w.leaves(1)
					w.passes(10 * time.Minute)
					if w.db.Len() != 0 {
						t.Errorf("%d sessions are left", w.db.Len())
					}
					for a := range w.nodes {
						if len(w.tunnels[a])+len(w.attached[a]) > 0 {
							t.Errorf("%v has %v and %v left", a, w.tunnels[a], w.attached[a])
						}
					}
				})
			}
		}
	}
}

func TestWithPlainGateways(t *testing.T) {
	w := newTown(t, database.Relay, false, true)
	var p netip.Prefix
	for n, i := range []int{1, 2, 3, 1} {
		w.arrives(i)
		w.passes(2 * time.Second)
		s := w.db.Session(w.now, "5:020000000055")
		if len(s) != 1 || s[0].Distributed || s[0].Serving != router(i) || len(s[0].Prefixes) != 1 {
			t.Fatalf("sessions %+v", s)
		}
		if n > 0 && s[0].Prefixes[0].Prefix != p {
			t.Errorf("prefix %v is now %v", p, s[0].Prefixes[0].Prefix)
		}
		p = s[0].Prefixes[0].Prefix
		if w.tunnels[control][p] != router(i) || w.attached[router(i)][p] != control {
			t.Errorf("%v goes to %v and comes from %v", p, w.tunnels[control][p], w.attached[router(i)][p])
		}
		w.passes(150 * time.Second)
		w.leaves(i)
		w.passes(time.Second)
	}
	w.passes(10 * time.Minute)
	if w.db.Len() != 0 || len(w.tunnels[control]) != 0 || w.db.Counters().Refused[mh.StatusTimestampLower] != 0 {
		t.Errorf("%d sessions, tunnels %v, counters %+v", w.db.Len(), w.tunnels[control], w.db.Counters())
	}
}
