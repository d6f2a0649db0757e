package dmipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/mobilenode"
)

// memory is a store that outlives the mobile node.
type memory map[string][]byte

func (s memory) Save(key, record []byte) error { s[string(key)] = record; return nil }
func (s memory) Delete(key []byte) error       { delete(s, string(key)); return nil }
func (s memory) Load(each func(key, record []byte) error) error {
	for k, r := range s {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return nil
}

// kill starts the mobile node's program anew.
func (w *world) kill() {
	w.careOf = netip.Addr{}
	w.start()
}

func TestLeasesSurviveAKill(t *testing.T) {
	store := memory{}
	w, list := anchored(t, 2, func(c *Config) { c.Store = store })
	w.run(time.Minute)
	from := w.now
	w.kill()
	if !w.held[list[0]] || !w.held[list[1]] || len(w.bound) != 0 {
		t.Fatalf("held %v, bound %v before there is a care-of address", w.held, w.bound)
	}
	w.use(list[0], 1)
	w.use(list[1], 1)
	w.run(time.Second)
	w.attach(careOfB)
	for _, a := range list {
		if b := w.bound[netip.PrefixFrom(a, 128)]; b.Local != careOfB {
			t.Errorf("%s is bound %+v", a, b)
		}
	}
	w.run(20 * time.Minute)
	// Whether there are any of GracefulReplacement among its flows is not known any more.
	ends := slices.DeleteFunc(since[signaling.Terminate](w, from), func(e signaling.Terminate) bool { return e.Profile == 3 })
	if len(ends) != 0 || !w.held[list[0]] || !w.held[list[1]] {
		t.Errorf("ended %+v", ends)
	}
}

func TestStoredLeasesThatAreOverAreForgotten(t *testing.T) {
	store := memory{}
	w, _ := anchored(t, 1, func(c *Config) { c.Store = store })
	m, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Restore(w.time().Add(time.Hour)); err == nil || len(store) != 0 || len(m.Anchors(w.time())) != 0 {
		t.Errorf("%v, %d records left", err, len(store))
	}
}

func TestUnusedLeasesAreGivenBackAfterAKill(t *testing.T) {
	store := memory{}
	w, list := anchored(t, 1, func(c *Config) { c.Store = store })
	w.kill()
	w.attach(careOfA)
	w.run(time.Minute)
	if w.held[list[0]] || len(store) != 0 || len(w.proxies[proxyAddr(0)].Bindings(w.time())) != 0 {
		t.Errorf("held %v, %d records", w.held, len(store))
	}
}

func TestShutdownKeepsWhatIsUsedAndGivesBackTheRest(t *testing.T) {
	store := memory{}
	w, list := anchored(t, 2, func(c *Config) { c.Store = store })
	w.use(list[0], 0)
	w.handle(signaling.Shutdown{})
	w.run(time.Second)
	if !w.m.Stopped() || len(store) != 1 || w.held[list[0]] || !w.held[list[1]] {
		t.Errorf("stopped %v, %d records, held %v", w.m.Stopped(), len(store), w.held)
	}
	if n := len(w.proxies[proxyAddr(0)].Bindings(w.time())) + len(w.proxies[proxyAddr(1)].Bindings(w.time())); n != 1 {
		t.Errorf("%d bindings left at the DHPs", n)
	}
	if a, took := w.settle(9, 0, cnOf(0, 1)); a != home || took != 0 {
		t.Errorf("a flow held after the end has %s", a)
	}
}

func TestShutdownWithoutStoreGivesAllBack(t *testing.T) {
	w, _ := anchored(t, 2)
	w.handle(signaling.Shutdown{})
	w.run(time.Second)
	if !w.m.Stopped() || len(w.held) != 1 {
		t.Errorf("stopped %v, held %v", w.m.Stopped(), w.held)
	}
}

func TestRecordsAtEveryTruncation(t *testing.T) {
	store := memory{}
	_, list := anchored(t, 1, func(c *Config) { c.Store = store })
	key := list[0].AsSlice()
	record := store[string(key)]
	l, err := parseRecord(key, record)
	if err != nil || l.address != list[0] || l.proxy != proxyAddr(0) || l.careOf != careOfA || l.ticket == nil || l.region != coverageOf(0) || l.near != cnOf(0, 1) {
		t.Fatalf("%+v, %v", l, err)
	}
	for n := range record {
		if n == recordFixed {
			continue // its flag says that there is a ticket
		}
		if _, err := parseRecord(key, record[:n]); err == nil {
			t.Errorf("%d octets of a record are taken", n)
		}
	}
	if _, err := parseRecord(key, record[:recordFixed]); err == nil {
		t.Error("a ticket that is not there is taken")
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(proxyAddr(0).AsSlice(), make([]byte, recordFixed))
	f.Fuzz(func(t *testing.T, key, record []byte) {
		if l, err := parseRecord(key, record); err == nil && (!mh.UnicastRoutable(l.address) || l.lifetime <= 0) {
			t.Errorf("%+v", l)
		}
	})
}

func TestLeasesOverUDPSurviveAKill(t *testing.T) {
	store := memory{}
	w := overUDP(t, 1, mobilenode.Auto, func(c *Config) { c.Store = store })
	w.behind(privateA, natA)
	w.run(time.Second)
	address, _ := w.settle(1, 0, cnOf(0, 1))
	w.use(address, 1)
	w.run(time.Second)
	for key, record := range store {
		l, err := parseRecord([]byte(key), record)
		if err != nil || l.endpoint != endpointOf(0) || !slices.Equal(l.endpoints, []netip.AddrPort{endpointOf(0), endpoint6Of(0)}) || l.careOf != privateA {
			t.Errorf("lease %+v, %v", l, err)
		}
		for n := range record {
			if l, err := parseRecord([]byte(key), record[:n]); err == nil && (l.ticket != nil || n < recordFixed) {
				t.Errorf("%d octets of %d are a lease", n, len(record))
			}
		}
	}
	w.kill()
	w.use(address, 1)
	// The home agent cannot be asked yet, and the DHP is reached all the same.
	w.hostIPv4 = netip.Addr{}
	w.behind(privateB, natB)
	w.wantTunnel(address, privateB, endpointOf(0))
	w.run(time.Second)
	if a := w.m.Anchors(w.time()); len(a) != 1 || a[0].Registration.State != mobilenode.StateRegistered {
		t.Errorf("anchors %+v", a)
	}
}

// Records of before the UDP transport are still read.
func TestRecordOfVersion1(t *testing.T) {
	store := memory{}
	w, list := anchored(t, 1, func(c *Config) { c.Store = store })
	w.run(time.Second)
	key := list[0].AsSlice()
	record := slices.Clone(store[string(key)])
	if record[0] != 2 || record[recordFixed] != 0 {
		t.Fatalf("record %x", record)
	}
	old := append(slices.Clone(record[:recordFixed]), record[recordFixed+1:]...)
	old[0] = 1
	now, err := parseRecord(key, record)
	if err != nil {
		t.Fatal(err)
	}
	before, err := parseRecord(key, old)
	if err != nil || before.address != now.address || before.careOf != now.careOf || before.ticket.SPI != now.ticket.SPI {
		t.Errorf("%+v, %v", before, err)
	}
}
