package advertise

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"kedge/netstack/nd"
)

func TestIntervals(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	within := func(d, low, high time.Duration) {
		t.Helper()
		if d < low || d > high {
			t.Errorf("%v is not within %v to %v", d, low, high)
		}
	}
	for count := range 1000 {
		within(Fast.next(random, count), 30*time.Millisecond, 70*time.Millisecond)
		within(Fast.answerDelay(random), 0, 0)
		within(RFC4861.answerDelay(random), 0, 500*time.Millisecond)
		if count < 3 {
			within(RFC4861.next(random, count), 0, 16*time.Second)
		} else {
			within(RFC4861.next(random, count), 200*time.Second, 600*time.Second)
		}
	}
}

func TestMessage(t *testing.T) {
	r := Router{Policy: Fast, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8::7/64")}, RouterLifetime: time.Minute, Valid: time.Hour, Preferred: time.Minute}
	b, err := nd.Append(nil, netip.MustParseAddr("fe80::1"), nd.AllNodes, r.message([6]byte{2, 0, 0, 0, 0, 1}))
	if err != nil {
		t.Fatal(err)
	}
	_, _, m, err := nd.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	a := m.(*nd.RouterAdvertisement)
	p, ok := nd.Find[nd.PrefixInformation](a.Options)
	if !ok || p.Prefix != netip.MustParsePrefix("2001:db8::/64") || !p.Autonomous || !p.OnLink || p.ValidLifetime != time.Hour {
		t.Errorf("prefix information: %+v", p)
	}
	if i, ok := nd.Find[nd.AdvertisementInterval](a.Options); !ok || time.Duration(i) != 70*time.Millisecond {
		t.Errorf("advertisement interval: %v, %v", i, ok)
	}
	if a.RouterLifetime != time.Minute {
		t.Errorf("router lifetime: %v", a.RouterLifetime)
	}
	r.Policy = RFC4861
	if _, ok := nd.Find[nd.AdvertisementInterval](r.message([6]byte{}).Options); ok {
		t.Error("an advertisement interval of 600 s is of no use and yet sent")
	}
}
