package endtoend

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// attackerAddress is x's on access1.
var attackerAddress = netip.MustParseAddr("2001:db8:1::bad")

// maxGrowth is how much memory a node may take during an attack: caches have limits, and a race detector its overhead.
const maxGrowth = 64 << 20

// attack is a mobile node with a connection, registered from access1, and an attacker on that link.
type attack struct {
	*network
	ha, mn *kedge
	stream *stream
	// x is the attacker's link, and router the link-layer address of the router on it. victim sees all that the mobile
	// node sends.
	x, victim *wiretap
	router    [6]byte
	careOf    netip.Addr

	registered uint64
	resident   map[*kedge]int
}

func newAttack(t *testing.T) *attack {
	t.Helper()
	n := newNetwork(t)
	a := &attack{network: n, resident: map[*kedge]int{}}
	a.ha = n.agent(anchor{})
	n.host("x", "access1", attackerAddress.String()+"/64", "2001:db8:1::ff")
	n.host("mn", "access1", "", "")
	a.x = tap(t, n.nodes["x"], "eth0")
	a.victim = tap(t, n.root, n.nodes["mn"].Name+".eth0")
	a.router = n.hardwareAddress("ar", "access1")
	a.mn = n.mobile("mn", mobileNode{agent: homeAgent})
	a.careOf = a.mn.state("registered", access1Prefix).MobileNode.CareOf
	a.stream = connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
	a.registered = a.ha.counter("home-agent-registered")
	a.resident[a.ha], a.resident[a.mn] = a.ha.resident(), a.mn.resident()
	return a
}

// toAgent sends a packet to the home agent by the access router.
func (a *attack) toAgent(p []byte) { a.x.send(a.router, p) }

// survived fails the test unless the binding is as it was, without having been touched, and the victim's traffic goes on.
func (a *attack) survived() {
	a.t.Helper()
	b, ok := a.ha.binding(home)
	if !ok || b.CareOf != a.careOf {
		a.t.Errorf("the binding is now %+v, was for %v", b, a.careOf)
	}
	if now := a.ha.counter("home-agent-registered"); now != a.registered {
		a.t.Errorf("the home agent took %d updates", now-a.registered)
	}
	a.withstood()
}

// withstood is survived where the mobile node may have registered again.
func (a *attack) withstood() {
	a.t.Helper()
	a.stream.progress("after the attack")
	for k, was := range a.resident {
		k.alive()
		if is := k.resident(); is > was+maxGrowth {
			a.t.Errorf("%s grew from %d to %d KiB", k.name, was>>10, is>>10)
		}
	}
	a.stream.finish()
}

// captured is the mobile node's latest Binding Update.
func (a *attack) captured() []byte {
	a.t.Helper()
	updates := a.victim.packets(func(p []byte) bool {
		return p[6] == mh.ProtocolDestinationOptions && len(p) > 72 && destinationOf(p) == homeAgent &&
			p[40] == mh.Protocol && p[66] == byte(mh.TypeBindingUpdate)
	})
	if len(updates) == 0 {
		a.t.Fatal("no binding update was captured")
	}
	return slices.Clone(updates[len(updates)-1])
}

// mobilityAt is where the Mobility Header begins in a packet with a Home Address option.
const mobilityAt = 40 + mh.ExtensionLength

// mobility is a packet with a Home Address option and a Mobility Header, whose checksum is made right.
func mobility(source, home netip.Addr, header []byte) []byte {
	header = slices.Clone(header)
	if len(header) >= 6 {
		mh.SetChecksum(header, home, homeAgent)
	}
	return ipv6(mh.ProtocolDestinationOptions, source, homeAgent, mh.AppendHomeAddressOption(nil, mh.Protocol, home), header)
}

func bindingUpdate(careOf netip.Addr, lifetime time.Duration) *mh.BindingUpdate {
	return &mh.BindingUpdate{
		Sequence: uint16(rand.Uint32()), Acknowledge: true, HomeRegistration: true, Lifetime: lifetime,
		Options: mh.Options{&mh.AlternateCareOf{Address: careOf}},
	}
}

func association(t *testing.T, key string, spi uint32) auth.Association {
	t.Helper()
	b, err := hex.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Association{SPI: spi, Algorithm: auth.HMACSHA256, Key: b, Identifier: identifier(home)}
}

