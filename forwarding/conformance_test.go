package forwarding

import "testing"

// "The Flow Label value set by the source MUST be delivered unchanged to the destination" (RFC 6438 section 1.2), whatever the
// outer one is.
func TestRFC6438_1_2_InnerFlowLabelIsKept(t *testing.T) {
	labelled := func(b []byte) []byte {
		b[1], b[2], b[3] = b[1]&0xf0|0x0a, 0xbc, 0xde
		return b
	}
	_, w := anchor(t)
	out := one(t, process(w, ethPort, labelled(udp(cn, h1, 20))), ethPort)
	if _, l := flowless(out[40:]); l != 0xabcde {
		t.Errorf("into the tunnel: %#x", l)
	}
	back := one(t, process(w, ethPort, tunnelled(0, c1, ha, labelled(udp(h1, cn, 20)))), ethPort)
	if _, l := flowless(back); l != 0xabcde {
		t.Errorf("out of the tunnel: %#x", l)
	}
}

// "The same flow label value MUST be used for all packets in a single user flow". Fragments behind the first show no ports and
// no protocol.
func TestRFC6438_3_FragmentsHaveOneLabel(t *testing.T) {
	_, w := anchor(t)
	labels := map[uint32]bool{}
	for offset := byte(0); offset < 5; offset++ {
		fragment := ipv6(0, cn, h1, 44, 64, append([]byte{17, 0, 0, offset<<3 | 1, 0, 0, 0, 7, offset}, make([]byte, 7)...))
		_, l := flowless(one(t, process(w, ethPort, fragment), ethPort))
		labels[l] = true
	}
	if len(labels) != 1 || labels[0] {
		t.Errorf("labels %v", labels)
	}
}
