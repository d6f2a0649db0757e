package config

import (
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, file string, replacements ...string) *Config {
	t.Helper()
	dir := folder(t)
	c, err := Parse(filepath.Join(dir, "x.toml"), []byte(strings.NewReplacer(replacements...).Replace(file)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMobileNodeOverUDP(t *testing.T) {
	c := parse(t, mobileNodeTOML, "autoconfigure = true\n", "",
		"spi = 256\n\n", "spi = 256\ntransport = \"udp\"\nhome_agent_endpoints = [\"192.0.2.1:4191\", \"[2001:db8::1]:5000\"]\n\n")
	m := c.MobileNode
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4191"), netip.MustParseAddrPort("[2001:db8::1]:5000")}
	if m.Transport != UDPTransport || !reflect.DeepEqual(m.HomeAgentEndpoints, want) {
		t.Errorf("transport %s to %v", m.Transport, m.HomeAgentEndpoints)
	}
	if c.Links[0].Native {
		t.Error("a link without addresses of kedge's own is native")
	}
	if c.UDP == nil || c.UDP.Listen != netip.MustParseAddrPort("[::]:0") || !c.UDP.SegmentationOffload || !c.UDP.ReceiveOffload {
		t.Errorf("UDP is %+v", c.UDP)
	}
	if c := parse(t, mobileNodeTOML); c.UDP != nil {
		t.Errorf("a native mobile node has %+v", c.UDP)
	}
}

func TestHomeAgentBehindItsHost(t *testing.T) {
	c := parse(t, homeAgentTOML, `address = "2001:db8:f::1"`, `address = "2001:db8:f::3"`, "[[link]]", `[tun]
forward_by_host = true
udp_segmentation_offload = false
[udp]
advertise = ["192.0.2.1:4191"]
nat_refresh = "2s"
segmentation_offload = false
receive_buffer = 1000000
[[link]]`)
	u := c.UDP
	if u.Listen != netip.MustParseAddrPort("[::]:4191") || u.NATRefresh != 2*time.Second || u.SegmentationOffload ||
		!u.ReceiveOffload || u.ReceiveBuffer != 1000000 || len(u.Advertise) != 1 {
		t.Errorf("UDP is %+v", u)
	}
	if !c.TUN.ForwardByHost || !c.TUN.OffloadTCP || c.TUN.OffloadUDP {
		t.Errorf("TUN is %+v", c.TUN)
	}
}
