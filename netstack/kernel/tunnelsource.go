package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ErrNoSegmentRouting is what a kernel without segment routing (CONFIG_IPV6_SEG6_LWTUNNEL) is met with.
var ErrNoSegmentRouting = errors.New("the kernel has no segment routing (CONFIG_IPV6_SEG6_LWTUNNEL)")

// The generic netlink family SEG6, linux/seg6_genl.h.
const (
	segmentRoutingFamily  = "SEG6"
	segmentRoutingVersion = 1

	commandSetTunnelSource = 3
	commandGetTunnelSource = 4

	attributeDestination = 1
)

// TunnelSource is the source address of all packets that the network namespace's kernel encapsulates for segment routing
// (`ip sr tunsrc show`); unspecified if the kernel chooses one of its own each time. It fails with ErrNoSegmentRouting, and with
// os.ErrPermission in user namespaces, both wrapped.
func TunnelSource() (netip.Addr, error) {
	answers, err := segmentRouting(commandGetTunnelSource, 0)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("source of encapsulated packets: %w", err)
	}
	for _, b := range answers {
		attributes, err := nl.ParseRouteAttr(b[min(nl.SizeofGenlmsg, len(b)):])
		if err != nil {
			return netip.Addr{}, fmt.Errorf("source of encapsulated packets: %w", err)
		}
		for _, a := range attributes {
			if address, ok := netip.AddrFromSlice(a.Value); ok && a.Attr.Type == attributeDestination {
				return address, nil
			}
		}
	}
	return netip.Addr{}, errors.New("source of encapsulated packets: the kernel does not say")
}

// CheckTunnelSource finds out whether this process may set what TunnelSource returns, by setting it to what it is.
func CheckTunnelSource() error {
	source, err := TunnelSource()
	if err != nil {
		return err
	}
	return setTunnelSource(source)
}

func setTunnelSource(address netip.Addr) error {
	_, err := segmentRouting(commandSetTunnelSource, unix.NLM_F_ACK, nl.NewRtAttr(attributeDestination, address.AsSlice()))
	if err != nil {
		return fmt.Errorf("set the source of encapsulated packets to %s: %w", address, err)
	}
	return nil
}

func segmentRouting(command uint8, flags int, attributes ...nl.NetlinkRequestData) ([][]byte, error) {
	family, err := segmentRoutingNumber()
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNoSegmentRouting
	}
	if err != nil {
		return nil, err
	}
	answers, err := generic(family, genericHeader{command, segmentRoutingVersion}, flags, attributes...)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("needs CAP_NET_ADMIN, and outside of user namespaces: %w", err)
	}
	return answers, err
}

// segmentRoutingNumber is the number of the family, which the kernel gives when it starts.
func segmentRoutingNumber() (uint16, error) {
	answers, err := generic(unix.GENL_ID_CTRL, genericHeader{unix.CTRL_CMD_GETFAMILY, 1}, 0,
		nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(segmentRoutingFamily)))
	if err != nil {
		return 0, err
	}
	for _, b := range answers {
		attributes, err := nl.ParseRouteAttr(b[min(nl.SizeofGenlmsg, len(b)):])
		if err != nil {
			return 0, err
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.CTRL_ATTR_FAMILY_ID && len(a.Value) >= 2 {
				return binary.NativeEndian.Uint16(a.Value), nil
			}
		}
	}
	return 0, unix.ENOENT
}

func generic(family uint16, header genericHeader, flags int, attributes ...nl.NetlinkRequestData) ([][]byte, error) {
	request := nl.NewNetlinkRequest(int(family), flags)
	request.AddData(header)
	for _, a := range attributes {
		request.AddData(a)
	}
	return request.Execute(unix.NETLINK_GENERIC, 0)
}

// genericHeader is struct genlmsghdr with its two reserved octets, in place of which nl.Genlmsg sends what lies behind it in
// memory.
type genericHeader struct{ command, version uint8 }

func (genericHeader) Len() int { return nl.SizeofGenlmsg }

func (h genericHeader) Serialize() []byte { return []byte{h.command, h.version, 0, 0} }

// SetTunnelSource sets what TunnelSource returns. If it is that
// already nothing is changed and the Change is nil. Undoing sets the original one again unless somebody else has set a third
// one. One that the journal has set before is taken over: its Change is undone then, without any effect, and the new one
// goes back to what was there before the first.
func (j *Journal) SetTunnelSource(address netip.Addr) (*Change, error) {
	original, err := TunnelSource()
	if err != nil {
		return nil, err
	}
	if original == address {
		return nil, nil
	}
	earlier := j.tunnelSource(original)
	if earlier != nil {
		original = earlier.undoer.(*tunnelSourceChange).Original
	}
	c, err := j.do(&tunnelSourceChange{original, address}, func() error { return setTunnelSource(address) })
	if err != nil {
		return nil, err
	}
	return c, earlier.Undo()
}

// tunnelSource finds the change that set the source address.
func (j *Journal) tunnelSource(value netip.Addr) *Change {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.IndexFunc(j.pending, func(c *Change) bool {
		u, ok := c.undoer.(*tunnelSourceChange)
		return ok && u.Value == value
	})
	if i < 0 {
		return nil
	}
	return j.pending[i]
}

type tunnelSourceChange struct {
	Original netip.Addr `json:"original"`
	Value    netip.Addr `json:"value"`
}

func (c *tunnelSourceChange) undo() error {
	value, err := TunnelSource()
	if err != nil || value != c.Value {
		return err
	}
	return setTunnelSource(c.Original)
}

func (c *tunnelSourceChange) String() string {
	return fmt.Sprintf("source %s of encapsulated packets, was %s", c.Value, c.Original)
}
