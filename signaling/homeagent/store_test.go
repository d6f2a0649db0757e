package homeagent

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
)

// memory is a binding.Store.
type memory struct {
	records map[string][]byte
	fail    error
}

func stored(s *memory) func(*Config) {
	return func(c *Config) { c.Store = s }
}

func (s *memory) Save(key, record []byte) error {
	if s.records == nil {
		s.records = make(map[string][]byte)
	}
	if s.fail == nil {
		s.records[string(key)] = record
	}
	return s.fail
}

func (s *memory) Delete(key []byte) error {
	delete(s.records, string(key))
	return s.fail
}

func (s *memory) Load(each func(key, record []byte) error) error {
	for k, r := range s.records {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return s.fail
}

func (w *world) restore() effects {
	w.t.Helper()
	e, err := w.m.Restore(w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

func TestRestartServesOnWithRemainingLifetimes(t *testing.T) {
	s := &memory{}
	w := start(t, physical, stored(s))
	w.send(bu(router, 9, asRouter))
	effects(w.handle(signaling.DuplicateResult{Link: "eth0", Address: router})).status(t, 0)
	w.send(bu(plain, 4, lifetime(8*time.Second)))
	effects(w.handle(signaling.DuplicateResult{Link: "eth0", Address: plain})).status(t, 0)

	again := start(t, physical, stored(s))
	e := again.after(20 * time.Second).restore()
	want := []signaling.Bind{
		{Home: host(router), Local: agent, Remote: careOf1},
		{Home: network1, Local: agent, Remote: careOf1},
		{Home: network2, Local: agent, Remote: careOf1},
	}
	if got := of[signaling.Bind](e); !slices.Equal(got, want) {
		t.Errorf("bound %v, want %v", got, want)
	}
	defend := signaling.Defend{Link: "eth0", Address: router, Announce: true, Proxy: true, Router: true}
	if got := of[signaling.Defend](e); !slices.Equal(got, []signaling.Defend{defend}) {
		t.Errorf("defends %v", got)
	}
	again.bound(router, careOf1, 40*time.Second)
	again.bound(plain, nowhere, 0)
	if got := e.kinds(); !slices.Contains(got, BindingRestored) || !slices.Contains(got, BindingExpired) {
		t.Errorf("reports %v", got)
	}
	again.send(bu(router, 9, asRouter)).status(t, 135)
	again.accept(bu(router, 10, asRouter))
	if len(s.records) != 1 {
		t.Errorf("%d records", len(s.records))
	}
}

func TestRestartRemembersTimestampsOfDeregisteredNodes(t *testing.T) {
	s := &memory{}
	w := start(t, stored(s))
	old := bu(signed, 1, sign(sha1Key, noon)).received(t)
	effects(w.handle(old)).status(t, 0)
	w.accept(bu(signed, 2, lifetime(0), sign(sha1Key, noon.Add(time.Millisecond))))
	again := start(t, stored(s))
	again.after(time.Second).restore()
	effects(again.handle(old)).status(t, 144)
	again.bound(signed, nowhere, 0)
}

func TestRestartEndsWhatIsNoLongerAllowed(t *testing.T) {
	s := &memory{}
	w := start(t, stored(s))
	w.accept(bu(plain, 1))
	w.accept(bu(router, 1, asRouter))
	again := start(t, stored(s), func(c *Config) {
		c.MobileNodes = c.MobileNodes[2:]
		c.MobileNodes[0].MobileNetworks = []netip.Prefix{network1}
	})
	e := again.restore()
	if len(of[signaling.Bind](e)) != 0 || len(s.records) != 0 {
		t.Errorf("effects %v, %d records", e, len(s.records))
	}
}

func TestStoreFailureIsReportedAndServiceGoesOn(t *testing.T) {
	w := start(t, stored(&memory{fail: errors.New("disk is full")}))
	e := w.accept(bu(plain, 1))
	if !slices.Contains(e.kinds(), BindingStoreFailed) || w.m.Counters().StoreErrors != 1 {
		t.Errorf("reports %v, %d counted", e.kinds(), w.m.Counters().StoreErrors)
	}
	w.bound(plain, careOf1, time.Minute)
	if _, err := w.m.Restore(w.now); err == nil {
		t.Error("Restore says nothing")
	}
}
