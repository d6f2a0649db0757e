package accessrouter

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/database"
	"kedge/signaling/mh"
)

// memoryStore is a binding.Store.
type memoryStore map[string][]byte

func (s memoryStore) Save(k, r []byte) error { s[string(k)] = slices.Clone(r); return nil }
func (s memoryStore) Delete(k []byte) error  { delete(s, string(k)); return nil }
func (s memoryStore) Load(each func(k, r []byte) error) error {
	for k, r := range s {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return nil
}

// restart has MAAR n begin again, with what it has stored.
func (w *world) restart(n int, c Config) {
	w.t.Helper()
	m, err := New(c, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	old := w.at(n)
	fresh := w.add(maar(n), m)
	fresh.maar, fresh.sent = m, old.sent
	e, err := m.Restore(w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.take(fresh, e)
}

func TestRestartWithStore(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		configs := make(map[netip.Addr]Config)
		w := network(t, mode, 2, func(c *Config, _ *database.Config) {
			c.Store = memoryStore{}
			configs[c.Address] = *c
		})
		w.attach(1)
		w.run(time.Second)
		prefix := w.own(1)
		// A serving MAAR that restarts serves on at once.
		w.restart(1, configs[maar(1)])
		if _, ok := w.at(1).native[prefix]; !ok || len(w.at(1).routers) != 1 {
			t.Errorf("after the restart: %v, %v", w.at(1).native, w.at(1).routers)
		}
		w.run(time.Second)
		w.attach(1)
		w.run(time.Second)
		w.served(1)
		w.attach(2)
		w.run(2 * time.Second)
		// So does a previous one.
		w.restart(1, configs[maar(1)])
		w.served(2, 1)
		w.run(time.Hour)
		w.served(2, 1)
		w.detach(2)
		w.run(time.Hour)
		w.empty()
		// The host's prefix is remembered over that.
		w.restart(1, configs[maar(1)])
		w.attach(1)
		w.run(time.Second)
		if w.own(1) != prefix {
			t.Errorf("%v, want %v again", w.own(1), prefix)
		}
		w.detach(1)
		w.run(26 * time.Hour)
		if n := len(configs[maar(1)].Store.(memoryStore)); n != 0 {
			t.Errorf("%d records are left for ever", n)
		}
	})
}

func TestRestartEmpty(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		configs := make(map[netip.Addr]Config)
		w := network(t, mode, 3, func(c *Config, _ *database.Config) { configs[c.Address] = *c })
		w.attach(1)
		w.run(time.Second)
		w.attach(2)
		w.run(2 * time.Second)
		prefix := w.own(1)
		w.restart(1, configs[maar(1)])
		w.run(time.Minute)
		// The CMD tells it with the next handoff.
		w.attach(3)
		w.run(2 * time.Second)
		if w.own(1) != prefix {
			t.Errorf("%v, want %v", w.own(1), prefix)
		}
		w.served(3, 1, 2)
		// A serving MAAR that comes back empty learns all from its own registration.
		w.restart(3, configs[maar(3)])
		w.attach(3)
		w.run(2 * time.Second)
		w.served(3, 1, 2)
	})
}

func TestRestartedWithAnotherSecretTakesItsOldPrefixUp(t *testing.T) {
	s, _ := served(t)
	forgotten := netip.MustParsePrefix("2001:db8:a1:77::/64")
	s.handle(signaling.MobileNodeDetached{Link: "radio", LinkLayer: host})
	s.after(time.Minute)
	u := one[*mh.BindingUpdate](s, s.attach())
	e := s.acknowledge(u, mh.StatusAccepted, &mh.PreviousMAAR{Address: maar(1), Prefix: forgotten})
	if b := of[signaling.BindAttached](e); len(b) != 1 || b[0].Prefix != forgotten || b[0].Remote.IsValid() {
		t.Errorf("bound %+v", b)
	}
	for _, a := range of[signaling.Advertise](e) {
		if a.Router.Prefix == forgotten && a.Router.Preferred != 0 {
			t.Errorf("advertised %+v", a)
		}
	}
	if i := s.state(); len(i.Prefixes) != 2 {
		t.Errorf("prefixes %v", i.Prefixes)
	}
	// Both go along, and one can end alone.
	if b := of[signaling.Bind](s.notice(maar(2), s.state().Prefixes...)); len(b) != 2 {
		t.Errorf("bound %+v", b)
	}
	if u := of[signaling.Unbind](s.notice(netip.Addr{}, forgotten)); len(u) != 1 || len(s.state().Prefixes) != 1 {
		t.Errorf("unbound %+v", u)
	}
}

func TestRestoreLeavesOutWhatItCannotRead(t *testing.T) {
	store := memoryStore{}
	_, prefix := served(t, func(c *Config) { c.Store = store })
	whole := store[string(recordKey(prefix))]
	for n := range whole {
		bad := memoryStore{string(recordKey(prefix)): whole[:n], "short": whole}
		m := alone(t, func(c *Config) { c.Store = bad })
		if _, err := m.m.Restore(m.now); !errors.Is(err, ErrRecord) || len(m.m.sessions) != 0 {
			t.Errorf("%d octets: %v", n, err)
		}
	}
	elsewhere := alone(t, func(c *Config) { c.Store, c.Pools = store, []netip.Prefix{poolOf(9)} })
	if _, err := elsewhere.m.Restore(noon); !errors.Is(err, ErrRecord) {
		t.Errorf("of another pool: %v", err)
	}

}

// TestDatabaseRestartsEmpty is of a CMD that has forgotten all. Mobile nodes keep the prefix of where they are, and are known
// again with the next refresh. What earlier MAARs anchored cannot be found again; it ends there when it is idle.
func TestDatabaseRestartsEmpty(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		var d database.Config
		w := network(t, mode, 2, func(c *Config, config *database.Config) {
			c.Lifetime = time.Minute
			d = *config
		})
		w.attach(1)
		w.run(time.Second)
		w.attach(2)
		w.run(2 * time.Second)
		m, err := database.New(d, w.now)
		if err != nil {
			t.Fatal(err)
		}
		w.cmd = m
		w.add(cmd, m)
		prefix := w.own(1)
		w.run(time.Minute)
		if w.cmd.Len() != 1 || w.info(2).State != "serving" || len(w.at(2).routers) != 1 {
			t.Errorf("%d sessions, %s, %d routers", w.cmd.Len(), w.info(2).State, len(w.at(2).routers))
		}
		w.run(4 * time.Minute)
		w.handle(1, signaling.PrefixIdle{Prefix: prefix, Since: w.now.Add(-DefaultIdleTimeout)})
		w.run(time.Second)
		if s := w.info(1).State; s != "none" || len(w.at(1).tunnels) != 0 {
			t.Errorf("MAAR 1: %s, %v", s, w.at(1).tunnels)
		}
		w.served(2)
	})
}

func TestRestoredPrefixIsNobodyElses(t *testing.T) {
	store := memoryStore{}
	one64 := func(c *Config) {
		c.Store, c.Pools = store, []netip.Prefix{netip.MustParsePrefix("2001:db8:a1:10::/64")}
	}
	served(t, one64)
	s := alone(t, one64)
	if _, err := s.m.Restore(s.now); err != nil {
		t.Fatal(err)
	}
	e := effects(s.handle(signaling.MobileNodeAttached{Link: "radio", LinkLayer: signaling.LinkLayerAddress{2, 9}}))
	if len(of[signaling.BindAttached](e)) != 0 || s.m.Counters().PoolExhausted != 1 {
		t.Errorf("%v", e)
	}
}
