package directory

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

func TestReplyTellsTheDHPAndGivesATicket(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, mh.DHPInformation{
		Preference: 3, Load: 40, RTT: 2500 * time.Microsecond, Coverage: netip.MustParsePrefix("2001:db8:c::/48"),
	})
	e := w.after(time.Second).send(query("2001:db8:c::5"), mnKey, careOf)
	d := e.status(t, mnKey, mh.StatusAccepted)
	if d.Subtype != mh.DHPQueryReply || d.Sequence != 7 || d.Lifetime != 56*time.Second {
		t.Errorf("%+v", d)
	}
	if got := []signaling.ReportKind{QueryReceived, QueryReplySent}; !slices.Equal(e.kinds(), got) {
		t.Errorf("reports %v, want %v", e.kinds(), got)
	}
	want := &mh.DHPInformation{
		Preference: 3, Load: 40, RTT: 2500 * time.Microsecond, Coverage: netip.MustParsePrefix("2001:db8:c::/48"),
		Address: dhp1, Lifetime: 56 * time.Second, // 59 s left, in units of 4 s
	}
	if diff := cmp.Diff(mh.Option(want), d.Options[0], cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	// The ticket follows its information, opens for the mobile node, and has the key that the DHP will work out.
	o, ok := d.Options[1].(*mh.KeyTicket)
	if !ok {
		t.Fatalf("options %v", d.Options)
	}
	id, ok := mh.Find[*mh.MobileNodeIdentifier](d.Options)
	if !ok || id.Identifier != "mn@example.net" {
		t.Fatalf("MN-ID %+v", id)
	}
	got, err := ticket.Open(mnKey.Key, o, id)
	if err != nil {
		t.Fatal(err)
	}
	if got.SPI != 2001 || got.DHP != dhp1 || !got.Expiry.Equal(noon.Add(time.Second+time.Hour)) ||
		string(got.Key) != string(ticket.SessionKey(kd1.Key, dhp1, got.Expiry, id)) {
		t.Errorf("ticket %+v", got)
	}
	if c := w.m.Counters(); c.Queries != 1 || c.Answered != 1 || c.Tickets != 1 || c.NoDHPKnown != 0 {
		t.Errorf("%+v", c)
	}
}

func TestNoDHPKnown(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:c::/48"))
	d := w.ask(mh.StatusNoDHPKnown, "2001:db8:e::5", "::1", "ff0e::1", "::ffff:192.0.2.1", "fe80::1")
	if told(d) != nil || d.Lifetime != time.Minute {
		t.Errorf("%+v", d)
	}
	if c := w.m.Counters(); c.Answered != 1 || c.NoDHPKnown != 1 || c.Tickets != 0 {
		t.Errorf("%+v", c)
	}
	// What is known of one CN is short-lived if nothing is known of another.
	w.m.cfg.TicketLifetime = 2 * time.Minute
	long := advertisement(dhp1, near("2001:db8:c::/48"))
	long.Lifetime = 10 * time.Minute
	w.send(long, kd1, dhp1).status(t, kd1, mh.StatusAccepted)
	if d := w.ask(mh.StatusAccepted, "2001:db8:c::5", "2001:db8:e::5"); d.Lifetime != time.Minute {
		t.Errorf("lifetime %v", d.Lifetime)
	}
	if d := w.ask(mh.StatusAccepted, "2001:db8:c::5"); d.Lifetime != 2*time.Minute {
		t.Errorf("lifetime %v, want the ticket's", d.Lifetime)
	}
}

// A mobile node that knows a DHP from elsewhere gets a ticket for it by asking about its address.
func TestDHPAskedForByItsAddress(t *testing.T) {
	w := start(t)
	check := func(want ...string) {
		t.Helper()
		d := w.ask(mh.StatusAccepted, dhp1.String())
		if got := told(d); !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		if o, ok := mh.Find[*mh.KeyTicket](d.Options); !ok || o.Address != dhp1 {
			t.Errorf("ticket %+v", o)
		}
	}
	check(dhp1.String() + " " + dhp1.String() + "/128")
	site := netip.PrefixFrom(dhp1, 64).Masked().String()
	w.advertise(kd2, dhp2, mh.DHPInformation{Coverage: netip.MustParsePrefix(site), Preference: 9})
	check(dhp1.String()+" "+dhp1.String()+"/128", dhp2.String()+" "+site)
	w.advertise(kd1, dhp1, near(site))
	check(dhp1.String()+" "+site, dhp2.String()+" "+site)
}

