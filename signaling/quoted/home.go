package quoted

import "net/netip"

// HomeAddresses finds the address of the Home Address option and the one of the type 2 routing header (RFC 6275 sections 6.3
// and 6.4) in the beginning of an IPv6 packet; invalid where there is none.
func HomeAddresses(b []byte) (homeAddress, routingHome netip.Addr) {
	const (
		hopByHop, routing, destinationOptions = 0, 43, 60
		type2, pad1, homeAddressOption        = 2, 0, 0xc9
		header, homeLength                    = 40, 24
	)
	if len(b) < header || b[0]>>4 != 6 {
		return
	}
	next, rest := b[6], b[header:]
	for next == hopByHop || next == routing || next == destinationOptions {
		if len(rest) < 8 || len(rest) < 8*(int(rest[1])+1) {
			return
		}
		h := rest[:8*(int(rest[1])+1)]
		if next == routing && h[2] == type2 && len(h) == homeLength {
			routingHome = address(h[8:])
		}
		for at := 2; next == destinationOptions && at < len(h); {
			if h[at] == pad1 {
				at++
				continue
			}
			if at+2 > len(h) || at+2+int(h[at+1]) > len(h) {
				return
			}
			if h[at] == homeAddressOption && h[at+1] == 16 {
				homeAddress = address(h[at+2:])
			}
			at += 2 + int(h[at+1])
		}
		next, rest = h[0], rest[len(h):]
	}
	return
}
