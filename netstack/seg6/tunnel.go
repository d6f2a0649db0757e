package seg6

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/kernel"
)

var errClosed = fmt.Errorf("seg6: %w", netstack.ErrClosed)

// modeEncapsulateReduced is SEG6_IPTUN_MODE_ENCAP_RED, of Linux 6.0 (linux/seg6_iptunnel.h).
const modeEncapsulateReduced = 3

// tables are the tunnels.
type tables struct {
	next          uint32   // number of a table that was never used
	free          []uint32 // numbers of tables that were
	bySource      map[netip.Prefix]*source
	byDestination map[netip.Prefix]netip.Addr
}

// source is a tunnel by source.
type source struct {
	table  uint32
	remote netip.Addr
	rule   *kernel.Change
}

// Tunnel leads inner packets from or to a prefix (of length 128 for a home address) to the tunnel end remote, in place of where
// it led before, without an interval in which it leads nowhere. After an error it leads where it did, or nowhere. ENOMEM passes:
// in bursts the kernel runs out of the memory that it has at hand for routes, some thousands at a time.
func (a *Accelerator) Tunnel(by Selector, inner netip.Prefix, remote netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errClosed
	}
	if !inner.IsValid() || !inner.Addr().Is6() || !remote.Is6() || remote.Is4In6() {
		return fmt.Errorf("tunnel of %s to %s: not IPv6", inner, remote)
	}
	inner = inner.Masked()
	if by == ByDestination {
		if a.tables.byDestination[inner] == remote {
			return nil
		}
		if err := a.routes.RouteReplace(a.route(inner, remote, a.config.Table+1)); err != nil {
			return fmt.Errorf("tunnel of %s to %s: %w", inner, remote, err)
		}
		a.tables.byDestination[inner] = remote
		return nil
	}
	t := a.tables.bySource[inner]
	switch {
	case t == nil:
		t = &source{table: a.tables.take()}
	case t.remote == remote:
		return nil
	}
	if err := a.routes.RouteReplace(a.route(everything, remote, t.table)); err != nil {
		if t.rule == nil {
			a.tables.free = append(a.tables.free, t.table)
		}
		return fmt.Errorf("tunnel of %s to %s: %w", inner, remote, err)
	}
	t.remote = remote
	if t.rule != nil {
		return nil
	}
	var err error
	t.rule, err = a.config.Journal.AddRule(kernel.Rule{
		Priority: sourcePriority, Interface: a.config.Name, From: inner, Table: t.table,
	})
	if err != nil {
		a.tables.free = append(a.tables.free, t.table)
		return errors.Join(err, a.routes.RouteDel(a.route(everything, remote, t.table)))
	}
	a.tables.bySource[inner] = t
	return nil
}

// Remove undoes Tunnel. A tunnel that there is not is no error.
func (a *Accelerator) Remove(by Selector, inner netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	inner = inner.Masked()
	if by == ByDestination {
		remote, ok := a.tables.byDestination[inner]
		if a.closed || !ok {
			return nil
		}
		delete(a.tables.byDestination, inner)
		return a.delete(a.route(inner, remote, a.config.Table+1))
	}
	t := a.tables.bySource[inner]
	if a.closed || t == nil {
		return nil
	}
	if err := t.rule.Undo(); err != nil {
		return err
	}
	delete(a.tables.bySource, inner)
	a.tables.free = append(a.tables.free, t.table)
	return a.delete(a.route(everything, t.remote, t.table))
}

// delete deletes a route, which went with the device if somebody removed that.
func (a *Accelerator) delete(r *netlink.Route) error {
	err := a.routes.RouteDel(r)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

func (t *tables) take() uint32 {
	if n := len(t.free); n > 0 {
		number := t.free[n-1]
		t.free = t.free[:n-1]
		return number
	}
	t.next++
	return t.next - 1
}

// close undoes the rules. The routes go with the device.
func (t *tables) close() error {
	var failures []error
	for _, s := range t.bySource {
		failures = append(failures, s.rule.Undo())
	}
	return errors.Join(failures...)
}

var everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)

// route is an encapsulating route. It leads to the TUN device so that it goes with it: the kernel asks its tables again for the
// way of the outer packet.
func (a *Accelerator) route(inner netip.Prefix, remote netip.Addr, table uint32) *netlink.Route {
	return encapsulating(inner, remote, table, a.index)
}

func encapsulating(inner netip.Prefix, remote netip.Addr, table uint32, index int) *netlink.Route {
	return &netlink.Route{
		Family: netlink.FAMILY_V6, Table: int(table), LinkIndex: index, Protocol: kernel.Protocol,
		Dst:   kernelPrefix(inner),
		Encap: &reduced{remote},
	}
}

// reduced is the encapsulation of H.Encaps.Red with one segment. It implements netlink.Encap.
//
//	length 32 | type 1 | mode 3 | routing header of length 24, type 4, segments left 0 | segment
//	   2          2        4                          8                                   16      octets
type reduced struct{ remote netip.Addr }

func (e *reduced) Type() int { return nl.LWTUNNEL_ENCAP_SEG6 }

func (e *reduced) Encode() ([]byte, error) {
	b := make([]byte, 16, 32)
	binary.NativeEndian.PutUint16(b, 32)
	binary.NativeEndian.PutUint16(b[2:], nl.SEG6_IPTUNNEL_SRH)
	binary.NativeEndian.PutUint32(b[4:], modeEncapsulateReduced)
	b[9], b[10] = 2, nl.IPV6_SRCRT_TYPE_4
	return append(b, e.remote.AsSlice()...), nil
}

func (e *reduced) Decode(b []byte) error {
	if len(b) != 32 {
		return fmt.Errorf("encapsulation of %d octets", len(b))
	}
	e.remote = netip.AddrFrom16([16]byte(b[16:]))
	return nil
}

func (e *reduced) String() string { return "encap.red " + e.remote.String() }

func (e *reduced) Equal(other netlink.Encap) bool {
	o, ok := other.(*reduced)
	return ok && *o == *e
}

// Probe finds out whether the kernel can do it, and lets this process, changing nothing. It fails with
// kernel.ErrNoSegmentRouting, wrapped, where the kernel cannot, and with os.ErrPermission, wrapped, where it does not let.
func Probe() error {
	if err := kernel.CheckTunnelSource(); err != nil {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("interface lo: %w", err)
	}
	// Replacing a route that there is not fails, but only after the kernel has looked at the encapsulation.
	discard := netip.MustParsePrefix("100::/64")
	r := encapsulating(discard, discard.Addr().Next(), DefaultTable, loopback.Attrs().Index)
	switch err := netlink.RouteChange(r); {
	case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENETDOWN):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: no reduced encapsulation: %w", kernel.ErrNoSegmentRouting, err)
	default:
		return fmt.Errorf("encapsulating route: %w", err)
	}
}
