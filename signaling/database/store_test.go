package database

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// restart is w's database killed and started again with its store.
func (w *world) restart() error {
	w.t.Helper()
	m, err := New(w.cfg, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.m = m
	effects, err := m.Restore(w.now)
	w.take(effects)
	m.check(w.t)
	return err
}

func (w *world) all() []Session {
	list := slices.Collect(w.m.Sessions(w.now))
	slices.SortFunc(list, func(a, b Session) int { return a.Prefixes[0].Prefix.Addr().Compare(b.Prefixes[0].Prefix.Addr()) })
	return list
}

func TestRestart(t *testing.T) {
	s := memory{}
	w := start(t, Relay, func(c *Config) { c.Store = s })
	w.registers(1, 1, 5*time.Minute, described(1), func(p *pbu) { p.Options = slices.Insert(p.Options, 2, mh.Option(locals(1)[0])) })
	w.registers(9, 1, time.Minute, homes(nowhere), linkLayer(1, 2), about("plain"), with(&mh.LinkLocalAddress{Address: cmd}))
	w.registers(9, 1, time.Minute, homes(nowhere), linkLayer(3), about("plain"))
	w.registers(9, 1, time.Minute, homes(nowhere), about("leaving")).at(time.Second)
	w.registers(9, 1, 0, homes(nowhere), about("leaving")).registers(1, 2, 8*time.Second, anchoring(nth(1, 1)), about("expiring"))
	w.at(2*time.Second).registers(2, 2, 5*time.Minute)
	w.at(2*time.Second+50*time.Millisecond).registers(3, 3, 5*time.Minute, linkLayer(2, 0, 0, 0, 0, 9)).acknowledges(1).skip()
	w.isSession("maar3 p1 p2? p3")
	before := w.all()
	w.other = nil

	// It dies before MAAR 2 is told, and before MAAR 3 hears.
	w.now = w.now.Add(time.Second)
	if err := w.restart(); err != nil {
		t.Fatal(err)
	}
	if len(before) != 5 || len(w.all()) != 5 {
		t.Fatalf("%d sessions before, %d after", len(before), len(w.all()))
	}
	for i, s := range w.all() {
		b := before[i]
		if b.Left -= time.Second; s.Left-b.Left > time.Millisecond || b.Left-s.Left > time.Millisecond {
			t.Errorf("%s: %v left, not %v", s.MobileNode, s.Left, b.Left)
		}
		s.Left, b.Waiting = b.Left, false
		if !reflect.DeepEqual(s, b) {
			t.Errorf("session\n%+v, was\n%+v", s, b)
		}
	}
	if len(w.other) != 2 {
		t.Errorf("effects %v, want two bindings", w.other)
	}
	w.at(3*time.Second + 100*time.Millisecond).acknowledges(2)
	w.registers(3, 4, 5*time.Minute, linkLayer(2, 0, 0, 0, 0, 9)).drawing(`
		3.05s cmd > maar2 PBU 3 4m56s anchored p2 serving maar3
		3.1s maar2 > cmd PBA 3 4m56s home p2 serving maar3
		3.1s maar3 > cmd PBU 4 5m0s anchored p3
		3.1s cmd > maar3 PBA 4 5m0s anchored p3 previous maar1 p1 fe80::1 020000000001 local fd00::/48 previous maar2 p2`)
	w.at(20 * time.Minute)
	if w.m.Len() != 0 || len(s) != 0 {
		t.Errorf("%d sessions and %d records are left", w.m.Len(), len(s))
	}
}

func TestRestartGoesOnTellingOfEnds(t *testing.T) {
	s := memory{}
	w := start(t, Proxy, func(c *Config) { c.Store = s })
	w.registers(1, 1, time.Minute, described(1)).at(time.Second).registers(2, 2, time.Minute).acknowledges(1)
	w.at(2*time.Second).registers(2, 3, 0).at(2500 * time.Millisecond).skip()
	if err := w.restart(); err != nil || w.m.Len() != 0 {
		t.Fatal(err)
	}
	w.acknowledges(1).at(time.Minute).drawing(`
		2.5s cmd > maar1 PBU 3 0s anchored p1 fe80::1 020000000001
		2.5s maar1 > cmd PBA 3 0s home p1`)
	if len(s) != 0 {
		t.Errorf("records %q are left", s)
	}
	s["e"] = []byte{recordVersion}
	a := maar(1).As16()
	s["e"+string(a[:])+"\x01x"] = []byte{recordVersion, 0, 0, 0, 0, 0}
	s["e"+string(make([]byte, 16))+"\x01x"] = []byte{recordVersion}
	if err := w.restart(); !errors.Is(err, ErrRecord) || !w.m.Next().IsZero() {
		t.Errorf("%v", err)
	}
}

func TestRestoreLeavesOutWhatItCannotTake(t *testing.T) {
	s := memory{}
	w := start(t, Relay, func(c *Config) { c.Store = s })
	w.registers(1, 1, time.Minute, described(1)).at(time.Second).registers(2, 1, time.Minute).acknowledges(1)
	record := s["d\x01mn@example.net"]
	for n := range record {
		s["x"] = record[:n]
		if err := w.restart(); !errors.Is(err, ErrRecord) || w.m.Len() != 1 {
			t.Fatalf("%d octets: %v, %d sessions", n, err, w.m.Len())
		}
	}
	s["x"] = append(slices.Clone(record), 0)
	if err := w.restart(); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	s["x"] = record
	if err := w.restart(); !errors.Is(err, ErrRecord) || w.m.Len() != 1 {
		t.Errorf("the same twice: %v, %d sessions", err, w.m.Len())
	}
	delete(s, "x")
	// A P-MAAR that is no router any more takes its prefix along; without the S-MAAR there is no session.
	all := w.cfg.Routers
	w.cfg.Routers = all[1:]
	if err := w.restart(); err != nil || w.session() != "maar2 p2" {
		t.Errorf("%v, %s", err, w.session())
	}
	w.cfg.Routers = slices.Delete(slices.Clone(all), 1, 2)
	if err := w.restart(); !errors.Is(err, ErrRecord) || w.m.Len() != 0 {
		t.Errorf("%v, %d sessions", err, w.m.Len())
	}
}

func TestBrokenStore(t *testing.T) {
	w := start(t, Relay, func(c *Config) { c.Store = broken{} })
	if err := w.restart(); !errors.Is(err, errDisk) {
		t.Error(err)
	}
	w.registers(1, 1, time.Minute)
	w.status(1, 0)
	w.isSession("maar1 p1")
	if c := w.m.Counters(); c.StoreErrors != 1 || !slices.ContainsFunc(w.reports, func(r signaling.Report) bool { return r.Kind == StoreFailed }) {
		t.Errorf("counters %+v", c)
	}
}

func TestRestoreChangesNoRecord(t *testing.T) {
	s := memory{}
	w := start(t, Proxy, func(c *Config) { c.Store = s })
	w.registers(1, 1, time.Minute)
	before := maps.Clone(s)
	if err := w.restart(); err != nil || !maps.EqualFunc(before, s, slices.Equal[[]byte]) {
		t.Errorf("reading the store changed it: %v", err)
	}
}
