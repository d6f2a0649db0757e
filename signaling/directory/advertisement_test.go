package directory

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// coverages are what the directory lists.
func (w *world) coverages() (all []string) {
	for _, e := range w.m.Entries(w.now) {
		all = append(all, e.DHP.String()+" "+e.Coverage.String())
	}
	return all
}

func (w *world) lists(want ...string) {
	w.t.Helper()
	if got := w.coverages(); !slices.Equal(got, want) {
		w.t.Errorf("listed %v, want %v", got, want)
	}
}

const (
	one = "2001:db8:d1::1 "
	two = "2001:db8:d2::1 "
)

func TestAdvertisementReplacesWhatTheDHPAdvertisedBefore(t *testing.T) {
	w := start(t)
	e := w.send(advertisement(dhp1, near("2001:db8:a::/48"), near("2001:db8:b::/48")), kd1, dhp1)
	d := e.status(t, kd1, mh.StatusAccepted)
	if d.Subtype != mh.DHPAdvertisementAcknowledgement || d.Sequence != 9 || d.Lifetime != time.Minute {
		t.Errorf("%+v", d)
	}
	if k := e.kinds(); !slices.Equal(k, []signaling.ReportKind{Advertised}) {
		t.Errorf("reports %v", k)
	}
	w.advertise(kd2, dhp2, near("2001:db8:a::/48"))
	w.lists(one+"2001:db8:a::/48", two+"2001:db8:a::/48", one+"2001:db8:b::/48")
	w.after(time.Second).advertise(kd1, dhp1, near("2001:db8:c::/48"))
	w.lists(two+"2001:db8:a::/48", one+"2001:db8:c::/48")
	if got := w.m.Entries(w.now)[1]; got.Left != time.Minute || got.RTT != -1 {
		t.Errorf("%+v", got)
	}
	// Of two about one prefix, the last counts.
	better := near("2001:db8:c::/48")
	better.Preference = 5
	w.after(time.Second).advertise(kd1, dhp1, near("2001:db8:c::/48"), better)
	w.lists(two+"2001:db8:a::/48", one+"2001:db8:c::/48")
	if got := w.m.Entries(w.now)[1]; got.Preference != 5 {
		t.Errorf("%+v", got)
	}
}

func TestWithdrawal(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:a::/48"))
	w.advertise(kd2, dhp2, near("2001:db8:a::/48"))
	gone := advertisement(dhp1)
	gone.Lifetime = 0
	e := w.after(time.Second).send(gone, kd1, dhp1)
	e.status(t, kd1, mh.StatusAccepted)
	if k := e.kinds(); !slices.Equal(k, []signaling.ReportKind{Withdrawn}) {
		t.Errorf("reports %v", k)
	}
	w.lists(two + "2001:db8:a::/48")
	if c := w.m.Counters(); c.Advertisements != 3 || c.Accepted != 3 || c.Withdrawn != 1 {
		t.Errorf("%+v", c)
	}
}

// A DHP that died stays listed until its lifetime ends, not longer.
func TestDeadDHPExpires(t *testing.T) {
	w := start(t)
	short := near("2001:db8:b::/48")
	short.Lifetime = 20 * time.Second
	w.advertise(kd1, dhp1, near("2001:db8:a::/48"), short)
	if n := w.m.Next(); !n.Equal(noon.Add(20 * time.Second)) {
		t.Errorf("next %v", n)
	}
	w.after(20*time.Second - 1)
	if e := w.handle(signaling.Tick{}); len(e) != 0 {
		t.Errorf("early: %v", e)
	}
	w.lists(one+"2001:db8:a::/48", one+"2001:db8:b::/48")
	w.after(1)
	if k := w.handle(signaling.Tick{}).kinds(); !slices.Equal(k, []signaling.ReportKind{Expired}) {
		t.Errorf("reports %v", k)
	}
	w.lists(one + "2001:db8:a::/48")
	w.ask(mh.StatusAccepted, "2001:db8:a::5")
	if n := w.m.Next(); !n.Equal(noon.Add(time.Minute)) {
		t.Errorf("next %v", n)
	}
	// A query does not wait for a Tick to find it gone.
	w.after(38 * time.Second)
	e := w.after(time.Second).send(query("2001:db8:a::5"), mnKey, careOf)
	e.status(t, mnKey, mh.StatusNoDHPKnown)
	if k := e.kinds(); !slices.Contains(k, Expired) {
		t.Errorf("reports %v", k)
	}
	if n := w.m.Next(); !n.IsZero() || w.m.Counters().Expired != 2 {
		t.Errorf("next %v, %d expired", n, w.m.Counters().Expired)
	}
}

// In its last seconds a DHP is not told of as gone.
func TestLifetimeIsNeverToldAsZero(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:a::/48"))
	w.after(57 * time.Second)
	d := w.ask(mh.StatusAccepted, "2001:db8:a::5")
	if o, _ := mh.Find[*mh.DHPInformation](d.Options); o == nil || o.Lifetime != 4*time.Second || d.Lifetime != 4*time.Second {
		t.Errorf("%+v in %+v", o, d)
	}
}

func TestProhibitedAdvertisementsChangeNothing(t *testing.T) {
	narrow := func(c *Config) {
		c.Proxies[0].Coverage = []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/47"), netip.MustParsePrefix("::/96")}
	}
	other := advertisement(dhp1, near("2001:db8:a::/48"))
	other.Options[0].(*mh.DHPInformation).Address = dhp2
	for _, c := range []struct {
		name    string
		message *mh.DMIPv6
		source  netip.Addr
	}{
		{"outside", advertisement(dhp1, near("2001:db8:a::/48"), near("2001:db8:e::/48")), dhp1},
		{"wider", advertisement(dhp1, near("2001:db8::/32")), dhp1},
		{"everything", advertisement(dhp1, near("::/0")), dhp1},
		{"for another DHP", other, dhp1},
		{"from another address", advertisement(dhp1, near("2001:db8:a::/48")), dhp2},
	} {
		w := start(t, narrow)
		w.advertise(kd1, dhp1, near("2001:db8:b::/64"))
		e := w.after(time.Second).send(c.message, kd1, c.source)
		d := e.status(t, kd1, mh.StatusAdministrativelyProhibited)
		if d.Subtype != mh.DHPAdvertisementAcknowledgement || d.Sequence != 9 || d.Lifetime != 0 {
			t.Errorf("%s: %+v", c.name, d)
		}
		if r := of[signaling.Report](e); len(r) != 1 || r[0].Kind != AdvertisementRefused || r[0].Status != 129 || r[0].Detail == "" {
			t.Errorf("%s: reports %+v", c.name, r)
		}
		if n := w.m.Counters().Refused[mh.StatusAdministrativelyProhibited]; n != 1 {
			t.Errorf("%s: %d counted", c.name, n)
		}
		w.lists(one + "2001:db8:b::/64")
	}
}
