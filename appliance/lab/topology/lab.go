// Package topology reads lab files: a network of nodes, the traffic that crosses it, the moves that disturb the traffic,
// and what must hold at the end. What Parse returns refers only to things that exist.
package topology

import (
	"net/netip"
	"time"
)

// Lab is one lab file.
type Lab struct {
	Name  string `toml:"name"`
	Title string `toml:"title"`
	// Description is for people.
	Description string `toml:"description"`
	// Seed makes losses, phases and traffic bytes repeatable.
	Seed uint64 `toml:"seed"`
	// Offload is what the Ethernet interfaces of the lab do: none (packets of at most the MTU, checksums finished),
	// receive (the same on the wire, merged on receipt) or full (super-packets and partial checksums cross the wire).
	Offload string `toml:"offload"`
	// Settle is how long traffic runs before the first move, and after the last and the flows that end early.
	Settle Duration `toml:"settle"`
	// StartTimeout bounds the wait until every traffic flow works.
	StartTimeout Duration `toml:"start_timeout"`

	// Variables of the file, and the Settings that it was read with.
	Variables []Variable `toml:"variable"`
	Settings  []Setting  `toml:"-"`

	Capture   Capture      `toml:"capture"`
	Networks  []Network    `toml:"network"`
	Nodes     []Node       `toml:"node"`
	Wires     []Wire       `toml:"wire"`
	Downloads []Download   `toml:"download"`
	Probes    []Probe      `toml:"probe"`
	Rounds    int          `toml:"rounds"`
	Flows     []Flow       `toml:"flow"`
	Echoes    []Echo       `toml:"echo"`
	Awaits    []Await      `toml:"await"`
	Moves     []Move       `toml:"move"`
	Alternate *Alternate   `toml:"alternate"`
	Observe   *Observe     `toml:"observe"`
	Compare   *Comparison  `toml:"compare"`
	Expect    Expectations `toml:"expect"`
}

// Capture says what is kept of each node's packets.
type Capture struct {
	Enabled bool `toml:"enabled"`
	// SnapLength is how many octets of each frame are kept.
	SnapLength int `toml:"snap_length"`
	// Limit is the greatest size of one node's file in octets.
	Limit int64 `toml:"limit"`
}

// Network is an Ethernet segment, made as a bridge.
type Network struct {
	Name string `toml:"name"`
	// Home marks the home link: moves to or from it are counted apart.
	Home bool `toml:"home"`
	// Pool is what the prefixes of mobile nodes are of whose MAAR is on this segment.
	Pool netip.Prefix `toml:"pool"`
}

// Observe is what is watched of network-based mobility.
type Observe struct {
	// Host is the node without mobility software and Interface the one that it moves with: its addresses, neighbours and
	// routers are looked at around each move, and its neighbour discovery is recorded.
	Host      string `toml:"host"`
	Interface string `toml:"interface"`
	// Transit is the node by which all signalling and all tunnels pass. What comes in there is recorded.
	Transit string `toml:"transit"`
}

// Kind is what a node is.
type Kind string

// The kinds: a kedge node runs kedge on a host, a router forwards IPv6 by the kernel, a host does not.
const (
	KedgeKind  Kind = "kedge"
	RouterKind Kind = "router"
	HostKind   Kind = "host"
)

// Node is one network namespace.
type Node struct {
	Name       string      `toml:"name"`
	Kind       Kind        `toml:"kind"`
	Interfaces []Interface `toml:"interface"`
	Routes     []Route     `toml:"route"`
	// Config is the text of the node's configuration file, for kedge nodes.
	Config string `toml:"config"`
	// Files are written beside the configuration, with mode 0600, by name.
	Files map[string]string `toml:"files"`
	// Sysctls are written when the interfaces exist, such as "net.ipv6.conf.eth0.accept_ra" = "2".
	Sysctls map[string]string `toml:"sysctls"`
	// Command is what runs on the node; for kedge nodes by default kedge itself with the node's configuration.
	Command []string `toml:"command"`
	// NAT makes a router one that translates addresses, by nftables.
	NAT *NAT `toml:"nat"`
	// Unmodified leaves the kernel's settings as they are: it takes part in autoconfiguration and detects duplicates.
	Unmodified bool `toml:"unmodified"`
}

