package directory

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

func forged(a auth.Association) auth.Association {
	a.Key = auth.Key("guessed")
	return a
}

func TestForgedMessagesAreRefusedWithoutEffect(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:a::/48"))
	w.after(time.Second)
	r := received(t, query("2001:db8:a::5"), forged(mnKey), careOf, w.now)
	e := w.handle(r)
	d := e.status(t, mnKey, mh.StatusAuthenticationFailure)
	if d.Subtype != mh.DHPQueryReply || d.Sequence != 7 || told(d) != nil {
		t.Errorf("%+v", d)
	}
	if n := len(of[signaling.Send](e)[0].Payload); n > len(r.Payload) {
		t.Errorf("%d octets answer %d", n, len(r.Payload))
	}
	gone := advertisement(dhp1)
	gone.Lifetime = 0
	w.send(gone, forged(kd1), dhp1).status(t, kd1, mh.StatusAuthenticationFailure)
	w.lists(one + "2001:db8:a::/48")
	// A forged timestamp is not remembered.
	w.ask(mh.StatusAccepted, "2001:db8:a::5")
}

func TestSilenceTowardsStrangers(t *testing.T) {
	stranger := auth.Association{SPI: 4711, Algorithm: auth.HMACSHA256, Key: auth.Key("x"), Identifier: "mn@example.net"}
	as := func(a auth.Association, identifier string) auth.Association {
		a.Identifier = identifier
		return a
	}
	unsigned := query("2001:db8:a::5")
	unsigned.Options = append(unsigned.Options, &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.net"})
	for _, c := range []struct {
		name    string
		message *mh.DMIPv6
		a       auth.Association
		source  netip.Addr
		count   func(*Discarded) uint64
	}{
		{"unsigned query", unsigned, auth.Association{}, careOf, func(d *Discarded) uint64 { return d.Unauthenticated }},
		{"unsigned advertisement", advertisement(dhp1), auth.Association{}, dhp1, func(d *Discarded) uint64 { return d.Unauthenticated }},
		{"unknown SPI", query("2001:db8:a::5"), stranger, careOf, func(d *Discarded) uint64 { return d.UnknownAssociation }},
		{"another's SPI", query("2001:db8:a::5"), as(mn2Key, "mn@example.net"), careOf, func(d *Discarded) uint64 { return d.UnknownAssociation }},
		{"unknown mobile node", query("2001:db8:a::5"), shared, careOf, func(d *Discarded) uint64 { return d.UnknownAssociation }},
		{"query of a DHP", query("2001:db8:a::5"), as(kd1, "dhp"), dhp1, func(d *Discarded) uint64 { return d.UnknownAssociation }},
		{"advertisement of a mobile node", advertisement(dhp1), mnKey, dhp1, func(d *Discarded) uint64 { return d.UnknownAssociation }},
		{"other subtype", &mh.DMIPv6{Subtype: mh.DHoARequest}, mnKey, careOf, func(d *Discarded) uint64 { return d.NotForDirectory }},
		{"unknown subtype", &mh.DMIPv6{Subtype: 99}, mnKey, careOf, func(d *Discarded) uint64 { return d.NotForDirectory }},
	} {
		w := start(t)
		e := w.send(c.message, c.a, c.source)
		d := w.m.Counters().Discarded
		if len(e) != 0 || c.count(&d) != 1 {
			t.Errorf("%s: %v, counted %+v", c.name, e, d)
		}
	}
	w := start(t)
	twice := query("2001:db8:a::5")
	twice.Options = append(twice.Options,
		&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.net"},
		&mh.MessageAuthentication{Subtype: mh.AuthenticationMNAAA, SPI: 3, Data: make([]byte, 12)},
		&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 1000, Data: make([]byte, 12)})
	r := received(t, twice, auth.Association{}, careOf, w.now)
	if e := w.handle(r); len(e) != 0 || w.m.Counters().Discarded.MisplacedAuthentication != 1 {
		t.Errorf("MN-AAA before MN-HA: %v", e)
	}
}

func TestAnyMobileNodeWithASharedAssociation(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode = true })
	w.send(query("2001:db8:a::5"), shared, careOf).status(t, shared, mh.StatusNoDHPKnown)
	// Not with one that is somebody's own.
	other := mnKey
	other.Identifier = "any@example.net"
	w.send(query("2001:db8:a::5"), other, careOf).silent(t)
}

func TestRFC4285_6_TimestampsAreFreshAndNotReplayed(t *testing.T) {
	w := start(t)
	w.advertise(kd1, dhp1, near("2001:db8:a::/48"))
	for _, c := range []struct {
		name string
		off  time.Duration
		want mh.Status
	}{
		{"too old", -7*time.Second - time.Millisecond, mh.StatusIDMismatch},
		{"too new", 7*time.Second + time.Millisecond, mh.StatusIDMismatch},
		{"slow clock", -6 * time.Second, mh.StatusAccepted},
		{"fast clock", 6 * time.Second, mh.StatusAccepted},
		{"earlier than the last", 5 * time.Second, mh.StatusIDMismatch},
		{"as late as the last", 6 * time.Second, mh.StatusIDMismatch},
		{"later than the last", 6*time.Second + time.Millisecond, mh.StatusAccepted},
	} {
		r := received(t, query("2001:db8:a::5"), mnKey, careOf, w.now.Add(c.off))
		d := w.handle(r).status(t, mnKey, c.want)
		// The refusal has this node's seconds and the sender's fraction (RFC 4285 section 6).
		sent := mh.NTPTimeOf(w.now.Add(c.off))
		want := sent
		if c.want == mh.StatusIDMismatch {
			want = mh.NTPTimeOf(w.now)&^0xffffffff | sent&0xffffffff
		}
		if stamp, err := auth.Timestamp(d.Options); stamp != want || err != nil {
			t.Errorf("%s: timestamp %x, want %x", c.name, stamp, want)
		}
	}
	w.handle(received(t, query("2001:db8:a::5"), mnKey, careOf, time.Time{})).status(t, mnKey, mh.StatusMessageIDRequired)
	// Another mobile node's clock is another.
	w.send(query("2001:db8:a::5"), mn2Key, careOf).status(t, mn2Key, mh.StatusAccepted)
}

