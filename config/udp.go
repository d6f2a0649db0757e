package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// MobilityPort is the UDP port of RFC 5555 (section 8).
const MobilityPort = 4191

// Transport is how a mobile node and an anchor exchange signalling and data.
type Transport string

// The transports.
const (
	// Native is RFC 6275 as it stands: Mobility Headers, and IPv6 in IPv6.
	Native Transport = "native"
	// UDPTransport puts both in UDP datagrams (RFC 5555 section 4.1).
	UDPTransport Transport = "udp"
	// Auto tries Native and falls back to UDPTransport.
	Auto Transport = "auto"
)

// UDP is the transport of RFC 5555 section 4.1, over IPv4 and IPv6.
type UDP struct {
	// Listen is where datagrams are received; an anchor's port is known to its mobile nodes, a mobile node's may be 0 for
	// any.
	Listen netip.AddrPort
	// Advertise are the endpoints that others are told: what Listen is reached by.
	Advertise []netip.AddrPort
	// SegmentationOffload and ReceiveOffload let the kernel cut up and join datagrams (UDP_SEGMENT, UDP_GRO).
	SegmentationOffload, ReceiveOffload bool
	// ReceiveBuffer is the size of the socket's receive buffer in octets.
	ReceiveBuffer int
	// NATRefresh is how often an anchor tells mobile nodes behind a NAT to refresh its mapping (RFC 5555 section 4.3).
	NATRefresh time.Duration
}

// natKeepaliveTimeout is NATKATIMEOUT (RFC 5555 section 6).
const natKeepaliveTimeout = 110 * time.Second

func (r *reader) udp(d *documentUDP, mobile bool) *UDP {
	if d == nil {
		if !mobile {
			return nil
		}
		d = new(documentUDP)
	}
	port := uint16(MobilityPort)
	if mobile {
		port = 0
	}
	u := &UDP{
		Listen:              netip.AddrPortFrom(netip.IPv6Unspecified(), port),
		Advertise:           r.endpoints("udp.advertise", d.Advertise),
		SegmentationOffload: d.SegmentationOffload == nil || *d.SegmentationOffload,
		ReceiveOffload:      d.ReceiveOffload == nil || *d.ReceiveOffload,
		ReceiveBuffer:       int(r.number("udp.receive_buffer", d.ReceiveBuffer, 4<<20, 1<<16, 1<<30)),
		NATRefresh:          r.duration("udp.nat_refresh", d.NATRefresh, natKeepaliveTimeout, time.Second, 24*time.Hour),
	}
	if d.Listen != nil {
		a, err := netip.ParseAddrPort(*d.Listen)
		if err != nil || a.Addr().IsMulticast() || a.Addr().Is4In6() || a.Addr().Zone() != "" || a.Port() == 0 && !mobile {
			r.wrong("udp.listen", fmt.Sprintf("an address and a port, such as \"[::]:%d\" for all addresses, IPv4's too", MobilityPort), "%s", quoted(*d.Listen))
		} else {
			u.Listen = a
		}
	}
	return u
}

// endpoints are addresses with UDP ports, at most four of which fit an anchor's announcement.
func (r *reader) endpoints(key string, in []string) []netip.AddrPort {
	var out []netip.AddrPort
	for i, s := range in {
		at := fmt.Sprintf("%s.%d", key, i)
		e, err := netip.ParseAddrPort(s)
		switch {
		case err != nil || !e.Addr().IsGlobalUnicast() || e.Addr().Is4In6() || e.Addr().Zone() != "" || e.Port() == 0:
			r.wrong(at, fmt.Sprintf("a unicast IPv4 or IPv6 address with a UDP port, such as \"192.0.2.1:%d\" or \"[2001:db8::1]:%[1]d\"", MobilityPort), "%s", quoted(s))
		case slices.Contains(out, e):
			r.wrong(at, "each endpoint once", "%s again", e)
		case len(out) == 4:
			r.wrong(at, "at most four endpoints", "%d", len(in))
			return out
		default:
			out = append(out, e)
		}
	}
	return out
}

// transport reads how an anchor is to be reached, and the endpoints by which it is over UDP. Endpoints that others tell of
// may be missing.
func (r *reader) transport(section, endpointsKey string, name *string, otherwise Transport, endpoints []string, told bool) (Transport, []netip.AddrPort) {
	key := section + ".transport"
	t := Transport(r.oneOf(key, text(name, string(otherwise)), string(Native), string(UDPTransport), string(Auto)))
	e := r.endpoints(section+"."+endpointsKey, endpoints)
	if t == UDPTransport && len(e) == 0 && !told {
		r.wrong(key, endpointsKey+" beside it, where datagrams are to go", "none")
	}
	if t == Native && len(endpoints) > 0 {
		r.warn(section+"."+endpointsKey, "not used with transport = \"native\"")
	}
	return t, e
}

// ownAddress checks that an anchor's address is one that packets for it reach kedge by: its own on a link, or, with the UDP
// transport, one that the host's kernel hands over by the TUN device.
func (r *reader) ownAddress(key string, a netip.Addr, c *Config) {
	if !a.IsValid() || slices.ContainsFunc(c.Links, func(l Link) bool { return l.owns(a) }) {
		return
	}
	switch {
	case c.UDP == nil:
		r.wrong(key, "one of the addresses of a [[link]]", "%s", a)
	case c.TUN == nil:
		r.wrong(key, "one of the addresses of a [[link]], or a [tun] section, by which what is for the address comes in", "%s", a)
	}
}
