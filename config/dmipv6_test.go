package config

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const dmipv6TOML = `
[dmipv6]
enabled = true
source_hints = true
hold_time = "200ms"

[[dmipv6.rule]]
name = "calls"
class = "session-lasting"
protocols = ["udp", "132"]
destination_ports = ["5060-5061", "10000"]
dscps = [46]
users = ["1000-1999"]
max_round_trip = "80ms"
max_loss = 0.05

[[dmipv6.rule]]
class = "fixed"
destinations = ["2001:db8:f::/48"]

[[dmipv6.proxy]]
address = "2001:db8:d::1"
coverage = ["2001:db8:c::/48"]
preference = 7
`

const homeProxyTOML = `roles = ["home-proxy"]

[[link]]
interface = "eth0"
addresses = ["2001:db8:d::1/64"]
gateway = "2001:db8:d::ff"

[home_proxy]
address = "2001:db8:d::1"
pools = [{ prefix = "2001:db8:d1::/64" }, { prefix = "2001:db8:d2::/48", lend = 64 }]
coverage = [{ prefix = "2001:db8:c::/48", probe = "2001:db8:c::1" }]
home_agents = [{ address = "2001:db8:f::1", spi = 256 }]

[[security_association]]
spi = 256
key_file = "mn.key"
`

const correspondentTOML = `roles = ["correspondent-node"]

[tun]

[[link]]
interface = "eth0"
addresses = ["2001:db8:c::2/64"]
gateway = "2001:db8:c::ff"

[correspondent_node]
address = "2001:db8:c::3"
link = "eth0"
`

func TestCorrespondentNode(t *testing.T) {
	c, err := Parse("x.toml", []byte(correspondentTOML))
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CorrespondentNode; n.Address.String() != "2001:db8:c::3" || n.Link != "eth0" || n.MaxBindings != 10_000 {
		t.Errorf("%+v", n)
	}
}

func TestDMIPv6(t *testing.T) {
	dir := folder(t)
	c, err := Parse(filepath.Join(dir, "x.toml"), []byte(mobileNodeTOML+dmipv6TOML))
	if err != nil {
		t.Fatal(err)
	}
	d := c.DMIPv6
	want := Rule{
		Name: "calls", Class: SessionLasting, Protocols: []uint8{17, 132},
		DestinationPorts: []Range{{5060, 5061}, {10000, 10000}}, DSCPs: []uint8{46}, Users: []Range{{1000, 1999}},
		MaxRoundTrip: 80 * time.Millisecond, MaxLoss: 0.05,
	}
	if !reflect.DeepEqual(d.Rules[0], want) {
		t.Errorf("rule is %+v, want %+v", d.Rules[0], want)
	}
	var names []string
	for _, r := range d.Rules {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, ", "); got != "calls, rule 2, name look-ups, time, everything else" {
		t.Errorf("rules are %s", got)
	}
	if !d.UseHomeAgent || d.Anycast || !d.SourceHints || d.HoldTime != 200*time.Millisecond || d.MaxFlows != 1<<17 {
		t.Errorf("%+v", d)
	}
	if len(d.Proxies) != 1 || d.Proxies[0].Preference != 7 {
		t.Errorf("proxies are %+v", d.Proxies)
	}
}

func TestDMIPv6IsOffUnlessEnabled(t *testing.T) {
	c, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(mobileNodeTOML+strings.Replace(dmipv6TOML, "enabled = true", "", 1)))
	if err != nil || c.DMIPv6 != nil {
		t.Errorf("%+v, %v", c.DMIPv6, err)
	}
}

func TestHomeProxy(t *testing.T) {
	c, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(homeProxyTOML))
	if err != nil {
		t.Fatal(err)
	}
	h := c.HomeProxy
	if len(h.Pools) != 2 || h.Pools[0].Lend != 128 || h.Pools[1].Lend != 64 || h.Coverage[0].Probe.String() != "2001:db8:c::1" ||
		h.HomeAgents[0].SPI != 256 || !h.KeepBindings || h.MaxBindingsPerMobileNode != 16 || h.Quarantine != 10*time.Minute {
		t.Errorf("%+v", h)
	}
}

func TestDMIPv6Mistakes(t *testing.T) {
	mn := mobileNodeTOML + dmipv6TOML
	for _, tt := range []struct{ name, file, from, to, want string }{
		{"class", mn, `class = "fixed"`, `class = "sticky"`, `dmipv6.rule.1.class: expected one of fixed, session-lasting, graceful-replacement, non-persistent, found "sticky"`},
		{"protocol", mn, `"132"`, `"ipx"`, `dmipv6.rule.0.protocols.1: expected tcp, udp,`},
		{"ports", mn, `"5060-5061"`, `"5061-5060"`, `dmipv6.rule.0.destination_ports.0: expected a number or range from 0 to 65535`},
		{"port too high", mn, `"10000"`, `"70000"`, `dmipv6.rule.0.destination_ports.1: expected a number or range`},
		{"ports without protocol", mn, `["udp", "132"]`, `["icmpv6"]`, `dmipv6.rule.0.protocols: expected protocols with ports`},
		{"loss", mn, `max_loss = 0.05`, `max_loss = 1.5`, `dmipv6.rule.0.max_loss: expected a share above 0 and below 1`},
		{"name again", mn, "[[dmipv6.rule]]\nclass", "[[dmipv6.rule]]\nname = \"calls\"\nclass", `dmipv6.rule.1.name: expected a name that no other rule has`},
		{"bounds without anchor", mn, `class = "session-lasting"`, `class = "non-persistent"`, `dmipv6.rule.0.class: expected a class that has an anchor`},
		{"no source", mn, "source_hints = true", "use_home_agent = false", ""},
		{"dscp", mn, `dscps = [46]`, `dscps = [64]`, `dmipv6.rule.0.dscps.0: expected a number from 0 to 63`},
		{"no pools", homeProxyTOML, `pools = [{ prefix = "2001:db8:d1::/64" }, { prefix = "2001:db8:d2::/48", lend = 64 }]`, ``, `home_proxy.pools: expected at least one pool`},
		{"lend", homeProxyTOML, `lend = 64`, `lend = 96`, `home_proxy.pools.1.lend: expected 64 or 128`},
		{"small pool", homeProxyTOML, `"2001:db8:d1::/64"`, `"2001:db8:d1::/120"`, `home_proxy.pools.0.prefix: expected a prefix with room for many`},
		{"probe elsewhere", homeProxyTOML, `probe = "2001:db8:c::1"`, `probe = "2001:db8:e::1"`, `home_proxy.coverage.0.probe: expected an address in 2001:db8:c::/48`},
		{"correspondent's address", correspondentTOML, `address = "2001:db8:c::3"`, `address = "2001:db8:c::2"`, `correspondent_node.address: expected an address of the link's prefix that is not in addresses of a [[link]]`},
		{"correspondent's link", correspondentTOML, `link = "eth0"`, `link = "eth1"`, `correspondent_node.link: expected the interface of a [[link]], found "eth1"`},
		{"foreign address", homeProxyTOML, "[home_proxy]\naddress = \"2001:db8:d::1\"", "[home_proxy]\naddress = \"2001:db8:d::2\"", `home_proxy.address: expected one of the addresses of a [[link]]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.file, tt.from) {
				t.Fatalf("the valid file has no %q", tt.from)
			}
			_, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(strings.Replace(tt.file, tt.from, tt.to, 1)))
			if tt.want == "" {
				if err != nil {
					t.Errorf("a static proxy is a source, and yet: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is\n  %v\nwant\n  %s", err, tt.want)
			}
		})
	}
}