// Interface of a node.
type Interface struct {
	Name string `toml:"name"`
	// LinkLayer is its Ethernet address; without, the kernel makes one.
	LinkLayer string `toml:"link_layer_address"`
	// Network is the segment it is plugged into at first; empty if a wire ends here or it starts unplugged.
	Network   string         `toml:"network"`
	Addresses []netip.Prefix `toml:"addresses"`
	// Leases are what the kernel has on networks while it is plugged into them.
	Leases []Lease `toml:"lease"`
	// Autoconfigure lets the kernel take addresses and routes from router advertisements.
	Autoconfigure bool       `toml:"autoconfigure"`
	Advertise     *Advertise `toml:"advertise"`
}

// Lease is an address that the lab gives an interface on a network, as a DHCP client would, with the default route.
type Lease struct {
	Network string       `toml:"network"`
	Address netip.Prefix `toml:"address"`
	Router  netip.Addr   `toml:"router"`
}

// NAT hides what a router forwards over IPv4 out of an interface behind the interface's address.
type NAT struct {
	Interface string `toml:"interface"`
	// Timeout is after what time a UDP mapping is forgotten that nobody uses, in whole seconds; 0 is the kernel's.
	Timeout Duration `toml:"timeout"`
}

// Policy is how often a router advertises.
type Policy string

// The policies. Fast answers a solicitation at once by unicast and advertises every 30 to 70 ms, as RFC 6275 section 7.5
// allows; the other has the defaults of RFC 4861 section 6.2.1: answers after 0 to 500 ms, advertises every 200 to 600 s.
const (
	FastPolicy    Policy = "fast"
	RFC4861Policy Policy = "rfc4861"
)

// Advertise is what a router says of itself and its prefixes on one interface (RFC 4861 section 4.2).
type Advertise struct {
	Policy         Policy         `toml:"policy"`
	Prefixes       []netip.Prefix `toml:"prefixes"`
	RouterLifetime Duration       `toml:"router_lifetime"`
	Valid          Duration       `toml:"valid"`
	Preferred      Duration       `toml:"preferred"`
	RetransTimer   Duration       `toml:"retrans_timer"`
}

// Route of a node.
type Route struct {
	To  netip.Prefix `toml:"to"`
	Via netip.Addr   `toml:"via"`
}

// Wire joins two interfaces, written NODE.INTERFACE. Without impairment it is a veth pair; with it, two TAP devices and
// a process between them.
type Wire struct {
	Ends []string `toml:"ends"`
	// Impairment holds both ways; Reverse replaces it from the second end to the first.
	Impairment
	Reverse *Impairment `toml:"reverse"`
}

// Impairment of one direction of a wire.
type Impairment struct {
	Delay Duration `toml:"delay"`
	// Loss is the probability that a frame is lost, 0 to 1.
	Loss float64 `toml:"loss"`
	// Rate is the bit rate of the wire; 0 is unlimited.
	Rate BitRate `toml:"rate"`
}

// Impaired reports whether anything is impaired in either direction.
func (w Wire) Impaired() bool {
	return w.Impairment != Impairment{} || w.Reverse != nil && *w.Reverse != Impairment{}
}

// Backward is the impairment from the second end to the first.
func (w Wire) Backward() Impairment {
	if w.Reverse != nil {
		return *w.Reverse
	}
	return w.Impairment
}

// Download is one TCP connection, opened by a program on node To, which then receives pseudo-random octets from node From
// until the lab ends. The receiver's hash of them must be the sender's.
type Download struct {
	Name string `toml:"name"`
	From string `toml:"from"`
	// FromAddress is where the server listens, ToAddress what the client binds to.
	FromAddress netip.Addr `toml:"from_address"`
	To          string     `toml:"to"`
	ToAddress   netip.Addr `toml:"to_address"`
	Port        uint16     `toml:"port"`
	Rate        BitRate    `toml:"rate"`
}

// Probe is two UDP streams, one each way, of datagrams with sequence number and time.
type Probe struct {
	Name                 string     `toml:"name"`
	Correspondent        string     `toml:"correspondent"`
	CorrespondentAddress netip.Addr `toml:"correspondent_address"`
	Mobile               string     `toml:"mobile"`
	MobileAddress        netip.Addr `toml:"mobile_address"`
	Port                 uint16     `toml:"port"`
	Spacing              Duration   `toml:"spacing"`
	// Size is the UDP payload in octets.
	Size int `toml:"size"`
}

