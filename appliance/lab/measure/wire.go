package measure

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"kedge/appliance/lab/capture"
	"kedge/netstack/nd"
	"kedge/signaling/mh"
)

// Message is a signalling or neighbour discovery message as it was seen on the wire.
type Message struct {
	// Time is of the wall clock in nanoseconds, where it was seen.
	Time     int64
	From, To netip.Addr
	// LinkLayer is the Ethernet source of neighbour discovery.
	LinkLayer string
	// Kind is short: PBU, PBA, RA, RS, NS, NA, MLD, or the number of a Mobility Header message of another type.
	Kind   string
	Detail string
	// Octets is the length of the IPv6 packet.
	Octets int
	// Prefixes are those of a router advertisement, and Lifetime that of its router.
	Prefixes []AdvertisedPrefix
	Lifetime time.Duration
}

// AdvertisedPrefix is a Prefix Information option.
type AdvertisedPrefix struct {
	Prefix           netip.Prefix
	Preferred, Valid time.Duration
}

// Data is a packet of a program. Through a tunnel it has the tunnel's ends as Outer.
type Data struct {
	Time               int64
	From, To           netip.AddrPort
	Octets             int
	OuterFrom, OuterTo netip.Addr
}

// Tunnelled reports whether it came through a tunnel.
func (d Data) Tunnelled() bool { return d.OuterFrom.IsValid() }

// Wire collects what passes by a node.
type Wire struct {
	mu       sync.Mutex
	messages []Message
	data     []Data
}

// Messages and the programs' packets that have been seen so far.
func (w *Wire) Messages() []Message {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Message(nil), w.messages...)
}

// Data are the programs' packets that have been seen so far.
func (w *Wire) Data() []Data {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Data(nil), w.data...)
}

// Transit takes a packet at a node that others' packets pass by: signalling and programs' packets, each once, on arrival.
func (w *Wire) Transit(p capture.Packet) {
	if ip, _, ok := payload(p); ok && !p.Sent {
		w.take(p, ip)
	}
}

// Host takes a packet at the node that it is from or for: neighbour discovery.
func (w *Wire) Host(p capture.Packet) {
	ip, source, ok := payload(p)
	if !ok || !nd.Is(ip) {
		return
	}
	if m, ok := discovery(ip); ok {
		m.Time, m.LinkLayer = p.Time, source
		w.mu.Lock()
		w.messages = append(w.messages, m)
		w.mu.Unlock()
	}
}

// payload is a packet's IPv6 packet, and the Ethernet address that it is from.
func payload(p capture.Packet) (ip []byte, source string, ok bool) {
	ip = p.Data
	if p.Ethernet {
		if len(ip) < 14 || binary.BigEndian.Uint16(ip[12:]) != 0x86dd {
			return nil, "", false
		}
		source, ip = net.HardwareAddr(ip[6:12]).String(), ip[14:]
	}
	return ip, source, len(ip) >= headerLength && ip[0]>>4 == 6
}

const (
	headerLength       = 40
	protocolTCP        = 6
	protocolUDP        = 17
	protocolIPv6       = 41
	destinationOptions = 60
)

func addresses(ip []byte) (from, to netip.Addr) {
	return netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
}

// upper skips destination options, such as the tunnel encapsulation limit.
func upper(ip []byte) (protocol byte, rest []byte, ok bool) {
	protocol, rest = ip[6], ip[headerLength:]
	for protocol == destinationOptions {
		if len(rest) < 8 || len(rest) < 8+8*int(rest[1]) {
			return 0, nil, false
		}
		protocol, rest = rest[0], rest[8+8*int(rest[1]):]
	}
	return protocol, rest, true
}

