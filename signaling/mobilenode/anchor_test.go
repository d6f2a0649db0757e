package mobilenode

import (
	"net/netip"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	lent    = netip.MustParseAddr("2001:db8:d:1::77")
	proxy   = netip.MustParseAddr("2001:db8:d::1")
	lending = auth.Association{SPI: 700, Algorithm: auth.HMACSHA256, Key: auth.Key("fedcba9876543210")}
	shown   = &mh.KeyTicket{SPI: 700, Expiry: time.Unix(1767326645, 0)}
)

// lease is a mobile node of an address that a DHP has lent.
func lease(c *Config) {
	c.HomeAddress, c.HomePrefix, c.HomeAgent = lent, netip.PrefixFrom(lent, 128), proxy
	c.Identifier, c.Association, c.Options = "mn@example.org", &lending, mh.Options{shown}
}

// adopted has one registered by the DHoA Response that came 30 ms ago.
func adopted(t *testing.T, change ...func(*Config)) (*bench, effects) {
	b := newBench(t, append([]func(*Config){lease}, change...)...)
	out := b.m.Adopt(b.now, Registration{CareOf: careOfA, Since: b.now.Add(-30 * time.Millisecond), Lifetime: time.Minute, Sequence: 41, RoundTrip: 30 * time.Millisecond},
		[]signaling.Attachment{attachment(careOfA)})
	return b, out
}

// reply is the DHP's acknowledgement of bu, signed with a.
func (b *bench) reply(send signaling.Send, bu *mh.BindingUpdate, a auth.Association, s mh.Status) signaling.Received {
	b.t.Helper()
	ba := &mh.BindingAcknowledgement{Sequence: bu.Sequence, Lifetime: bu.Lifetime, Status: s}
	stamp, err := auth.Timestamp(bu.Options)
	if err != nil {
		b.t.Fatal(err)
	}
	payload, err := auth.Sign(ba, a, send.Source, lent, stamp)
	if err != nil {
		b.t.Fatal(err)
	}
	mh.SetChecksum(payload, proxy, lent)
	return signaling.Received{Source: proxy, Destination: send.Source, RoutingHome: lent, Payload: payload}
}

func TestAdoptedRegistrationIsBoundWithoutAMessage(t *testing.T) {
	b, out := adopted(t)
	want := signaling.Bind{Home: netip.PrefixFrom(lent, 128), Mobile: true, Local: careOfA, Remote: proxy, Link: "eth0", Router: router}
	if binds := of[signaling.Bind](out); len(out.sends()) != 0 || len(binds) != 1 || binds[0] != want {
		t.Errorf("effects:\n%s", out)
	}
	b.wantState(StateRegistered)
	if r := b.m.Registration(); r.CareOf != careOfA || !r.Since.Equal(b.now.Add(-30*time.Millisecond)) || r.Lifetime != time.Minute || r.Sequence != 41 {
		t.Errorf("registration %+v", r)
	}
	if careOf, held := b.m.Held(); careOf != careOfA || !held || !b.m.Bound() {
		t.Errorf("held %s, %v", careOf, held)
	}
}

func TestUpdatesOfALeaseGoOnFromItsNumberAndShowTheTicket(t *testing.T) {
	b, _ := adopted(t)
	_, bu := b.update(b.do(attachment(careOfB)))
	if o, ok := mh.Find[*mh.KeyTicket](bu.Options); bu.Sequence != 42 || !ok || o.SPI != 700 || o.Address.IsValid() {
		t.Errorf("sequence %d, ticket %+v", bu.Sequence, o)
	}
	// The round trip is known from the request: twice 30 ms is less than the least wait.
	if at := b.sendTimes(1); at[0] != minBindackTimeout {
		t.Errorf("repeated after %v", at)
	}
}

func TestAdoptedElsewhereUpdatesAtOnce(t *testing.T) {
	b := newBench(t, lease)
	out := effects(b.m.Adopt(b.now, Registration{CareOf: careOfA, Since: b.now, Lifetime: time.Minute}, []signaling.Attachment{attachment(careOfB)}))
	send, _ := b.update(out)
	if binds := of[signaling.Bind](out); send.Source != careOfB || len(binds) != 1 || binds[0].Local != careOfB {
		t.Errorf("effects:\n%s", out)
	}
}

