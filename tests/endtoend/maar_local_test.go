package endtoend

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Local prefixes (RFC 8885 section 3.7): networks that one MAAR alone reaches. The host has more specific routes to them (RFC
// 4191) by that MAAR's router, wherever it goes, so that what it opens there goes on.
func TestLocalPrefixes(t *testing.T) {
	t.Parallel()
	n := newAccessNetwork(t)
	cmd := n.database(database{})
	local := netip.MustParsePrefix("2001:db8:5000::/48")
	n.maar(1, maar{more: `local_prefixes = ["2001:db8:5000::/48"]`})
	n.maar(2, maar{})
	host := n.visitor("host", "access1", hostMAC)
	// Linux takes such routes only if it is told how long prefixes may be.
	n.must(host.Sysctl("net.ipv6.conf.eth0.accept_ra_rt_info_max_plen", "128"))
	host.preferred(maarPool1)
	router := cmd.session(hostIdentifier, servedBy(maar1Address, 1)).Prefixes[0].RouterLinkLocal
	// The first advertisement may have come before the setting; a carrier flap has the router advertise again.
	n.move("host", "access1")
	await(t, "the host has the local route", func() bool { return host.via(local) == router })
	n.move("host", "access2")
	host.preferred(maarPool2)
	cmd.session(hostIdentifier, servedBy(maar2Address, 2))
	await(t, "the host has the local route at maar2", func() bool { return host.via(local) == router })
}

// via is the router of the host's route to a prefix; invalid if it has none.
func (v *visitor) via(to netip.Prefix) netip.Addr {
	v.t.Helper()
	routes, err := v.Handle.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	v.must(err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.String() == to.String() {
			via, _ := netip.AddrFromSlice(r.Gw)
			return via
		}
	}
	return netip.Addr{}
}
