package host

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"

	"kedge/netstack/packet"
)

var (
	ours   = netip.MustParseAddr("2001:db8:1::1")
	theirs = netip.MustParseAddr("2001:db8:2::2")
)

// handed is what the host handed to a callback for payloads.
type handed struct {
	source, destination netip.Addr
	trafficClass        uint8
	payload             []byte
}

// recorder records what a host does.
type recorder struct {
	mu       sync.Mutex
	output   [][]byte
	tunneled []handed
	mobility []handed
}

func (r *recorder) config(mtu int) Config {
	return Config{
		MTU: mtu,
		Output: func(b []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.output = append(r.output, bytes.Clone(b))
		},
		Tunneled: func(s, d netip.Addr, tc uint8, b []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.tunneled = append(r.tunneled, handed{s, d, tc, bytes.Clone(b)})
		},
		MobilityHeader: func(s, d netip.Addr, b []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.mobility = append(r.mobility, handed{s, d, 0, bytes.Clone(b)})
		},
	}
}

// take returns what the host has emitted since the last call.
func (r *recorder) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	output := r.output
	r.output = nil
	return output
}

func start(t testing.TB) (*Host, *recorder) {
	t.Helper()
	return startWith(t, tcpip.NewStdClock())
}

func startWith(t testing.TB, clock tcpip.Clock) (*Host, *recorder) {
	t.Helper()
	r := &recorder{}
	h, err := newHost(r.config(1500), clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	if err := h.AddAddress(ours); err != nil {
		t.Fatal(err)
	}
	return h, r
}

func deliver(t testing.TB, h *Host, b []byte) {
	t.Helper()
	p := packet.New(len(b))
	if !p.Set(b) {
		t.Fatalf("a packet of %d octets does not fit", len(b))
	}
	h.Deliver(p)
	if !bytes.Equal(p.Bytes(), b) {
		t.Error("Deliver changed the packet")
	}
}

// ipv6Packet puts an IPv6 header in front of a payload.
func ipv6Packet(source, destination netip.Addr, next uint8, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	s, d := source.As16(), destination.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, payload...)
}

