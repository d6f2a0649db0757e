package directory

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

var (
	// outer is where datagrams come from, and outside is the home agent's address that they go to.
	outer   = netip.MustParseAddrPort("203.0.113.5:61234")
	outside = netip.MustParseAddr("192.0.2.1")

	endpoint4 = netip.MustParseAddrPort("192.0.2.9:4191")
	endpoint6 = netip.MustParseAddrPort("[2001:db8:77::9]:4191")
)

func inDatagram(r signaling.Received) signaling.Received {
	r.Outer, r.OuterLocal, r.Link = outer, outside, ""
	return r
}

// at is an advertisement with those UDP endpoints.
func at(d *mh.DMIPv6, endpoints ...netip.AddrPort) *mh.DMIPv6 {
	for _, e := range endpoints {
		d.Options = append(d.Options, &mh.UDPEndpoint{Endpoint: e})
	}
	return d
}

// endpointsOf are the UDP endpoints of a reply, by the DHP that the information before them is about.
func endpointsOf(d *mh.DMIPv6) map[netip.Addr][]netip.AddrPort {
	all := make(map[netip.Addr][]netip.AddrPort)
	var dhp netip.Addr
	for _, o := range d.Options {
		switch o := o.(type) {
		case *mh.DHPInformation:
			dhp = o.Address
		case *mh.UDPEndpoint:
			all[dhp] = append(all[dhp], o.Endpoint)
		}
	}
	return all
}

func TestQueryInADatagramIsAnsweredWhereItCameFrom(t *testing.T) {
	homeAddress := netip.MustParseAddr("2001:db8:1::7")
	w := start(t, func(c *Config) {
		c.Registered = func(identifier string, source netip.Addr) bool { return source == homeAddress }
	})
	w.advertise(kd1, dhp1, near("2001:db8:c::/48"))
	for i, key := range []struct {
		name string
		want mh.Status
	}{{"authentic", 0}, {"forged", mh.StatusAuthenticationFailure}, {"late", mh.StatusIDMismatch}} {
		w.after(time.Second)
		a, stamp := mnKey, w.now
		if key.name == "forged" {
			a = forged(mnKey)
		}
		if key.name == "late" {
			stamp = noon
		}
		r := inDatagram(received(t, query("2001:db8:c::5"), a, homeAddress, stamp))
		length := len(r.Payload)
		e := effects(w.handle(r))
		d := e.status(t, mnKey, key.want)
		s := of[signaling.Send](e)[0]
		if s.Outer != outer || s.OuterLocal != outside || s.Destination != homeAddress || s.Link != "" {
			t.Errorf("%s: sent as %+v", key.name, s)
		}
		if i == 0 && !slices.Equal(told(d), []string{one + "2001:db8:c::/48"}) || i > 0 && len(s.Payload) > length {
			t.Errorf("%s: %d octets answer %d: %+v", key.name, len(s.Payload), length, d)
		}
	}
}

func TestEndpointsArePassedOn(t *testing.T) {
	static := netip.MustParseAddrPort("198.51.100.2:5000")
	w := start(t, func(c *Config) { c.Proxies[1].Endpoints = []netip.AddrPort{static} })
	w.send(at(advertisement(dhp1, near("2001:db8:c::/48"), near("2001:db8:e::/48")), endpoint4, endpoint6), kd1, dhp1).status(t, kd1, 0)
	w.send(at(advertisement(dhp2, near("2001:db8:c::/48")), endpoint6), kd2, dhp2).status(t, kd2, 0)
	d := w.ask(0, "2001:db8:c::5", "2001:db8:e::5")
	got := endpointsOf(d)
	// DHP 1 has two coverage prefixes, each with its endpoints; of DHP 2, the configuration knows better.
	if !slices.Equal(got[dhp1], []netip.AddrPort{endpoint4, endpoint6, endpoint4, endpoint6}) || !slices.Equal(got[dhp2], []netip.AddrPort{static}) {
		t.Errorf("endpoints %v of %v", got, d.Options)
	}
	for _, e := range w.m.Entries(w.now) {
		want := map[netip.Addr][]netip.AddrPort{dhp1: {endpoint4, endpoint6}, dhp2: {static}}[e.DHP]
		if !slices.Equal(e.Endpoints, want) {
			t.Errorf("%v is listed with %v", e.DHP, e.Endpoints)
		}
	}
	// What is advertised replaces what was before.
	w.after(time.Second).send(at(advertisement(dhp1, near("2001:db8:c::/48")), endpoint6), kd1, dhp1).status(t, kd1, 0)
	if got := endpointsOf(w.ask(0, "2001:db8:c::5")); !slices.Equal(got[dhp1], []netip.AddrPort{endpoint6}) {
		t.Errorf("endpoints %v", got)
	}
	// And ends with the advertisement: one that is asked for by its address is told with what is configured alone.
	w.after(time.Minute)
	if got := endpointsOf(w.ask(0, dhp1.String(), dhp2.String())); len(got[dhp1]) != 0 || !slices.Equal(got[dhp2], []netip.AddrPort{static}) {
		t.Errorf("endpoints %v", got)
	}
	w.after(time.Second).send(at(advertisement(dhp1, near("2001:db8:c::/48")), endpoint6), kd1, dhp1).status(t, kd1, 0)
	withdrawal := at(advertisement(dhp1), endpoint6)
	withdrawal.Lifetime = 0
	w.after(time.Second).send(withdrawal, kd1, dhp1).status(t, kd1, 0)
	if got := endpointsOf(w.ask(0, dhp1.String())); len(got[dhp1]) != 0 {
		t.Errorf("endpoints %v", got)
	}
}

