package node

import (
	"net/netip"
	"testing"

	"kedge/config"
	"kedge/netstack/kernel"
)

func TestUplinkChoosesItsAddresses(t *testing.T) {
	address := func(s string, flags ...string) kernel.Address {
		a := kernel.Address{Prefix: netip.MustParsePrefix(s)}
		for _, f := range flags {
			switch f {
			case "tentative":
				a.Tentative = true
			case "duplicate":
				a.Duplicate = true
			case "deprecated":
				a.Deprecated = true
			case "temporary":
				a.Temporary = true
			}
		}
		return a
	}
	tests := []struct {
		name       string
		addresses  []kernel.Address
		ipv6, ipv4 string
	}{
		{"none", nil, "", ""},
		{"link-local only", []kernel.Address{address("fe80::1/64")}, "", ""},
		{"one of each", []kernel.Address{address("192.0.2.7/24"), address("2001:db8:1::7/64")}, "2001:db8:1::7", "192.0.2.7"},
		{"the newest", []kernel.Address{address("2001:db8:1::7/64"), address("2001:db8:2::7/64")}, "2001:db8:2::7", ""},
		{"not detected yet", []kernel.Address{address("2001:db8:1::7/64"), address("2001:db8:2::7/64", "tentative")}, "2001:db8:1::7", ""},
		{"taken", []kernel.Address{address("2001:db8:1::7/64", "duplicate")}, "", ""},
		{"deprecated last", []kernel.Address{address("2001:db8:1::7/64"), address("2001:db8:2::7/64", "deprecated")}, "2001:db8:1::7", ""},
		{"deprecated for want of others", []kernel.Address{address("2001:db8:2::7/64", "deprecated")}, "2001:db8:2::7", ""},
		{"temporary after lasting", []kernel.Address{address("2001:db8:1::7/64"), address("2001:db8:1::8/64", "temporary")}, "2001:db8:1::7", ""},
		{"newest IPv4", []kernel.Address{address("192.0.2.7/24"), address("198.51.100.8/24")}, "", "198.51.100.8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := uplink{up: true, addresses: tt.addresses, cfg: config.Link{Interface: "eth0"}}
			ipv6, ipv4 := u.choose()
			if got := [2]string{text(ipv6), text(ipv4)}; got != [2]string{tt.ipv6, tt.ipv4} {
				t.Errorf("chose %q", got)
			}
			u.up = false
			if ipv6, ipv4 := u.choose(); ipv6.IsValid() || ipv4.IsValid() {
				t.Errorf("chose %v and %v of an interface that is down", ipv6, ipv4)
			}
		})
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