// sum is the Internet checksum of an upper-layer packet with its pseudo-header (RFC 8200 section 8.1), slow and obvious.
func sum(source, destination netip.Addr, next uint8, payload []byte) uint16 {
	s, d := source.As16(), destination.As16()
	b := append(s[:], d[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, 0, 0, 0, next)
	b = append(b, payload...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	var total uint32
	for i := 0; i < len(b); i += 2 {
		total += uint32(binary.BigEndian.Uint16(b[i:]))
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

// withChecksum puts the checksum at an offset of an upper-layer packet.
func withChecksum(next uint8, at int, payload []byte) []byte {
	b := bytes.Clone(payload)
	binary.BigEndian.PutUint16(b[at:], 0)
	binary.BigEndian.PutUint16(b[at:], sum(theirs, ours, next, b))
	return b
}

// reply checks the one packet that the host emitted, from ours to theirs, and returns its upper-layer packet.
func reply(t *testing.T, r *recorder, next uint8) []byte {
	t.Helper()
	output := r.take()
	if len(output) != 1 {
		t.Fatalf("%d packets emitted, want 1", len(output))
	}
	b := output[0]
	source, destination := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	if source != ours || destination != theirs || b[6] != next || int(binary.BigEndian.Uint16(b[4:]))+40 != len(b) {
		t.Fatalf("header of the reply: %x", b[:40])
	}
	if got := sum(source, destination, next, b[40:]); got != 0 {
		t.Fatalf("checksum of the reply is wrong by %#x", got)
	}
	return b[40:]
}

func TestEchoIsAnswered(t *testing.T) {
	h, r := start(t)
	request, _ := hex.DecodeString("6000000000103a40" + "20010db8000200000000000000000002" + "20010db8000100000000000000000001" +
		"8000" + "0000" + "12340001" + "6b65646765212121")
	copy(request[40:], withChecksum(58, 2, request[40:]))
	deliver(t, h, request)
	got := reply(t, r, 58)
	want, _ := hex.DecodeString("8100" + "0000" + "12340001" + "6b65646765212121")
	copy(want[2:4], got[2:4]) // reply has verified it
	if !bytes.Equal(got, want) {
		t.Errorf("reply %x, want %x", got, want)
	}
}

func TestEchoLongerThanTheMTUIsAnsweredInFragments(t *testing.T) {
	h, r := start(t)
	echo := withChecksum(58, 2, append([]byte{128, 0, 0, 0, 1, 2, 3, 4}, make([]byte, 4000)...))
	for _, f := range fragments(7, 58, echo, 1232) {
		deliver(t, h, f)
	}
	output := r.take()
	if len(output) != 3 {
		t.Fatalf("%d packets emitted, want 3 fragments", len(output))
	}
	for _, b := range output {
		if len(b) > 1500 || b[6] != 44 {
			t.Errorf("%d octets with next header %d, want a fragment of at most 1500", len(b), b[6])
		}
	}
}

func TestWrongChecksumAndForeignDestinationAreIgnored(t *testing.T) {
	h, r := start(t)
	echo := withChecksum(58, 2, []byte{128, 0, 0, 0, 1, 2, 3, 4})
	echo[2]++
	deliver(t, h, ipv6Packet(theirs, ours, 58, echo))
	deliver(t, h, ipv6Packet(theirs, netip.MustParseAddr("2001:db8:1::99"), 17, make([]byte, 8)))
	if output := r.take(); len(output) != 0 {
		t.Errorf("emitted %x", output)
	}
	if s := h.Statistics(); s.Received != 2 || s.NotOwned != 1 {
		t.Errorf("statistics %+v", s)
	}
}

func TestClosedPorts(t *testing.T) {
	h, r := start(t)
	datagram := withChecksum(17, 6, []byte{0x30, 0x39, 0x00, 0x35, 0, 12, 0, 0, 'k', 'e', 'd', 'g'})
	invoking := ipv6Packet(theirs, ours, 17, datagram)
	deliver(t, h, invoking)
	if got := reply(t, r, 58); got[0] != 1 || got[1] != 4 || !bytes.Equal(got[8:], invoking) {
		t.Errorf("to a UDP port: %x, want Destination Unreachable code 4 (RFC 4443 section 3.1)", got)
	}

	syn := []byte{0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 41, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0}
	deliver(t, h, ipv6Packet(theirs, ours, 6, withChecksum(6, 16, syn)))
	if got := reply(t, r, 6); got[13] != 0x14 || binary.BigEndian.Uint32(got[8:]) != 42 {
		t.Errorf("to a TCP port: %x, want RST and ACK of 42", got)
	}
}

func TestUnknownNextHeader(t *testing.T) {
	h, r := start(t)
	behindOptions := append([]byte{200, 0, 1, 4, 0, 0, 0, 0}, make([]byte, 16)...)
	for _, test := range []struct {
		name    string
		next    uint8
		payload []byte
		pointer uint32
	}{
		{"in the IPv6 header", 200, make([]byte, 16), 6},
		{"in a Destination Options header", 60, behindOptions, 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			deliver(t, h, ipv6Packet(theirs, ours, test.next, test.payload))
			got := reply(t, r, 58)
			if got[0] != 4 || got[1] != 1 || binary.BigEndian.Uint32(got[4:]) != test.pointer {
				t.Errorf("%x, want Parameter Problem code 1 pointing to %d (RFC 4443 section 3.4)", got[:8], test.pointer)
			}
		})
	}
	deliver(t, h, ipv6Packet(theirs, ours, 59, make([]byte, 16)))
	if output := r.take(); len(output) != 0 {
		t.Errorf("No Next Header was answered by %x", output)
	}
}

func TestPayloadProtocolsUnfragmented(t *testing.T) {
	h, r := start(t)
	inner := ipv6Packet(theirs, ours, 59, nil)
	outer := ipv6Packet(theirs, ours, 41, inner)
	outer[0], outer[1] = 0x62, 0x30 // traffic class 0x23
	deliver(t, h, outer)
	deliver(t, h, ipv6Packet(theirs, ours, 135, []byte{59}))
	deliver(t, h, ipv6Packet(theirs, ours, 135, nil))
	if len(r.tunneled) != 1 || !bytes.Equal(r.tunneled[0].payload, inner) || r.tunneled[0].trafficClass != 0x23 ||
		r.tunneled[0].source != theirs || r.tunneled[0].destination != ours {
		t.Errorf("tunneled %+v", r.tunneled)
	}
	if len(r.mobility) != 1 || !bytes.Equal(r.mobility[0].payload, []byte{59}) {
		t.Errorf("mobility headers %+v", r.mobility)
	}
	if output := r.take(); len(output) != 0 {
		t.Errorf("emitted %x", output)
	}
}

func TestNeighbourDiscoveryIsLeftToOthers(t *testing.T) {
	h, r := start(t)
	solicitation := append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, ours.AsSlice()...)
	solicitation = append(solicitation, 1, 1, 2, 0, 0, 0, 0, 1)
	b := ipv6Packet(theirs, ours, 58, withChecksum(58, 2, solicitation))
	b[7] = 255
	deliver(t, h, b)
	// Behind an option that this package does not look through, gVisor answers; the answer must not leave.
	b = ipv6Packet(theirs, ours, 60, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, withChecksum(58, 2, solicitation)...))
	b[7] = 255
	deliver(t, h, b)
	if output := r.take(); len(output) != 0 {
		t.Errorf("emitted %x", output)
	}
	if s := h.Statistics(); s.Received != 1 {
		t.Errorf("statistics %+v, want one packet kept from the stack", s)
	}
}

func TestAddresses(t *testing.T) {
	h, r := start(t)
	echo := ipv6Packet(theirs, ours, 58, withChecksum(58, 2, []byte{128, 0, 0, 0, 1, 2, 3, 4}))
	if err := h.AddAddress(ours); err != nil {
		t.Errorf("adding an address twice: %v", err)
	}
	for range 2 {
		if err := h.RemoveAddress(ours); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	deliver(t, h, echo)
	if output := r.take(); len(output) != 0 {
		t.Errorf("a removed address answered %x", output)
	}
	if err := h.AddAddress(ours); err != nil {
		t.Fatal(err)
	}
	deliver(t, h, echo)
	reply(t, r, 58)
	for _, bad := range []string{"192.0.2.1", "::", "::1", "ff02::1", "::ffff:192.0.2.1"} {
		if err := h.AddAddress(netip.MustParseAddr(bad)); !errors.Is(err, ErrAddress) {
			t.Errorf("adding %s: %v, want ErrAddress", bad, err)
		}
	}
	if err := h.AddAddress(netip.Addr{}); !errors.Is(err, ErrAddress) {
		t.Errorf("adding no address: %v, want ErrAddress", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := (&recorder{}).config(1280)
	for name, spoil := range map[string]func(*Config){
		"small MTU":    func(c *Config) { c.MTU = 1279 },
		"large MTU":    func(c *Config) { c.MTU = 65536 },
		"no output":    func(c *Config) { c.Output = nil },
		"no tunneled":  func(c *Config) { c.Tunneled = nil },
		"no mobility":  func(c *Config) { c.MobilityHeader = nil },
		"negative MTU": func(c *Config) { c.MTU = -1 },
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	h, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.SetMTU(100); err == nil {
		t.Error("SetMTU(100): no error")
	}
}
