package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const key32 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

const mobileNodeTOML = `roles = ["mobile-node"]

[tun]
name = "kedge0"

[[link]]
interface = "eth0"
autoconfigure = true
preference = 10

[mobile_node]
home_address = "2001:db8:f::100"
home_prefix = "2001:db8:f::/64"
home_agent = "2001:db8:f::1"
identifier = "mn1@example.org"
lifetime = "5m"
destinations = ["2001:db8::/32"]
spi = 256

[[security_association]]
spi = 256
key_file = "mn.key"
`

const homeAgentTOML = `roles = ["home-agent"]

[[link]]
interface = "eth0"
addresses = ["2001:db8:f::1/64"]
gateway = "2001:db8:f::ff"

[home_agent]
address = "2001:db8:f::1"
home_prefixes = ["2001:db8:f::/64"]
home_link = "eth0"
max_lifetime = "10m"
keep_bindings = false
refresh_advice = "5m"

[[home_agent.mobile_node]]
identifier = "mn1@example.org"
home_address = "2001:db8:f::100"
mobile_networks = ["2001:db8:f:100::/56"]
spi = 256

[[security_association]]
spi = 256
algorithm = "hmac-sha1-96"
key_file = "mn.key"
timestamp_window = "30s"
`

// folder has a key file beside where the configuration is said to be.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mn.key"), []byte(key32+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "short.key"), []byte("abcd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMobileNode(t *testing.T) {
	dir := folder(t)
	got, err := Parse(filepath.Join(dir, "mn.toml"), []byte(mobileNodeTOML))
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	want := &Config{
		Roles:          []Role{MobileNodeRole},
		StateDirectory: "/var/lib/kedge",
		Log:            Log{Level: "info", Format: "text"},
		Control:        Control{Socket: "/run/kedge/control.sock"},
		TUN:            &TUN{Name: "kedge0", MTU: 1500, Offload: true, OffloadTCP: true, OffloadUDP: true},
		Links:          []Link{{Interface: "eth0", Native: true, Autoconfigure: true, Preference: 10, Offload: true}},
		SecurityAssociations: map[uint32]SecurityAssociation{
			256: {SPI: 256, Algorithm: HMACSHA256, Key: key, TimestampWindow: 7 * time.Second},
		},
		MobileNode: &MobileNode{
			HomeAddress:  netip.MustParseAddr("2001:db8:f::100"),
			HomePrefix:   netip.MustParsePrefix("2001:db8:f::/64"),
			HomeAgent:    netip.MustParseAddr("2001:db8:f::1"),
			Transport:    Native,
			Identifier:   "mn1@example.org",
			Lifetime:     5 * time.Minute,
			Destinations: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
			SPI:          256,
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}

func TestHomeAgent(t *testing.T) {
	dir := folder(t)
	got, err := Parse(filepath.Join(dir, "ha.toml"), []byte(homeAgentTOML))
	if err != nil {
		t.Fatal(err)
	}
	want := &HomeAgent{
		Address:        netip.MustParseAddr("2001:db8:f::1"),
		HomePrefixes:   []netip.Prefix{netip.MustParsePrefix("2001:db8:f::/64")},
		HomeLink:       "eth0",
		MaxLifetime:    10 * time.Minute,
		KeepBindings:   false,
		RefreshAdvice:  5 * time.Minute,
		MaxBindings:    100_000,
		TicketLifetime: time.Hour,
		MobileNodes: []HomeAgentMobileNode{{
			Identifier:     "mn1@example.org",
			HomeAddress:    netip.MustParseAddr("2001:db8:f::100"),
			MobileNetworks: []netip.Prefix{netip.MustParsePrefix("2001:db8:f:100::/56")},
			SPI:            256,
		}},
	}
	if diff := cmp.Diff(want, got.HomeAgent, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
	if a := got.SecurityAssociations[256]; a.Algorithm != HMACSHA1 || a.TimestampWindow != 30*time.Second {
		t.Errorf("association = %+v", a)
	}
}

// TestMistakes changes one line of a valid file and expects the error to name that line, its key, and both sides.
func TestMistakes(t *testing.T) {
	mn, ha := mobileNodeTOML, homeAgentTOML
	tests := []struct{ name, file, from, to, want string }{
		{"syntax", mn, `spi = 256`, `spi = = 256`, `x.toml:18: expected valid TOML, found `},
		{"wrong type", mn, `autoconfigure = true`, `autoconfigure = "yes"`, `x.toml:8: link.autoconfigure: expected a value of the right type, found `},
		{"unknown key", mn, `preference = 10`, `preferense = 10`, `x.toml:9: link.preferense: expected a key that kedge knows (preference?), found an unknown one`},
		{"unknown table", mn, `[tun]`, `[tunnel]`, `x.toml:3: tunnel: expected a key that kedge knows`},
		{"no roles", mn, `roles = ["mobile-node"]`, `roles = []`, `x.toml:1: roles: expected at least one of mobile-node, home-agent, home-proxy, correspondent-node, maar, cmd, found none`},
		{"unknown role", mn, `roles = ["mobile-node"]`, `roles = ["router"]`, `x.toml:1: roles.0: expected one of mobile-node, home-agent, home-proxy, correspondent-node, maar, cmd, found "router"`},
		{"both roles", mn, `roles = ["mobile-node"]`, `roles = ["mobile-node", "home-agent"]`, `x.toml:1: roles: expected one role, or maar and cmd together, found 2`},
		{"role without section", mn, `roles = ["mobile-node"]`, `roles = ["home-agent"]`, `home_agent: expected a [home_agent] section, since roles has "home-agent", found none`},
		{"address outside prefix", mn, `home_address = "2001:db8:f::100"`, `home_address = "2001:db8:e::100"`, `x.toml:12: mobile_node.home_address: expected an address in home_prefix 2001:db8:f::/64, found 2001:db8:e::100`},
		{"IPv4 home address", mn, `home_address = "2001:db8:f::100"`, `home_address = "192.0.2.1"`, `x.toml:12: mobile_node.home_address: expected a global unicast IPv6 address, found "192.0.2.1"`},
		{"link-local home agent", mn, `home_agent = "2001:db8:f::1"`, `home_agent = "fe80::1"`, `x.toml:14: mobile_node.home_agent: expected a global unicast IPv6 address, found "fe80::1"`},
		{"host bits", mn, `home_prefix = "2001:db8:f::/64"`, `home_prefix = "2001:db8:f::1/64"`, `x.toml:13: mobile_node.home_prefix: expected a prefix with no bits set behind its length, such as "2001:db8:f::/64", found "2001:db8:f::1/64"`},
		{"overlap", mn, `destinations = ["2001:db8::/32"]`, `destinations = ["2001:db8::/32", "2001:db8:1::/48"]`, `x.toml:17: mobile_node.destinations.1: expected prefixes that do not overlap, found 2001:db8:1::/48, which overlaps 2001:db8::/32`},
		{"lifetime", mn, `lifetime = "5m"`, `lifetime = "300h"`, `x.toml:16: mobile_node.lifetime: expected a duration from 4s to 72h49m0s, such as "10m0s", found "300h"`},
		{"no key", mn, `spi = 256`, ``, `x.toml:11: mobile_node.spi: expected the spi of a [[security_association]]`},
		{"another key", mn, `spi = 256`, `spi = 257`, `x.toml:18: mobile_node.spi: expected the spi of a [[security_association]] in this file, found 257`},
		{"key and no authentication", mn, `spi = 256`, "spi = 256\nallow_unauthenticated_signaling = true", `x.toml:19: mobile_node.allow_unauthenticated_signaling: expected either spi or allow_unauthenticated_signaling = true, found both`},
		{"no key file", mn, `"mn.key"`, `"none.key"`, `no such file or directory`},
		{"short key", mn, `"mn.key"`, `"short.key"`, `x.toml:22: security_association.0.key_file: expected a file of 32 to 2048 hexadecimal digits, found `},
		{"reserved spi", ha, "spi = 256\nalgorithm", "spi = 255\nalgorithm", `security_association.0.spi: expected a number from 256 to 4294967295, found 255`},
		{"no identifier", mn, `identifier = "mn1@example.org"`, ``, `x.toml:11: mobile_node.identifier: expected a network access identifier`},
		{"no link", mn, "[[link]]\ninterface = \"eth0\"\nautoconfigure = true\npreference = 10\n", ``, `link: expected at least one [[link]], found none`},
		{"no tun", mn, "[tun]\nname = \"kedge0\"\n", ``, `tun: expected a [tun] section`},
		{"interface name", mn, `interface = "eth0"`, `interface = "a-very-long-interface"`, `x.toml:7: link.0.interface: expected an interface name of 1 to 15 characters`},
		{"no address", ha, `addresses = ["2001:db8:f::1/64"]`, ``, `x.toml:3: link.0.addresses: expected addresses of kedge's own`},
		{"address and autoconfiguration", ha, `gateway = "2001:db8:f::ff"`, `autoconfigure = true`, `x.toml:6: link.0.autoconfigure: expected either autoconfigure = true, or addresses and a gateway, found both`},
		{"nothing to keep", ha, `gateway = "2001:db8:f::ff"`, `keep_care_of_address = true`, `x.toml:6: link.0.keep_care_of_address: expected autoconfigure = true beside it, found a link without`},
		{"previous care-of address for ever", ha, `keep_bindings = false`, "keep_bindings = false\nprevious_care_of_time = \"11s\"", `x.toml:14: home_agent.previous_care_of_time: expected a duration from 0s to 10s, such as "0s", found "11s"`},
		{"gateway elsewhere", ha, `gateway = "2001:db8:f::ff"`, `gateway = "2001:db8:e::ff"`, `x.toml:6: link.0.gateway: expected a link-local address, or a neighbour's address`},
		{"foreign home agent address", ha, `address = "2001:db8:f::1"`, `address = "2001:db8:f::2"`, `x.toml:9: home_agent.address: expected one of the addresses of a [[link]], found 2001:db8:f::2`},
		{"home link", ha, `home_link = "eth0"`, `home_link = "eth1"`, `x.toml:11: home_agent.home_link: expected the interface of a [[link]]`},
		{"refresh advice", ha, `refresh_advice = "5m"`, `refresh_advice = "50m"`, `x.toml:14: home_agent.refresh_advice: expected at most max_lifetime (10m0s), found 50m0s`},
		{"advice beside a store", ha, "keep_bindings = false\n", ``, `x.toml:13: home_agent.refresh_advice: expected keep_bindings = false beside it`},
		{"mobile node elsewhere", ha, `home_address = "2001:db8:f::100"`, `home_address = "2001:db8:e::100"`, `x.toml:18: home_agent.mobile_node.0.home_address: expected an address in home_prefixes [2001:db8:f::/64], found 2001:db8:e::100`},
		{"home agent's own address", ha, `home_address = "2001:db8:f::100"`, `home_address = "2001:db8:f::1"`, `which a [[link]] of this node has`},
		{"network in home prefix", ha, `"2001:db8:f:100::/56"`, `"2001:db8:f::/56"`, `x.toml:19: home_agent.mobile_node.0.mobile_networks.0: expected a prefix of this mobile node alone, found 2001:db8:f::/56, which overlaps 2001:db8:f::/64`},
		{"algorithm", ha, `"hmac-sha1-96"`, `"md5"`, `security_association.0.algorithm: expected one of hmac-sha-256-128, hmac-sha1-96, found "md5"`},
		{"anybody, but authenticated", ha, `refresh_advice = "5m"`, `allow_any_mobile_node = true`, `x.toml:14: home_agent.allow_any_mobile_node: expected allow_unauthenticated_signaling = true beside it`},
		{"lists nobody", ha, ha[strings.Index(ha, "[[home_agent.mobile_node]]"):], ``, `x.toml:8: home_agent.mobile_node: expected at least one [[home_agent.mobile_node]]`},
		{"log level", mn, `[tun]`, "[log]\nlevel = \"loud\"\n[tun]", `x.toml:4: log.level: expected one of debug, info, warn, error, found "loud"`},
		{"accelerator", mn, `[tun]`, "accelerate = \"dpdk\"\n[tun]", `x.toml:3: accelerate: expected one of seg6, found "dpdk"`},
		{"udp for nobody", mn, `[tun]`, "[udp]\nlisten = \"4191\"\n[tun]", `x.toml:4: udp.listen: expected an address and a port`},
		{"udp to nowhere", mn, `spi = 256`, "spi = 256\ntransport = \"udp\"", `x.toml:19: mobile_node.transport: expected home_agent_endpoints beside it, where datagrams are to go, found none`},
		{"endpoint", mn, `spi = 256`, "spi = 256\ntransport = \"udp\"\nhome_agent_endpoints = [\"192.0.2.1\"]", `x.toml:20: mobile_node.home_agent_endpoints.0: expected a unicast IPv4 or IPv6 address with a UDP port, such as "192.0.2.1:4191" or "[2001:db8::1]:4191", found "192.0.2.1"`},
		{"mapped endpoint", mn, `spi = 256`, "spi = 256\ntransport = \"udp\"\nhome_agent_endpoints = [\"[::ffff:192.0.2.1]:4191\"]", `x.toml:20: mobile_node.home_agent_endpoints.0: expected a unicast`},
		{"discovery over udp", mn, `home_agent = "2001:db8:f::1"`, "transport = \"udp\"\nhome_agent_endpoints = [\"192.0.2.1:4191\"]", `mobile_node.home_agent: expected the home agent's address, since its discovery`},
		{"native without native link", mn, "autoconfigure = true\n", "", `link.0.addresses: expected addresses of kedge's own on the link, or autoconfigure = true`},
		{"transport", mn, `spi = 256`, "spi = 256\ntransport = \"tcp\"", `x.toml:19: mobile_node.transport: expected one of native, udp, auto, found "tcp"`},
		{"mtu", mn, `name = "kedge0"`, `mtu = 1279`, `x.toml:4: tun.mtu: expected a number from 1280 to 65535, found 1279`},
	}
	dir := folder(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(tt.file, tt.from) {
				t.Fatalf("the valid file has no %q", tt.from)
			}
			path := filepath.Join(dir, "x.toml")
			_, err := Parse(path, []byte(strings.Replace(tt.file, tt.from, tt.to, 1)))
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is\n  %v\nwant\n  %s", err, tt.want)
			}
			var one *Error
			if !errors.As(err, &one) || one.Expected == "" || one.Found == "" {
				t.Errorf("error %v lacks a side", err)
			}
		})
	}
}