// signed is an update of the victim's home address for the attacker's care-of address.
func signed(t *testing.T, a auth.Association, lifetime time.Duration) []byte {
	t.Helper()
	b, err := auth.Sign(bindingUpdate(attackerAddress, lifetime), a, attackerAddress, home, mh.NTPTimeOf(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wrongKey has nothing in common with key but its length.
const wrongKey = "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"

// Binding Updates for the victim's home address by somebody without the key: none moves or deletes the binding.
func TestForgedBindingUpdates(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	for _, lifetime := range []time.Duration{0, time.Minute} {
		plain, err := mh.Append(nil, bindingUpdate(attackerAddress, lifetime))
		a.must(err)
		for name, p := range map[string][]byte{
			"home-agent-discarded-unauthenticated":     mobility(attackerAddress, home, plain),
			"home-agent-discarded-unknown-association": mobility(attackerAddress, home, signed(t, association(t, key, 257), lifetime)),
			"home-agent-refused-mipv6-auth-fail":       mobility(attackerAddress, home, signed(t, association(t, wrongKey, 256), lifetime)),
		} {
			before := a.ha.status().Counters[name]
			a.toAgent(p)
			a.ha.counted(name, before, 1)
		}
	}
	// What is refused is answered to the one who sent it, and no longer than what was sent.
	await(t, "the refusal arrives", func() bool {
		return len(a.x.packets(func(p []byte) bool { return sourceOf(p) == homeAgent })) > 0
	})

	// The victim's own update, from elsewhere, and for elsewhere.
	real := a.captured()
	before := a.ha.counter("home-agent-binding-updates")
	elsewhere := slices.Clone(real)
	copy(elsewhere[8:24], attackerAddress.AsSlice())
	a.toAgent(elsewhere)
	diverted := slices.Clone(real[mobilityAt:])
	at := bytes.Index(diverted, a.careOf.AsSlice())
	if at < 0 {
		t.Fatal("the update has no Alternate Care-of Address option")
	}
	copy(diverted[at:], attackerAddress.AsSlice())
	a.toAgent(mobility(attackerAddress, home, diverted))
	a.ha.counted("home-agent-binding-updates", before, 2)
	a.survived()
}

// A Binding Update that was heard is sent again after the mobile node has moved on.
func TestReplayedBindingUpdate(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	old := a.captured()
	a.move("mn", "access2")
	a.careOf = a.mn.state("registered", access2Prefix).MobileNode.CareOf
	a.registered = a.ha.counter("home-agent-registered")
	refused := a.ha.status().Counters["home-agent-refused-mipv6-id-mismatch"]
	for range 10 {
		a.toAgent(old)
	}
	a.ha.counted("home-agent-refused-mipv6-id-mismatch", refused, 1)
	a.survived()
}

// Binding Updates cut short everywhere, too long, padded, and with octets changed at random.
func TestMalformedBindingUpdates(t *testing.T) {
	t.Parallel()
	a := newAttack(t)
	real := a.captured()
	before := a.ha.status().Counters
	// Cut off with the length saying so, and with the Mobility Header's length saying so too and a good checksum.
	for n := 40; n < len(real); n++ {
		a.toAgent(resized(real[:n]))
		if header := slices.Clone(real[mobilityAt:max(n, mobilityAt)]); len(header) >= 8 {
			header = header[:len(header)/8*8]
			header[1] = byte(len(header)/8 - 1)
			a.toAgent(mobility(a.careOf, home, header))
		}
	}
	// Longer than any frame: a Mobility Header of 2048 octets in two fragments, with and without Home Address option.
	long := make([]byte, 2048)
	copy(long, real[mobilityAt:mobilityAt+12])
	long[1] = 255
	for at := 12; at < len(long); at += 2 {
		long[at] = byte(mh.OptionPadN)
	}
	for _, p := range [][]byte{mobility(a.careOf, home, long), ipv6(mh.Protocol, a.careOf, homeAgent, sealed(mh.Protocol, a.careOf, homeAgent, long, 4))} {
		for _, f := range fragments(p, 1024) {
			a.toAgent(f)
		}
	}
	random := rand.New(rand.NewPCG(10, 1))
	for range 2000 {
		p := slices.Clone(real)
		for range 1 + random.IntN(4) {
			p[mobilityAt+random.IntN(len(p)-mobilityAt)] = byte(random.Uint32())
		}
		a.toAgent(mobility(a.careOf, home, p[mobilityAt:]))
	}
	for name, n := range map[string]uint64{
		"home-agent-discarded-malformed":     1,
		"home-agent-discarded-bad-checksum":  1,
		"home-agent-discarded-unknown-type":  1,
		"home-agent-refused-mipv6-auth-fail": 10,
		"forwarding-drop-malformed":          8,
		"forwarding-drop-fragment":           1,
	} {
		a.ha.counted(name, before[name], n)
	}
	a.survived()
}

// fragments cuts a packet's payload into two (RFC 8200 section 4.5), the first of so many octets.
func fragments(p []byte, first int) [][]byte {
	fragment := func(offset int, more byte, part []byte) []byte {
		header := []byte{p[6], 0, byte(offset >> 8), byte(offset) | more, 1, 2, 3, 4}
		return ipv6(unix.IPPROTO_FRAGMENT, sourceOf(p), destinationOf(p), header, part)
	}
	payload := p[40:]
	return [][]byte{fragment(0, 1, payload[:first]), fragment(first, 0, payload[first:])}
}