// Way is how an interface moves.
type Way string

// The ways. By carrier the interface only loses and regains it, and the kernel keeps its addresses. By restart the interface
// is set down and up again, which makes the kernel flush its autoconfigured addresses.
const (
	CarrierWay Way = "carrier"
	RestartWay Way = "restart"
	// Nothing moves, but the NATs on the path forget.
	ForgetWay Way = "forget"
)

// Move plugs an interface into another network.
type Move struct {
	Node      string `toml:"node"`
	Interface string `toml:"interface"`
	// To is empty for an interface that is only unplugged.
	To  string `toml:"to"`
	Way Way    `toml:"way"`
	// At are the NATs that forget their mappings, by ForgetWay.
	At []string `toml:"at"`
	// After is the time since the move before, or since traffic had settled.
	After Duration `toml:"after"`
	// Gap is how long the interface stays unplugged.
	Gap Duration `toml:"gap"`
	// Lossless expects that the move costs the probes of its node nothing.
	Lossless bool `toml:"lossless"`
	// PreviousMAAR is the node that is expected to forward what comes for the moving node's old address from when it learns of
	// the move: no datagram to the mobile node that was sent after that may be lost.
	PreviousMAAR string `toml:"previous_maar"`
	// NoBindingUpdate expects the moving node to keep its care-of address and to send no Binding Update.
	NoBindingUpdate bool `toml:"no_binding_update"`
}

// Alternate is how --moves goes on after the listed moves.
type Alternate struct {
	Node      string   `toml:"node"`
	Interface string   `toml:"interface"`
	Networks  []string `toml:"networks"`
	After     Duration `toml:"after"`
	Gap       Duration `toml:"gap"`
}

// Expectations are what must hold for the lab to pass.
type Expectations struct {
	TCPSurvives  bool `toml:"tcp_survives"`
	HashVerified bool `toml:"hash_verified"`
	// Foreign holds for moves between foreign links, Returning for those to the home link, Leaving for those from it.
	Foreign   *MoveExpectations `toml:"foreign"`
	Returning *MoveExpectations `toml:"returning"`
	Leaving   *MoveExpectations `toml:"leaving"`
	Flows     FlowExpectations  `toml:"flows"`
}

// Of is what is expected of a class of moves; nil if nothing is.
func (e Expectations) Of(c MoveClass) *MoveExpectations {
	switch c {
	case ForeignMove:
		return e.Foreign
	case ReturningMove:
		return e.Returning
	}
	return e.Leaving
}

// MoveExpectations are about the moves of one class. Zero values are not expected.
type MoveExpectations struct {
	DownlinkMedianMax Duration `toml:"downlink_silent_median_max"`
	UplinkMedianMax   Duration `toml:"uplink_silent_median_max"`
	DownlinkMax       Duration `toml:"downlink_silent_max"`
	UplinkMax         Duration `toml:"uplink_silent_max"`
	// LossMax is the greatest number of datagrams that one move may cost, both ways together.
	LossMax int `toml:"loss_max"`
}

// Node returns the node of that name, or nil.
func (l *Lab) Node(name string) *Node {
	for i := range l.Nodes {
		if l.Nodes[i].Name == name {
			return &l.Nodes[i]
		}
	}
	return nil
}

// Network returns the network of that name, or nil.
func (l *Lab) Network(name string) *Network {
	for i := range l.Networks {
		if l.Networks[i].Name == name {
			return &l.Networks[i]
		}
	}
	return nil
}

// Interface returns the interface of that name, or nil.
func (n *Node) Interface(name string) *Interface {
	for i := range n.Interfaces {
		if n.Interfaces[i].Name == name {
			return &n.Interfaces[i]
		}
	}
	return nil
}

// Duration is a time.Duration written as "10ms". It is no number, so that a bare number in a file is an error.
type Duration struct{ d time.Duration }

// Of makes a Duration.
func Of(d time.Duration) Duration { return Duration{d} }

// UnmarshalText reads what time.ParseDuration reads; a negative duration is an error.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return errorf("%q is not a duration such as \"10ms\" or \"1.5s\"", text)
	}
	d.d = v
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.Std().String()), nil }

// Std is the duration as time.Duration.
func (d Duration) Std() time.Duration { return d.d }
