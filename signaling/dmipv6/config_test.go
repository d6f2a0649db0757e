package dmipv6

import (
	"net/netip"
	"testing"
	"time"
)

func TestConfigurationsThatCannotRun(t *testing.T) {
	good := Config{HomeAddress: home, Identifier: identity, Association: &mnha, Lifetime: time.Minute, Profiles: profiles()}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no home address":     func(c *Config) { c.HomeAddress = netip.Addr{} },
		"IPv4 home address":   func(c *Config) { c.HomeAddress = netip.MustParseAddr("192.0.2.1") },
		"no identifier":       func(c *Config) { c.Identifier = "" },
		"no association":      func(c *Config) { c.Association = nil },
		"short lifetime":      func(c *Config) { c.Lifetime = time.Second },
		"long lifetime":       func(c *Config) { c.Lifetime = 1000 * time.Hour },
		"unknown class":       func(c *Config) { c.Profiles = []Profile{{Class: 9}} },
		"loss above 1":        func(c *Config) { c.Profiles = []Profile{{MaxLoss: 2}} },
		"negative round trip": func(c *Config) { c.Profiles = []Profile{{MaxRoundTrip: -1}} },
		"multicast proxy":     func(c *Config) { c.Proxies = []Proxy{{Address: netip.MustParseAddr("ff02::1")}} },
		"IPv4 coverage": func(c *Config) {
			c.Proxies = []Proxy{{Address: proxyAddr(0), Coverage: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
		},
		"coverage of nothing": func(c *Config) { c.Proxies = []Proxy{{Address: proxyAddr(0), Coverage: []netip.Prefix{{}}}} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestClassNames(t *testing.T) {
	for c, want := range map[Class]string{Fixed: "fixed", SessionLasting: "session-lasting", GracefulReplacement: "graceful-replacement", NonPersistent: "non-persistent", 9: "class 9"} {
		if c.String() != want {
			t.Errorf("%q, want %q", c, want)
		}
	}
}
