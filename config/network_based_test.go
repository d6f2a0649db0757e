package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const accessRouterTOML = `roles = ["maar"]

[[link]]
interface = "eth0"
addresses = ["2001:db8:a1::1/64"]
gateway = "2001:db8:a1::ff"

[[link]]
interface = "eth1"
access = true

[maar]
address = "2001:db8:a1::1"
database = "2001:db8:e::1"
spi = 256
peers = [{ address = "2001:db8:a2::1", spi = 257 }]
access_links = ["eth1"]
pools = ["2001:db8:1000::/48"]
deregistration = "renew-timers"

[[maar.mobile_node]]
link_layer_address = "02:00:00:00:00:07"
identifier = "host7@example.org"
prefix = "2001:db8:1000:7::/64"

[[security_association]]
spi = 256
key_file = "mn.key"

[[security_association]]
spi = 257
key_file = "mn.key"
`

const databaseTOML = `roles = ["cmd"]

[[link]]
interface = "eth0"
addresses = ["2001:db8:e::1/64"]
gateway = "2001:db8:e::ff"

[central_mobility_database]
address = "2001:db8:e::1"
mode = "relay"
allow_any_mobile_node = true
serve_plain = true
home_prefixes = ["2001:db8:9000::/48"]

[[central_mobility_database.router]]
address = "2001:db8:a1::1"
spi = 256
pools = ["2001:db8:1000::/48"]

[[central_mobility_database.mobile_node]]
link_layer_address = "02:00:00:00:00:07"

[[security_association]]
spi = 256
key_file = "mn.key"
`

func TestAccessRouter(t *testing.T) {
	c, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(accessRouterTOML))
	if err != nil {
		t.Fatal(err)
	}
	a := c.AccessRouter
	if !c.Links[1].Access || a.Database.String() != "2001:db8:e::1" || a.Deregistration != RenewTimers || a.Ordering != ByTimestamp ||
		a.Lifetime != 10*time.Minute || len(a.Peers) != 1 || len(a.MobileNodes) != 1 || a.MobileNodes[0].LinkLayer != [6]byte{2, 0, 0, 0, 0, 7} ||
		a.MobileNodes[0].Prefix.String() != "2001:db8:1000:7::/64" || !a.KeepSessions {
		t.Errorf("%+v", a)
	}
}

func TestDatabase(t *testing.T) {
	c, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(databaseTOML))
	if err != nil {
		t.Fatal(err)
	}
	b := c.Database
	if b.Mode != Relay || !b.ServePlain || len(b.Routers) != 1 || b.MaxSessions != 1_000_000 || b.AggregationTimeout != 500*time.Millisecond ||
		b.MobileNodes[0].LinkLayer != [6]byte{2, 0, 0, 0, 0, 7} || !b.AllowAnyMobileNode {
		t.Errorf("%+v", b)
	}
}

func TestNetworkBasedMistakes(t *testing.T) {
	for _, tt := range []struct{ name, file, from, to, want string }{
		{"access link with addresses", accessRouterTOML, "access = true", "access = true\naddresses = [\"2001:db8:b::1/64\"]", `link.1.access: expected access = true alone`},
		{"no access link", accessRouterTOML, `access_links = ["eth1"]`, `access_links = ["eth0"]`, `maar.access_links.0: expected the interface of a [[link]] with access = true, found "eth0"`},
		{"shared key", accessRouterTOML, `spi = 257 }`, `spi = 256 }`, `maar.peers.0.spi: expected each peer once, with a key of its own`},
		{"no upstream", accessRouterTOML, `database = "2001:db8:e::1"`, ``, `maar.database: expected the address of the central mobility database`},
		{"both upstreams", accessRouterTOML, `spi = 256`, "local_mobility_anchor = \"2001:db8:e::2\"\nspi = 256", `maar.local_mobility_anchor: expected either database or local_mobility_anchor`},
		{"narrow pool", accessRouterTOML, `pools = ["2001:db8:1000::/48"]`, `pools = ["2001:db8:1000::/80"]`, `maar.pools.0: expected a prefix of 64 bits or fewer`},
		{"prefix elsewhere", accessRouterTOML, `prefix = "2001:db8:1000:7::/64"`, `prefix = "2001:db8:2000:7::/64"`, `maar.mobile_node.0.prefix: expected a /64 of the pools`},
		{"group address", accessRouterTOML, `"02:00:00:00:00:07"`, `"03:00:00:00:00:07"`, `maar.mobile_node.0.link_layer_address: expected a unicast link-layer address`},
		{"own address as database", accessRouterTOML, `database = "2001:db8:e::1"`, `database = "2001:db8:a1::1"`, `maar.database: expected another address than the router's own`},
		{"nobody", accessRouterTOML, accessRouterTOML[strings.Index(accessRouterTOML, "[[maar.mobile_node]]"):strings.Index(accessRouterTOML, "[[security")], ``, `maar.mobile_node: expected at least one`},
		{"mode", databaseTOML, `"relay"`, `"mirror"`, `central_mobility_database.mode: expected one of relay, locator, proxy, found "mirror"`},
		{"no home prefixes", databaseTOML, `home_prefixes = ["2001:db8:9000::/48"]`, ``, `central_mobility_database.home_prefixes: expected prefixes`},
		{"router without pools", databaseTOML, "spi = 256\npools = [\"2001:db8:1000::/48\"]", "spi = 256", `central_mobility_database.router.0.pools: expected pools`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.file, tt.from) {
				t.Fatalf("the valid file has no %q", tt.from)
			}
			_, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(strings.Replace(tt.file, tt.from, tt.to, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is\n  %v\nwant\n  %s", err, tt.want)
			}
		})
	}
}
