package accessrouter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// identity is an MN-ID.
type identity struct {
	subtype uint8
	octets  string
}

// String is the identifier for people: a network access identifier as it is, an EUI-48 address in hexadecimal.
func (i identity) String() string {
	if i.subtype == mh.IdentifierEUI48 && len(i.octets) == 6 {
		return signaling.LinkLayerAddress([]byte(i.octets)).String()
	}
	return i.octets
}

func (i identity) option() *mh.MobileNodeIdentifier {
	return &mh.MobileNodeIdentifier{Subtype: i.subtype, Identifier: i.octets}
}

func identityOf(o *mh.MobileNodeIdentifier) identity { return identity{o.Subtype, o.Identifier} }

// identify is the MN-ID of a mobile node by its link-layer address.
func (n *Node) identify() identity {
	if n.Identifier != "" {
		return identity{mh.IdentifierNAI, n.Identifier}
	}
	return identity{mh.IdentifierEUI48, string(n.LinkLayer[:])}
}

// digest is a keyed hash of what and the mobile node.
func digest(secret []byte, what string, id identity, n uint32) [32]byte {
	h := hmac.New(sha256.New, secret)
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(what))))
	h.Write([]byte(what))
	h.Write(binary.BigEndian.AppendUint32([]byte{id.subtype}, n))
	h.Write([]byte(id.octets))
	return [32]byte(h.Sum(nil))
}

// interfaceIdentity makes a link-local address and a locally administered link-layer address out of a hash (RFC 8885 section
// 3.7: those of a DLIF). It is not one with a reserved interface identifier (RFC 5453).
func interfaceIdentity(prefix [2]byte, hash func(n uint32) [32]byte) (netip.Addr, signaling.LinkLayerAddress) {
	for n := uint32(0); ; n++ {
		d := hash(n)
		identifier := binary.BigEndian.Uint64(d[:])
		if identifier == 0 || identifier>>24 == 0x02005efffe || identifier|0x7f == 0xfdffffffffffffff {
			continue
		}
		address := [16]byte{0: 0xfe, 1: 0x80}
		copy(address[8:], d[:8])
		link := signaling.LinkLayerAddress(d[8:14])
		const group, local = 1, 2
		if prefix != [2]byte{} {
			copy(link[:], prefix[:])
		}
		link[0] = link[0]&^group | local
		return netip.AddrFrom16(address), link
	}
}

// ownInterface is the identity of this MAAR's DLIF for a mobile node. It stays the same wherever the mobile node goes.
func (m *Machine) ownInterface(id identity) (netip.Addr, signaling.LinkLayerAddress) {
	return interfaceIdentity(m.cfg.LinkLayerPrefix, func(n uint32) [32]byte { return digest(m.cfg.Secret[:], "dlif", id, n) })
}

// commonInterface is a DLIF's identity where whoever anchors prefix told none: one that all of this program agree on.
func commonInterface(prefix netip.Prefix, id identity) (netip.Addr, signaling.LinkLayerAddress) {
	return interfaceIdentity([2]byte{}, func(n uint32) [32]byte { return digest(nil, "common dlif "+prefix.String(), id, n) })
}