func (w *Wire) take(p capture.Packet, ip []byte) {
	protocol, rest, ok := upper(ip)
	if !ok {
		return
	}
	d := Data{Time: p.Time, Octets: headerLength + int(binary.BigEndian.Uint16(ip[4:]))}
	switch protocol {
	case mh.Protocol:
		m := signalling(rest)
		m.Time, m.Octets = p.Time, d.Octets
		m.From, m.To = addresses(ip)
		w.mu.Lock()
		w.messages = append(w.messages, m)
		w.mu.Unlock()
		return
	case protocolIPv6:
		if len(rest) < headerLength || rest[0]>>4 != 6 {
			return
		}
		d.OuterFrom, d.OuterTo = addresses(ip)
		ip = rest
		if protocol, rest, ok = upper(ip); !ok {
			return
		}
	}
	if protocol != protocolTCP && protocol != protocolUDP || len(rest) < 4 {
		return
	}
	from, to := addresses(ip)
	d.From = netip.AddrPortFrom(from, binary.BigEndian.Uint16(rest))
	d.To = netip.AddrPortFrom(to, binary.BigEndian.Uint16(rest[2:]))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.data = append(w.data, d)
}

// signalling describes a Mobility Header message.
func signalling(b []byte) Message {
	parsed, err := mh.Parse(b)
	if err != nil {
		return Message{Kind: "MH", Detail: err.Error()}
	}
	switch m := parsed.(type) {
	case *mh.BindingUpdate:
		kind := "BU"
		if m.ProxyRegistration {
			kind = "PBU"
		}
		return Message{Kind: kind, Detail: fmt.Sprintf("sequence %d, lifetime %gs%s", m.Sequence, m.Lifetime.Seconds(), optionText(m.Options))}
	case *mh.BindingAcknowledgement:
		kind := "BA"
		if m.ProxyRegistration {
			kind = "PBA"
		}
		return Message{Kind: kind, Detail: fmt.Sprintf("sequence %d, status %d, lifetime %gs%s", m.Sequence, m.Status, m.Lifetime.Seconds(), optionText(m.Options))}
	}
	return Message{Kind: fmt.Sprintf("MH type %d", parsed.Type())}
}

// optionText tells of the options that say where a mobile node is and was.
func optionText(options mh.Options) string {
	var b strings.Builder
	for _, option := range options {
		switch o := option.(type) {
		case *mh.HomeNetworkPrefix:
			fmt.Fprintf(&b, ", prefix %s", o.Prefix)
		case *mh.PreviousMAAR:
			fmt.Fprintf(&b, ", previous MAAR %s with %s", o.Address, o.Prefix)
		case *mh.ServingMAAR:
			fmt.Fprintf(&b, ", serving MAAR %s", o.Address)
		}
	}
	return b.String()
}

// discovery describes a message of neighbour discovery or multicast listener discovery.
func discovery(ip []byte) (Message, bool) {
	from, to, parsed, err := nd.Parse(ip[:min(len(ip), headerLength+int(binary.BigEndian.Uint16(ip[4:])))])
	if err != nil {
		return Message{}, false
	}
	out := Message{From: from, To: to, Octets: headerLength + int(binary.BigEndian.Uint16(ip[4:]))}
	switch m := parsed.(type) {
	case *nd.RouterSolicitation:
		out.Kind = "RS"
	case *nd.RouterAdvertisement:
		out.Kind, out.Lifetime = "RA", m.RouterLifetime
		var text []string
		for _, option := range m.Options {
			p, ok := option.(nd.PrefixInformation)
			if !ok {
				continue
			}
			out.Prefixes = append(out.Prefixes, AdvertisedPrefix{p.Prefix.Masked(), p.PreferredLifetime, p.ValidLifetime})
			text = append(text, fmt.Sprintf("%s preferred %gs", p.Prefix, p.PreferredLifetime.Seconds()))
		}
		out.Detail = strings.Join(text, ", ")
	case *nd.NeighborSolicitation:
		out.Kind, out.Detail = "NS", "who has "+m.Target.String()
		if from.IsUnspecified() {
			out.Detail = "duplicate address detection of " + m.Target.String()
		}
	case *nd.NeighborAdvertisement:
		out.Kind, out.Detail = "NA", m.Target.String()
	case *nd.ListenerReport, *nd.ListenerReportV1:
		out.Kind, out.Detail = "MLD", "multicast listener report"
	default:
		return Message{}, false
	}
	return out, true
}