func TestReplayedQueryAndAdvertisement(t *testing.T) {
	w := start(t)
	q := received(t, query("2001:db8:a::5"), mnKey, careOf, w.now)
	a := received(t, advertisement(dhp1, near("2001:db8:a::/48")), kd1, dhp1, w.now)
	w.handle(q).status(t, mnKey, mh.StatusNoDHPKnown)
	w.handle(a).status(t, kd1, mh.StatusAccepted)
	gone := advertisement(dhp1)
	gone.Lifetime = 0
	w.after(time.Second).send(gone, kd1, dhp1).status(t, kd1, mh.StatusAccepted)
	for _, later := range []time.Duration{0, 3 * time.Second, 4 * time.Second, 10 * time.Second, time.Hour} {
		w.after(later)
		w.handle(q).status(t, mnKey, mh.StatusIDMismatch)
		w.handle(a).status(t, kd1, mh.StatusIDMismatch)
		w.lists()
	}
	// From elsewhere it is not even authentic.
	q.Source = careOf.Next()
	q.Payload = append([]byte(nil), q.Payload...)
	mh.SetChecksum(q.Payload, q.Source, agent)
	w.handle(q).status(t, mnKey, mh.StatusAuthenticationFailure)
}

// A fast clock's timestamp can be accepted for up to twice the window, and is remembered for as long.
func TestTimestampsAreRememberedForTwiceTheWindow(t *testing.T) {
	w := start(t)
	q := received(t, query("2001:db8:a::5"), mnKey, careOf, w.now.Add(7*time.Second))
	w.handle(q).status(t, mnKey, mh.StatusNoDHPKnown)
	w.after(14*time.Second).handle(q).status(t, mnKey, mh.StatusIDMismatch)
	w.after(1).handle(q).status(t, mnKey, mh.StatusIDMismatch)
	if n := len(w.m.memory.latest); n != 0 || w.m.memory.order.Len() != 0 {
		t.Errorf("%d remembered", n)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	w := start(t, func(c *Config) { c.AllowAnyMobileNode, c.MaxRemembered = true, 3 })
	ask := func(i int) effects {
		a := shared
		a.Identifier = fmt.Sprintf("guest%d@example.net", i)
		return w.send(query("2001:db8:a::5"), a, careOf)
	}
	for i := range 3 {
		ask(i).status(t, shared, mh.StatusNoDHPKnown)
	}
	w.after(time.Second)
	ask(3).status(t, shared, mh.StatusInsufficientResources)
	ask(0).status(t, shared, mh.StatusNoDHPKnown)
	if n := len(w.m.memory.latest); n != 3 {
		t.Errorf("%d remembered", n)
	}
	// The first two are forgotten in time, the one that asked again is not.
	w.after(14 * time.Second)
	ask(3).status(t, shared, mh.StatusNoDHPKnown)
	ask(4).status(t, shared, mh.StatusNoDHPKnown)
	ask(5).status(t, shared, mh.StatusInsufficientResources)
	ask(0).status(t, shared, mh.StatusNoDHPKnown)
}

func TestRefusalsAreRateLimited(t *testing.T) {
	w := start(t)
	sent := 0
	for range 5000 {
		sent += len(of[signaling.Send](w.after(time.Millisecond).send(query("2001:db8:a::5"), forged(mnKey), careOf)))
	}
	if sent < 590 || sent > 600 {
		t.Errorf("%d in 5 s, want a burst of 100 and 100 a second", sent)
	}
	if c := w.m.Counters(); c.Throttled+uint64(sent) != 5000 || c.Refused[mh.StatusAuthenticationFailure] != 5000 {
		t.Errorf("%d throttled, %v", c.Throttled, c.Refused)
	}
}

// Whatever a sender that is not authenticated sends, it gets no more octets back.
func TestNoAmplification(t *testing.T) {
	w := start(t)
	// An authentication option without data makes the shortest message, shorter than a signed answer.
	d := advertisement(dhp1)
	d.Options = mh.Options{&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 2001}}
	b, err := mh.Append(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, dhp1, agent)
	w.handle(signaling.Received{Source: dhp1, Destination: agent, Payload: b}).silent(t)
	if c := w.m.Counters(); c.Throttled != 1 {
		t.Errorf("%+v", c)
	}
}

func TestClockOfTheHomeAgent(t *testing.T) {
	ahead := func(now time.Time) time.Time { return now.Add(time.Hour) }
	w := start(t, func(c *Config) { c.Clock = ahead })
	w.send(query("2001:db8:a::5"), mnKey, careOf).status(t, mnKey, mh.StatusIDMismatch)
	w.handle(received(t, query("2001:db8:a::5"), mnKey, careOf, ahead(w.now))).status(t, mnKey, mh.StatusNoDHPKnown)
}
