package movement

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// maxAddressAttempts is IDGEN_RETRIES (RFC 7217 section 7): how many addresses of a prefix are tried when others hold them.
const maxAddressAttempts = 3

// linkLocalPrefix is where link-local addresses are (RFC 4291 section 2.5.6).
var linkLocalPrefix = netip.MustParsePrefix("fe80::/64")

// address forms the stable, opaque address of the uplink in a /64 (RFC 7217 section 5): F is HMAC-SHA256 with the secret
// as key over
//
//	Prefix (8 octets) | DAD_Counter (1 octet) | Net_Iface (the rest)
//
// and the interface identifier is its last 8 octets. It passes over identifiers that are reserved.
func (m *Machine) address(in netip.Prefix, counter uint8) netip.Addr {
	a := in.Addr().As16()
	for {
		f := hmac.New(sha256.New, m.cfg.Secret)
		f.Write(a[:8])
		f.Write([]byte{counter})
		f.Write([]byte(m.cfg.Uplink))
		sum := f.Sum(nil)
		copy(a[8:], sum[len(sum)-8:])
		if !reservedIdentifier(binary.BigEndian.Uint64(a[8:])) {
			return netip.AddrFrom16(a)
		}
		// Counters of retries stay below this.
		counter += maxAddressAttempts
	}
}

// reservedIdentifier tells the interface identifiers of RFC 5453: the subnet-router anycast address, those made from
// IANA's Ethernet block, and the reserved subnet anycast addresses (RFC 2526), among them the home agents'.
func reservedIdentifier(id uint64) bool {
	return id == 0 ||
		id >= 0x0200_5eff_fe00_0000 && id <= 0x0200_5eff_feff_ffff ||
		id >= 0xfdff_ffff_ffff_ff80 && id <= 0xfdff_ffff_ffff_ffff
}
