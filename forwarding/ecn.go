package forwarding

// The ECN field (RFC 3168 section 5).
const (
	notECT  = 0
	ect1    = 1
	ect0    = 2
	ce      = 3
	ecnMask = 3
)

// decapsulateECN is the ECN field that goes on from an inner and an outer one (RFC 6040 section 4.2, figure 4); ok is
// false where the packet is to be dropped.
func decapsulateECN(inner, outer uint8) (ecn uint8, ok bool) {
	switch {
	case inner == notECT:
		return notECT, outer != ce
	case outer == ce:
		return ce, true
	case inner == ect0 && outer == ect1:
		return ect1, true
	}
	return inner, true
}