func TestAdoptedUnattachedWaitsForAnUplink(t *testing.T) {
	b := newBench(t, lease)
	out := effects(b.m.Adopt(b.now, Registration{CareOf: careOfA, Since: b.now, Lifetime: time.Minute}, nil))
	if len(out) != 0 || b.m.Bound() {
		t.Errorf("effects:\n%s", out)
	}
	// Even where it was before, what is restored asks whether it still holds.
	out = b.do(attachment(careOfA))
	if b.update(out); len(of[signaling.Bind](out)) != 1 {
		t.Errorf("effects:\n%s", out)
	}
	over := newBench(t, lease)
	over.m.Adopt(over.now, Registration{CareOf: careOfA, Since: over.now.Add(-time.Hour), Lifetime: time.Minute}, nil)
	if _, held := over.m.Held(); held {
		t.Error("a lease that is over is held")
	}
}

func TestRefusedTicketKeepsTheBindingUntilRenewal(t *testing.T) {
	b, _ := adopted(t)
	send, bu := b.update(b.do(attachment(careOfB)))
	out := b.do(b.reply(send, bu, lending, mh.StatusTicketRefused))
	if _, held := b.m.Held(); !held || !b.m.TicketWanted() || index[signaling.Unbind](out) >= 0 {
		t.Fatalf("held %v, wanted %v:\n%s", held, b.m.TicketWanted(), out)
	}
	if out := b.wait(20 * time.Second); len(out.sends()) != 0 {
		t.Errorf("asked again with what was refused:\n%s", out)
	}
	other := lending
	other.Key = auth.Key("another key of 16")
	send, bu = b.update(b.m.Renew(b.now, &other, mh.Options{&mh.KeyTicket{SPI: 700, Expiry: time.Unix(1767336645, 0)}}))
	if o, _ := mh.Find[*mh.KeyTicket](bu.Options); o.Expiry.Unix() != 1767336645 || b.m.TicketWanted() {
		t.Errorf("ticket %+v", o)
	}
	b.do(b.reply(send, bu, other, mh.StatusAccepted))
	b.wantState(StateRegistered)
}

func TestAnswerWithTheAssociationBeforeIsTaken(t *testing.T) {
	b, _ := adopted(t)
	send, bu := b.update(b.do(attachment(careOfB)))
	other := lending
	other.Key = auth.Key("another key of 16")
	if out := b.m.Renew(b.now, &other, nil); len(out) != 0 {
		t.Errorf("renewing what was not refused:\n%s", effects(out))
	}
	b.do(b.reply(send, bu, lending, mh.StatusAccepted))
	b.wantState(StateRegistered)
}

func TestLeaseIsNeverAtHome(t *testing.T) {
	for _, delegated := range []bool{false, true} {
		prefix := netip.PrefixFrom(lent, 128)
		b, out := adopted(t, func(c *Config) {
			if delegated {
				prefix = netip.PrefixFrom(lent, 64).Masked()
				c.HomePrefix, c.Prefix = prefix, prefix
			}
		})
		if binds := of[signaling.Bind](out); len(binds) != 1 || binds[0].Home != prefix {
			t.Errorf("bound %+v, want %s", binds, prefix)
		}
		a := attachment(careOfB)
		a.OnLink = append(a.OnLink, prefix)
		if out := b.do(a); index[signaling.Defend](out) >= 0 {
			t.Errorf("at home:\n%s", out)
		}
		b.wantState(StateRegistering)
	}
}

func TestSharedLimit(t *testing.T) {
	limit := new(Limit)
	var list []*bench
	for range 5 {
		b, _ := adopted(t, func(c *Config) { c.Limit = limit })
		list = append(list, b)
	}
	sent := 0
	for _, b := range list {
		sent += len(b.do(attachment(careOfB)).sends())
	}
	if sent != maxUpdateRate {
		t.Errorf("%d updates to one DHP at a time", sent)
	}
}

func TestPreferredUplink(t *testing.T) {
	b, _ := adopted(t)
	other := signaling.Attachment{Uplink: "wlan0", CareOf: careOfB, Router: router, Preference: -1}
	if out := b.do(other); len(out) != 0 {
		t.Fatalf("moved to a lower preference:\n%s", out)
	}
	send, _ := b.update(b.m.Prefer(b.now, "wlan0"))
	if send.Source != careOfB || send.Link != "wlan0" || b.m.Place().Uplink != "wlan0" {
		t.Errorf("sent %+v", send)
	}
	if send, _ := b.update(b.m.Prefer(b.now, "")); send.Source != careOfA {
		t.Errorf("sent %+v", send)
	}
}

func TestAbandonedNodeIsSilent(t *testing.T) {
	b, _ := adopted(t)
	out := effects(b.m.Abandon("the DHP is dead"))
	if len(out.sends()) != 0 || index[signaling.Unbind](out) < 0 || !b.m.Stopped() {
		t.Errorf("effects:\n%s", out)
	}
	if out := b.m.Abandon("again"); len(out) != 0 {
		t.Errorf("effects:\n%s", effects(out))
	}
}