func TestUnfitEndpointsAreRefused(t *testing.T) {
	for name, endpoints := range map[string][]netip.AddrPort{
		"port 0":    {netip.AddrPortFrom(outside, 0)},
		"multicast": {endpoint4, netip.MustParseAddrPort("224.0.0.1:4191")},
		"loopback":  {netip.MustParseAddrPort("[::1]:4191")},
		"five":      {endpoint4, endpoint4, endpoint4, endpoint4, endpoint4},
	} {
		w := start(t)
		d := at(advertisement(dhp1, near("2001:db8:c::/48")), endpoints...)
		w.send(d, kd1, dhp1).status(t, kd1, mh.StatusAdministrativelyProhibited)
		w.lists()
		c := config()
		c.Proxies[0].Endpoints = endpoints
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "UDP endpoint") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The longest replies there can be: four DHPs with all their endpoints and tickets.
func TestRepliesWithEndpointsFit(t *testing.T) {
	for length, want := range map[int]int{1: 16, roomyIdentifier: 16, roomyIdentifier + 1: 12, 254: 12} {
		asking := shared
		asking.Identifier = strings.Repeat("a", length)
		var cns []string
		w := start(t, func(c *Config) {
			c.AllowAnyMobileNode = true
			c.Proxies = c.Proxies[:1]
			for i := range 4 {
				p := c.Proxies[0]
				p.Address, p.SPI = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xe0, 15: byte(i)}), uint32(3000+i)
				p.Endpoints = []netip.AddrPort{endpoint4, endpoint6, endpoint4, endpoint6}
				k := kd1
				k.SPI = p.SPI
				c.Associations[p.SPI] = k
				c.Proxies = append(c.Proxies, p)
				cns = append(cns, p.Address.String())
			}
		})
		e := w.send(query(cns...), asking, careOf)
		d := e.status(t, asking, mh.StatusAccepted)
		if n := len(mh.FindAll[*mh.UDPEndpoint](d.Options)); n != want || len(mh.FindAll[*mh.KeyTicket](d.Options)) != 4 {
			t.Errorf("MN-ID of %d octets: %d endpoints in %v", length, n, d.Options)
		}
		if n := len(of[signaling.Send](e)[0].Payload); n > 1280-40 {
			t.Errorf("%d octets", n)
		}
	}
}

func TestNoAmplificationInDatagrams(t *testing.T) {
	w := start(t)
	unsigned := func(payload []byte) signaling.Received {
		mh.SetChecksum(payload, careOf, agent)
		return inDatagram(signaling.Received{Source: careOf, Destination: agent, Payload: payload})
	}
	short := advertisement(dhp1)
	short.Options = mh.Options{&mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: 2001}}
	b, err := mh.Append(nil, short)
	if err != nil {
		t.Fatal(err)
	}
	question := query("2001:db8:c::5")
	question.Options = append(question.Options, &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: "mn@example.net"})
	unanswerable := inDatagram(received(t, query("2001:db8:c::5"), mnKey, careOf, noon))
	unanswerable.Outer = netip.AddrPortFrom(outer.Addr(), 0)
	for name, r := range map[string]signaling.Received{
		"another magic":  unsigned([]byte{59, 1, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}),
		"Payload Proto":  unsigned([]byte{58, 1, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x44, 0x4d, 0x76, 0x31}),
		"unsigned query": inDatagram(received(t, question, auth.Association{}, careOf, noon)),
		"short":          unsigned(b),
		"port 0":         unanswerable,
	} {
		t.Run(name, func(t *testing.T) { effects(w.handle(r)).silent(t) })
	}
	// One that is long enough for its answer gets it.
	e := w.handle(unsigned(append([]byte{59, 2, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 8)...)))
	if s := of[signaling.Send](e); len(s) != 1 || len(s[0].Payload) != 24 || s[0].Outer != outer || s[0].OuterLocal != outside {
		t.Errorf("sends %+v", s)
	}
}
