package forwarding

import "testing"

// RFC 6040 section 4.2, figure 4: inner by row, outer by column (Not-ECT, ECT(0), ECT(1), CE); -1 is a drop.
func TestDecapsulateECN(t *testing.T) {
	columns := [4]uint8{notECT, ect0, ect1, ce}
	for inner, row := range map[uint8][4]int{
		notECT: {notECT, notECT, notECT, -1},
		ect0:   {ect0, ect0, ect1, ce},
		ect1:   {ect1, ect1, ect1, ce},
		ce:     {ce, ce, ce, ce},
	} {
		for i, outer := range columns {
			e, w := anchor(t)
			b := tunnelled(0xb8|outer, c1, ha, udpClass(0x20|inner, h1, cn, 9))
			r := process(w, ethPort, b)
			if row[i] < 0 {
				wantDrop(t, e, r, DropCongestion)
				continue
			}
			out := one(t, r, ethPort)
			if class := out[0]<<4 | out[1]>>4; int(class) != 0x20|row[i] {
				t.Errorf("inner %d, outer %d: traffic class %#x", inner, outer, class)
			}
			if row[i] == ce && inner != ce {
				wantCount(t, e, CongestionMarked, 1)
			}
		}
	}
}

// RFC 6040 section 4.1, normal mode; the rest of the traffic class goes along.
func TestEncapsulateECN(t *testing.T) {
	for class := range 256 {
		_, w := anchor(t)
		out := one(t, process(w, ethPort, udpClass(uint8(class), cn, h1, 1)), ethPort)
		if got := out[0]<<4 | out[1]>>4; int(got) != class {
			t.Errorf("class %#x became %#x", class, got)
		}
	}
}
