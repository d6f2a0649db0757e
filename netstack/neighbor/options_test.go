package neighbor

import (
	"testing"
	"time"

	"kedge/netstack/nd"
)

// "The contents of any defined options that are not specified to be used with [these] messages MUST be ignored and the packet
// processed as normal"; RFC 6275 sections 7.3 and 7.4 say so of its options.
func TestRFC4861Section71OptionsOutOfPlaceAreIgnored(t *testing.T) {
	others := nd.Options{
		nd.AdvertisementInterval(time.Second), nd.HomeAgentInformation{Preference: 1, Lifetime: time.Second},
		nd.MTU(1280), &nd.UnknownOption{Type: 200, Data: make([]byte, 6)},
	}
	b := newBench(t, Config{})
	b.receive(m1, peer, nd.SolicitedNode(own), &nd.NeighborSolicitation{
		Target: own, Options: append(others, nd.SourceLinkLayerAddress(m1), nd.TargetLinkLayerAddress(m2)),
	})
	b.expect("0s 2001:db8::ee > 2001:db8::1 (m1) NA 2001:db8::ee [SO] target=me")
	b.receive(m2, peer, own, &nd.NeighborAdvertisement{
		Target: peer, Solicited: true, Override: true,
		Options: append(others, nd.TargetLinkLayerAddress(m2), nd.SourceLinkLayerAddress(m1)),
	})
	b.expect("0s NeighborReachable {2001:db8::1 [2 0 0 0 0 2]}")
	if b.link(peer) != "m2" {
		t.Errorf("link %q", b.link(peer))
	}
}
