package routeoptimization

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

func TestRFC6275_11_7_3_Refresh(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Hour)
	w.want(home, StateOptimized)
	if slices.Contains(w.trace, Tunnelled) {
		t.Error("interrupted")
	}
	// 420 s, less 42.
	if n := len(sentOf[*mh.BindingUpdate](w)); n != 10 {
		t.Errorf("%d updates in an hour", n)
	}
}

// The lifetime is counted from the update, and by what is granted.
func TestRFC6275_11_7_3_LifetimeGranted(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(2*tunnelDelay + time.Millisecond)
	e := w.mn.entries[pair{home, cn}]
	sent := e.request.sent[0]
	b, err := routability.Sign(&mh.BindingAcknowledgement{Sequence: sent.sequence, Lifetime: 40 * time.Second}, sent.key, coa, cn)
	if err != nil {
		t.Fatal(err)
	}
	mh.SetChecksum(b, cn, home)
	w.mn.Handle(w.now, signaling.Received{Source: cn, Destination: coa, RoutingHome: home, Payload: b})
	if e.bound.until != sent.at.Add(40*time.Second) || e.bound.refreshAt != sent.at.Add(20*time.Second) {
		t.Errorf("until %v, refreshed at %v, sent at %v", e.bound.until, e.bound.refreshAt, sent.at)
	}
}

func TestRFC6275_11_7_3_AcknowledgementsAreChecked(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(2*tunnelDelay + time.Millisecond)
	w.cn = nil
	e := w.mn.entries[pair{home, cn}]
	u := e.request.sent[0]
	w.hear(&mh.BindingAcknowledgement{Sequence: u.sequence, Lifetime: time.Minute}, coa, home, false) // not signed
	w.hear(&mh.BindingAcknowledgement{Status: mh.StatusUnspecified, Sequence: u.sequence}, coa, home, false)
	w.hear(&mh.BindingAcknowledgement{Status: mh.StatusSequenceOutOfWindow, Sequence: 9}, coa, home, false)
	w.hear(&mh.BindingAcknowledgement{Status: mh.StatusExpiredNonces, Sequence: u.sequence + 1}, coa, home, false)
	if w.mn.counters.Unauthentic != 4 || !e.homeTested.held {
		t.Errorf("%+v", w.mn.counters)
	}
	w.want(home, StateRegistering)
	// This one need not be.
	w.hear(&mh.BindingAcknowledgement{Status: mh.StatusExpiredHomeNonce, Sequence: u.sequence}, coa, home, false)
	if e.homeTested.held || !e.careOfTested.held || len(sentOf[*mh.HomeTestInit](w)) != 2 {
		t.Error("an expired home nonce leads to no new test")
	}
}

// A correspondent node that restarted does not know the nonces: both tests are run again, and packets take the tunnel.
func TestRFC6275_5_2_7_CorrespondentNodeRestarts(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.cn = newWorld(t).cn
	w.cached = map[netip.Addr]signaling.Optimize{}
	w.hear(&mh.BindingError{Status: mh.UnknownBinding, HomeAddress: home}, coa, netip.Addr{}, false)
	w.want(home, StateRegistering)
	w.run(time.Second)
	w.want(home, StateOptimized)
	if n := len(sentOf[*mh.HomeTestInit](w)); n != 2 {
		t.Errorf("%d home test inits", n)
	}
}

func TestRFC6275_11_7_3_SequenceNumberIsAdopted(t *testing.T) {
	w := newWorld(t)
	w.request(home)
	w.run(time.Second)
	w.mn.peers[cn].sequence -= 1000
	w.attach(coa2)
	w.run(time.Second)
	w.want(home, StateOptimized)
}