func TestLongestPrefixAndBestDHP(t *testing.T) {
	with := func(coverage string, preference, load uint8, rtt time.Duration) mh.DHPInformation {
		return mh.DHPInformation{Coverage: netip.MustParsePrefix(coverage), Preference: preference, Load: load, RTT: rtt}
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name     string
		one, two mh.DHPInformation
		want     string
	}{
		{"longest prefix whatever the preference", with("2001:db8:c::/48", 9, 0, 1*ms), with("2001:db8:c:1::/64", 1, 0, 9*ms), "2"},
		{"preference before RTT", with("2001:db8:c::/48", 1, 0, 1*ms), with("2001:db8:c::/48", 2, 0, 9*ms), "2 1"},
		{"RTT before load", with("2001:db8:c::/48", 1, 90, 1*ms), with("2001:db8:c::/48", 1, 0, 9*ms), "1 2"},
		{"load", with("2001:db8:c::/48", 1, 90, 1*ms), with("2001:db8:c::/48", 1, 0, 1*ms), "2 1"},
		{"unknown RTT last", with("2001:db8:c::/48", 1, 0, -1), with("2001:db8:c::/48", 1, 0, 6*time.Second), "2 1"},
		{"by address if all is equal", with("2001:db8:c::/48", 1, 0, -1), with("2001:db8:c::/48", 1, 0, -1), "1 2"},
	} {
		w := start(t)
		w.advertise(kd2, dhp2, c.two)
		w.advertise(kd1, dhp1, c.one)
		var got []string
		for _, o := range mh.FindAll[*mh.DHPInformation](w.ask(mh.StatusAccepted, "2001:db8:c:1::5").Options) {
			got = append(got, map[netip.Addr]string{dhp1: "1", dhp2: "2"}[o.Address])
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: DHPs %s, want %s", c.name, s, c.want)
		}
	}
}

func TestAtMostFourFairlyAndATicketEach(t *testing.T) {
	w := start(t)
	var all []mh.DHPInformation
	for i := range 6 {
		all = append(all, near(fmt.Sprintf("2001:db8:c:%d::/64", i)))
	}
	w.advertise(kd1, dhp1, all...)
	w.advertise(kd2, dhp2, append(all[:3:3], near("2001:db8:ffff::/48"))...)
	a, b := dhp1.String()+" 2001:db8:c:", dhp2.String()+" 2001:db8:c:"
	for _, c := range []struct {
		cns     []string
		want    []string
		tickets int
		// complete is whether the reply may be believed about all CNs for as long as the DHPs last.
		complete bool
	}{
		// The best of each first, then the second best of each.
		{[]string{"2001:db8:c:0::1", "2001:db8:c:1::1", "2001:db8:c:2::1"}, []string{a + ":/64", a + "1::/64", a + "2::/64", b + ":/64"}, 2, true},
		// Many CNs on one prefix do not crowd out the other.
		{[]string{"2001:db8:c:0::1", "2001:db8:c:0::2", "2001:db8:c:0::3", "2001:db8:c:5::1"}, []string{a + ":/64", a + "5::/64", b + ":/64"}, 2, true},
		{
			[]string{"2001:db8:c:0::1", "2001:db8:c:1::1", "2001:db8:c:2::1", "2001:db8:c:3::1", "2001:db8:c:4::1"},
			[]string{a + ":/64", a + "1::/64", a + "2::/64", a + "3::/64"}, 1, false,
		},
	} {
		long := advertisement(dhp1, all...)
		long.Lifetime = time.Hour
		w.after(time.Second).send(long, kd1, dhp1).status(t, kd1, mh.StatusAccepted)
		long = advertisement(dhp2, append(all[:3:3], near("2001:db8:ffff::/48"))...)
		long.Lifetime = time.Hour
		w.send(long, kd2, dhp2).status(t, kd2, mh.StatusAccepted)
		d := w.ask(mh.StatusAccepted, c.cns...)
		// The first prefix is written 2001:db8:c::/64.
		if diff := cmp.Diff(c.want, told(d)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.cns, diff)
		}
		if n := len(mh.FindAll[*mh.KeyTicket](d.Options)); n != c.tickets {
			t.Errorf("%v: %d tickets, want %d", c.cns, n, c.tickets)
		}
		if got := d.Lifetime > time.Minute; got != c.complete {
			t.Errorf("%v: lifetime %v", c.cns, d.Lifetime)
		}
	}
}

