package kernel

import (
	"net/netip"

	"kedge/netstack/packet"
)

// Kind says what an Event is about.
type Kind uint8

// The kinds of events.
const (
	// Synchronised says that the state of all interfaces named has been told, at the start and after notifications were
	// lost. It concerns no interface.
	Synchronised Kind = iota
	// LinkAppeared says that there is an interface of that name; it is down until LinkUp.
	LinkAppeared
	// LinkVanished says that it was deleted, renamed, or moved to another namespace. Its addresses went before.
	LinkVanished
	// LinkUp says that it can carry packets: it is set up and has a carrier.
	LinkUp
	// LinkDown says that it no longer can.
	LinkDown
	// LinkChanged says that its MTU, link-layer address or master changed.
	LinkChanged
	// AddressAdded says that the kernel gave it an address.
	AddressAdded
	// AddressChanged says that the address' state changed: it passed duplicate address detection, or was deprecated.
	AddressChanged
	// AddressRemoved says that it has the address no more.
	AddressRemoved
)

// String returns the kind's name in English.
func (k Kind) String() string {
	names := [...]string{"synchronised", "link appeared", "link vanished", "link up", "link down", "link changed",
		"address added", "address changed", "address removed"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Link is an interface as of an event.
type Link struct {
	Name  string
	Index int
	// Up says that it can carry packets.
	Up bool
	// MTU in octets.
	MTU int
	// Address is the MAC address, zero for interfaces without one.
	Address packet.LinkAddress
	// Master is the index of the bridge, bond or VRF that it belongs to, 0 for none.
	Master int
}

// Address is an address that the kernel has.
type Address struct {
	// Prefix is the address with the prefix length of its link.
	Prefix netip.Prefix
	// Tentative says that duplicate address detection is under way, Duplicate that it failed.
	Tentative, Duplicate bool
	// Deprecated says that new sessions should not use it, Temporary that it is a privacy address (RFC 8981).
	Deprecated, Temporary bool
}

// Event is something that happened to an interface.
type Event struct {
	Kind Kind
	Link Link
	// Address is set in address events.
	Address Address
}
