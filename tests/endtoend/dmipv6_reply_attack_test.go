package endtoend

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/mh"
	"kedge/signaling/ticket"
)

// Replies that were heard, and such as nobody with a key has made, are nothing to the mobile node.
func TestForgedReplies(t *testing.T) {
	t.Parallel()
	a := newFlowAttack(t)
	wrong := association(t, wrongKey, 256)
	evil := netip.MustParseAddr("2001:db8:1::666")
	reply := &mh.DMIPv6{Subtype: mh.DHPQueryReply, Lifetime: time.Hour, Options: mh.Options{&mh.DHPInformation{
		Preference: 255, Coverage: region2, Lifetime: time.Hour, Address: evil,
	}}}
	response := &mh.DMIPv6{Subtype: mh.DHoAResponse, Lifetime: time.Hour, Options: mh.Options{&mh.DHoA{Prefix: single(evil)}}}
	unsigned, err := mh.Append(nil, response)
	a.must(err)
	packets := [][]byte{
		a.message(a.told, mh.DHPQueryReply), a.message(a.told, mh.DHoAResponse),
		signedDirect(t, reply, wrong, homeAgent, a.careOf, a.careOf, time.Now()),
		signedDirect(t, response, wrong, homeProxy1, a.careOf, a.careOf, time.Now()),
		direct(homeProxy2, a.careOf, unsigned),
	}
	sum := func() uint64 {
		c := a.mn.status().Counters
		return c["dmipv6-unmatched"] + c["dmipv6-unauthentic"] + c["dmipv6-ignored"]
	}
	for i, p := range packets {
		before := sum()
		a.x.send(a.victim, p)
		await(t, "packet is counted", func() bool { return sum() == before+1 })
		if t.Failed() {
			t.Fatalf("packet %d", i)
		}
	}
	// Cut short everywhere.
	for _, p := range packets[:2] {
		for n := 41; n < len(p); n++ {
			a.x.send(a.victim, resized(p[:n]))
			if header := slices.Clone(p[40:n]); len(header) >= 8 {
				header = header[:len(header)/8*8]
				header[1] = byte(len(header)/8 - 1)
				a.x.send(a.victim, direct(sourceOf(p), destinationOf(p), header))
			}
		}
	}
	if n := len(a.mn.anchors()); n != 1 {
		t.Errorf("%d addresses are held", n)
	}
	udpSocket(t, a.nodes["mn"], anyAddress).asks(udpSocket(t, a.nodes["cn2"], correspondent2), 100, pool2)
	a.survived()
}

// While a request to a proxy waits for its answer, others answer it, and then the proxy with what it must not lend.
func TestForgedResponseInTime(t *testing.T) {
	t.Parallel()
	a := newFlowAttack(t)
	a.blackhole("ar", homeProxy2)
	k, server := udpSocket(t, a.nodes["mn"], anyAddress), udpSocket(t, a.nodes["cn2"], correspondent2)
	_, err := k.WriteToUDPAddrPort([]byte("hello"), server.address())
	a.must(err)
	var heard []byte
	await(t, "the proxy is asked", func() bool {
		list := a.asked.packets(func(p []byte) bool {
			return p[6] == mh.Protocol && destinationOf(p) == homeProxy2 && p[46] == byte(mh.DHoARequest)
		})
		if len(list) > 0 {
			heard = list[0]
		}
		return heard != nil
	})
	message, err := mh.Parse(heard[40:])
	a.must(err)
	request := message.(*mh.DMIPv6)
	short, _ := mh.Find[*mh.KeyTicket](request.Options)
	stamp, err := auth.Timestamp(request.Options)
	a.must(err)
	id := &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identifier(home)}
	kd := association(t, proxyKey2, 302)
	right := auth.Association{SPI: 302, Algorithm: auth.HMACSHA256, Key: ticket.SessionKey(kd.Key, homeProxy2, short.Expiry, id)}
	answer := func(s auth.Association, lent netip.Addr, stamp mh.NTPTime) {
		t.Helper()
		response := &mh.DMIPv6{Subtype: mh.DHoAResponse, Sequence: request.Sequence, Lifetime: 10 * time.Minute, Options: mh.Options{
			&mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: identifier(home)}, &mh.DHoA{Prefix: single(lent)},
		}}
		b, err := auth.Sign(response, s, a.careOf, netip.IPv6Unspecified(), stamp)
		a.must(err)
		a.x.send(a.victim, direct(homeProxy2, a.careOf, b))
	}
	evil := pool2.Addr().Next()
	before := a.mn.counter("dmipv6-unauthentic")
	// Another key, the key of another proxy, and the right key with another time.
	answer(association(t, wrongKey, 302), evil, stamp)
	answer(kd, evil, stamp)
	answer(right, evil, stamp+1)
	a.mn.counted("dmipv6-unauthentic", before, 3)
	refused := a.mn.counter("dmipv6-refused")
	answer(right, homeAgent, stamp)
	a.mn.counted("dmipv6-refused", refused, 1)
	// The request is over, whatever comes now.
	unmatched := a.mn.counter("dmipv6-unmatched")
	answer(right, evil, stamp)
	a.mn.counted("dmipv6-unmatched", unmatched, 1)
	if list := a.mn.anchors(); len(list) != 1 || list[0].Address != a.lent {
		t.Errorf("the addresses held are %+v", list)
	}
	k.asks(server, 100, single(home))
	a.survived()
}