func TestSixteenCNsFitAndSeventeenAreMalformed(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:c::/48"))
	cns := slices.Repeat([]string{"2001:db8:c::5"}, 16)
	if n := len(told(w.ask(mh.StatusAccepted, cns...))); n != 1 {
		t.Errorf("%d DHPs", n)
	}
	w.send(query(append(cns, "2001:db8:c::6")...), mnKey, careOf).silent(t)
	w.send(query(), mnKey, careOf).silent(t)
	anonymous := mnKey
	anonymous.Identifier = ""
	w.send(query("2001:db8:c::5"), anonymous, careOf).silent(t)
	if c := w.m.Counters(); c.Discarded.Malformed != 3 || c.Queries != 1 {
		t.Errorf("%+v", c)
	}
}

func TestOnlyRegisteredMobileNodes(t *testing.T) {
	registered := false
	w := start(t, func(c *Config) {
		c.Registered = func(identifier string, source netip.Addr) bool {
			return registered && identifier == "mn@example.net" && source == careOf
		}
	})
	w.ask(mh.StatusNotHomeAgent, "2001:db8:c::5")
	registered = true
	w.ask(mh.StatusNoDHPKnown, "2001:db8:c::5")
}

// TestLookupAgainstOracle compares random tables that change with a search through all that was advertised.
func TestLookupAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
		for i := 4; i < 7; i++ {
			b[i] = byte(r.IntN(3))
		}
		return netip.AddrFrom16(b)
	}
	w := start(t)
	proxies := map[netip.Addr]uint32{dhp1: 2001, dhp2: 2002}
	advertised := map[netip.Addr][]mh.DHPInformation{}
	for round := range 300 {
		dhp := []netip.Addr{dhp1, dhp2}[r.IntN(2)]
		var all []mh.DHPInformation
		for range r.IntN(20) {
			p, _ := address().Prefix(32 + r.IntN(26))
			if slices.ContainsFunc(all, func(o mh.DHPInformation) bool { return o.Coverage == p }) {
				continue
			}
			all = append(all, mh.DHPInformation{
				Coverage: p, Preference: uint8(r.IntN(2)), Load: uint8(r.IntN(2)), RTT: time.Duration(r.IntN(2)) * time.Millisecond,
			})
		}
		advertised[dhp] = all
		w.after(time.Second).advertise(w.m.cfg.Associations[proxies[dhp]], dhp, all...)
		for range 10 {
			cn := address()
			var want []*entry
			longest := -1
			for dhp, all := range advertised {
				for _, o := range all {
					switch {
					case !o.Coverage.Contains(cn) || o.Coverage.Bits() < longest:
						continue
					case o.Coverage.Bits() > longest:
						want, longest = nil, o.Coverage.Bits()
					}
					want = append(want, &entry{
						proxy: w.m.bySPI[proxies[dhp]], coverage: o.Coverage, preference: o.Preference, load: o.Load, rtt: o.RTT,
					})
				}
			}
			slices.SortFunc(want, compare)
			got := w.m.table.near(cn)
			if !slices.EqualFunc(got, want, func(a, b *entry) bool { return a.proxy == b.proxy && a.coverage == b.coverage }) {
				t.Fatalf("round %d: %v is near %v, want %v", round, cn, got, want)
			}
		}
		// One DHP falls silent now and then.
		if round%50 == 49 {
			w.after(2 * time.Minute).handle(signaling.Tick{})
			clear(advertised)
			if len(w.m.Entries(w.now)) != 0 || w.m.table.prefixes.Size() != 0 || !w.m.Next().IsZero() {
				t.Fatal("entries outlive their time")
			}
		}
	}
}
