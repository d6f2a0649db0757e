package neighbor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kedge/netstack/nd"
)

func newListenerBench(t *testing.T, cfg Config) *bench {
	b := newBench(t, cfg)
	b.listener = true
	return b
}

func TestRFC3810Section61ChangesOfGroups(t *testing.T) {
	b := newListenerBench(t, Config{})
	b.do(b.AddAddress(b.now, careOf, Own))
	b.do(b.AddAddress(b.now, addr("fe80::c0"), Own)) // the same solicited-node group
	b.until(10 * time.Second)
	const joined = "fe80::ee > ff02::16 MLD +ff02::1:ff00:c0"
	b.expect("0s "+joined, "0s neighbor.Joined {ff02::1:ff00:c0}", "500ms "+joined)

	b.do(b.RemoveAddress(b.now, careOf))
	b.do(b.RemoveAddress(b.now, careOf))
	b.expect()
	b.do(b.RemoveAddress(b.now, addr("fe80::c0")))
	b.until(20 * time.Second)
	const left = "fe80::ee > ff02::16 MLD -ff02::1:ff00:c0"
	b.expect("10s "+left, "10s neighbor.Left {ff02::1:ff00:c0}", "10.5s "+left)

	want := []netip.Addr{nd.AllNodes, addr("ff02::1:ff00:ee")}
	if got := b.Groups(); !slices.Equal(got, want) {
		t.Errorf("groups %v, want %v", got, want)
	}
}

func TestRFC3810Section61ChangedBackBeforeTheRepetition(t *testing.T) {
	b := newListenerBench(t, Config{})
	b.do(b.AddAddress(b.now, careOf, Own))
	b.do(b.RemoveAddress(b.now, careOf))
	b.lines = nil
	b.until(10 * time.Second)
	b.expect("500ms fe80::ee > ff02::16 MLD -ff02::1:ff00:c0")
}

func TestRFC3590WithoutLinkLocalAddress(t *testing.T) {
	b := newListenerBench(t, Config{})
	b.RemoveAddress(b.now, ll)
	b.until(time.Second)
	b.lines = nil
	b.do(b.Probe(b.now, home))
	b.until(3 * time.Second)
	b.expect("1s :: > ff02::16 MLD +ff02::1:ff00:beef", "1s :: > ff02::1:ff00:beef NS 2001:db8::beef nonce",
		"1s neighbor.Joined {ff02::1:ff00:beef}", "1.5s :: > ff02::16 MLD +ff02::1:ff00:beef",
		"2s :: > ff02::16 MLD -ff02::1:ff00:beef", "2s Unique {2001:db8::beef}", "2s neighbor.Left {ff02::1:ff00:beef}",
		"2.5s :: > ff02::16 MLD -ff02::1:ff00:beef")
}

func TestRFC3810Section62Queries(t *testing.T) {
	b := newListenerBench(t, Config{})
	b.AddAddress(b.now, careOf, Own)
	b.until(5 * time.Second)
	b.lines = nil
	query := func(group netip.Addr, delay time.Duration) {
		dst := group
		if group.IsUnspecified() {
			dst = nd.AllNodes
		}
		b.receive(m1, router, dst, &nd.ListenerQuery{Version: 2, Group: group, MaximumResponseDelay: delay})
	}
	query(any6, 10*time.Second)
	query(any6, 8*time.Second)
	b.until(20 * time.Second)
	b.expect("9s fe80::ee > ff02::16 MLD =ff02::1:ff00:c0 =ff02::1:ff00:ee")

	query(nd.SolicitedNode(careOf), time.Second)
	b.until(30 * time.Second)
	b.expect("20.5s fe80::ee > ff02::16 MLD =ff02::1:ff00:c0")

	query(nd.SolicitedNode(host), time.Second)
	query(nd.SolicitedNode(careOf), time.Second)
	b.do(b.RemoveAddress(b.now, careOf))
	b.lines = nil
	b.until(40 * time.Second)
	b.expect("30.5s fe80::ee > ff02::16 MLD -ff02::1:ff00:c0")
}

func TestRFC3810Section821QuerierOfVersion1(t *testing.T) {
	b := newListenerBench(t, Config{})
	// The codec writes version 2; its first 24 octets of ICMPv6 are a query of version 1.
	q, err := nd.Append(nil, router, nd.AllNodes, &nd.ListenerQuery{Group: any6, MaximumResponseDelay: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	b.do(b.Handle(b.now, seal(q[:len(q)-4]), m1))
	b.until(time.Second)
	b.do(b.AddAddress(b.now, careOf, Proxy))
	b.until(2 * time.Second)
	b.do(b.RemoveAddress(b.now, careOf))
	b.until(259 * time.Second)
	b.expect("500ms fe80::ee > ff02::1:ff00:ee MLDv1 =ff02::1:ff00:ee",
		"1s fe80::ee > ff02::1:ff00:c0 MLDv1 =ff02::1:ff00:c0", "1s neighbor.Joined {ff02::1:ff00:c0}",
		"1.5s fe80::ee > ff02::1:ff00:c0 MLDv1 =ff02::1:ff00:c0",
		"2s fe80::ee > ff02::2 MLDv1 -ff02::1:ff00:c0", "2s neighbor.Left {ff02::1:ff00:c0}",
		"2.5s fe80::ee > ff02::2 MLDv1 -ff02::1:ff00:c0")
	b.until(260 * time.Second)
	b.do(b.AddAddress(b.now, careOf, Proxy))
	b.expect("4m20s fe80::ee > ff02::16 MLD +ff02::1:ff00:c0", "4m20s neighbor.Joined {ff02::1:ff00:c0}")
}

func TestRFC3810Section5215ReportsFitTheLink(t *testing.T) {
	b := newListenerBench(t, Config{})
	for i := range 5000 {
		b.AddAddress(b.now, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: 1, 14: byte(i >> 8), 15: byte(i)}), Proxy)
	}
	b.at(5 * time.Second)
	b.Tick(b.now)
	b.until(10 * time.Second)
	b.lines = nil
	b.receive(m1, router, nd.AllNodes, &nd.ListenerQuery{Version: 2, Group: any6, MaximumResponseDelay: time.Second})
	bursts, records := map[string]int{}, 0
	for next := b.Next(); !next.IsZero(); next = b.Next() {
		b.now = next
		out := b.Tick(next)
		for _, f := range out.Frames {
			if f.Packet.Len() > 1280 {
				t.Fatalf("a report of %d octets", f.Packet.Len())
			}
		}
		b.do(out)
		bursts[next.Sub(epoch).String()] = len(out.Frames)
	}
	for _, line := range b.lines {
		records += strings.Count(line, "=")
	}
	if records != 5001 || fmt.Sprint(bursts) != "map[10.52s:32 10.54s:18 10.5s:32]" {
		t.Errorf("%d records, bursts %v", records, bursts)
	}
}

func TestRouterListensToAllRouters(t *testing.T) {
	b := New(Config{LinkAddress: me, Router: true, Random: half{}})
	if got := b.Groups(); !slices.Equal(got, []netip.Addr{nd.AllNodes, nd.AllRouters}) {
		t.Error(got)
	}
	b.AddAddress(epoch, ll, Own)
	out := b.Tick(epoch.Add(time.Second))
	if len(out.Frames) != 1 {
		t.Fatalf("%d frames", len(out.Frames))
	}
	_, _, m, err := nd.Parse(out.Frames[0].Packet.Bytes())
	if r, is := m.(*nd.ListenerReport); err != nil || !is || len(r.Records) != 2 || r.Records[0].Group != nd.AllRouters {
		t.Errorf("%+v, %v", m, err)
	}
}