func TestEveryMistakeIsNamedAtOnce(t *testing.T) {
	bad := strings.NewReplacer(`lifetime = "5m"`, `lifetime = "1s"`, `interface = "eth0"`, `interface = ""`).Replace(mobileNodeTOML)
	_, err := Parse(filepath.Join(folder(t), "x.toml"), []byte(bad))
	var all Errors
	if !errors.As(err, &all) || len(all) != 2 {
		t.Fatalf("errors = %v, want two", err)
	}
	if all[0].Line != 7 || all[1].Line != 16 {
		t.Errorf("lines %d and %d, want 7 and 16", all[0].Line, all[1].Line)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err == nil || !strings.HasSuffix(err.Error(), "none.toml: expected a readable file, found no such file or directory") {
		t.Error(err)
	}
}

func TestKeysAreNeverPrinted(t *testing.T) {
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "bad.key"), []byte("hunter2hunter2hunter2hunter2hunter2"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Parse(filepath.Join(dir, "x.toml"), []byte(strings.Replace(mobileNodeTOML, "mn.key", "bad.key", 1)))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestWarnsOfReadableKey(t *testing.T) {
	dir := folder(t)
	if err := os.Chmod(filepath.Join(dir, "mn.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Parse(filepath.Join(dir, "x.toml"), []byte(mobileNodeTOML))
	if err != nil || len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "x.toml:22: security_association.0.key_file") {
		t.Errorf("warnings = %q, error %v", c.Warnings, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(mobileNodeTOML))
	f.Add([]byte(homeAgentTOML))
	f.Add([]byte("link = [{interface = \"a\", addresses = [\"x\"]}]\nroles = [[]]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse("/nonexistent/x.toml", b)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
	})
}

func TestMovesWithinADomain(t *testing.T) {
	dir := folder(t)
	mn, err := Parse(filepath.Join(dir, "mn.toml"), []byte(strings.Replace(mobileNodeTOML, "preference = 10", "keep_care_of_address = true", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if !mn.Links[0].KeepCareOfAddress {
		t.Error("keep_care_of_address is not read")
	}
	ha, err := Parse(filepath.Join(dir, "ha.toml"), []byte(strings.Replace(homeAgentTOML, "home_link = \"eth0\"", "previous_care_of_time = \"500ms\"", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if ha.HomeAgent.PreviousCareOfTime != 500*time.Millisecond {
		t.Errorf("previous_care_of_time read as %v", ha.HomeAgent.PreviousCareOfTime)
	}
}
