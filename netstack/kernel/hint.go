package kernel

import (
	"errors"
	"net/netip"
)

// hintMetric lets a Hint for all destinations win over Steering's default route.
const hintMetric = 512

// HostAddress is an address beside the home address that the host itself holds on the TUN, so that programs can have it as
// their source without anybody translating. In the words of ip(8):
//
//	address add <address>/128 dev <tun> nodad noprefixroute preferred_lft 0
//	rule add pref 100 from <address> lookup <table> proto 107
//
// Nobody gets it as a source by default: a program binds it, or a Hint has a route that names it. The table's default
// route is that of Steering, which must have been applied.
type HostAddress struct {
	TUN     string
	Address netip.Addr
	// Table is that of Steering; 0 means DefaultTable.
	Table uint32
}

// Apply makes the changes, as Steering.Apply does: the address, and the rule. Its hints are to be undone before it: the
// kernel takes the address out of their routes, and their sockets would get the home address. Sockets that have the address
// go on sending with it when it is gone; as long as the rule is there that goes into the TUN, else by the host's routes.
func (h HostAddress) Apply(j *Journal) (address, rule *Change, err error) {
	if address, err = j.SetSourceAddress(h.TUN, h.Address); err != nil {
		return nil, nil, err
	}
	rule, err = j.AddRule(Rule{Priority: homePriority, From: netip.PrefixFrom(h.Address, 128), Table: tableOr(h.Table)})
	if err != nil {
		return nil, nil, errors.Join(err, address.Undo())
	}
	return address, rule, nil
}

// Hint has new sockets that connect to a prefix choose a HostAddress, which must have been applied, unless they are bound
// to another address. Only what Steering sends into the TUN is concerned, but all of that, whatever the class of its flows:
// rules of the kernel find a route, not a source.
//
//	route add <prefix> dev <tun> src <address> mtu <mtu> metric 512 table <table> proto 107
type Hint struct {
	TUN     string
	Address netip.Addr
	Prefix  netip.Prefix
	// Table is that of Steering; 0 means DefaultTable.
	Table uint32
	// MTU is the longest packet in octets that fits the tunnel, at least 1280; 0 is the device's.
	MTU int
}

// Apply makes the change. It fails with ErrExists if there is a hint for the prefix already.
func (h Hint) Apply(j *Journal) (*Change, error) {
	return j.AddRoute(Route{Table: tableOr(h.Table), Prefix: h.Prefix, Interface: h.TUN, Source: h.Address, MTU: h.MTU, Metric: hintMetric})
}

func tableOr(table uint32) uint32 {
	if table == 0 {
		return DefaultTable
	}
	return table
}
