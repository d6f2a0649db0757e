// Command wireguard runs wireguard-go with one peer, for `kedge lab throughput` to compare with. It is a module of its own,
// so that kedge does not depend on wireguard.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// settings are the command line.
type settings struct {
	name, key, peer, endpoint string
	listen, mtu               int
	addresses, routes         prefixes
}

// prefixes are a flag that may be repeated.
type prefixes []netip.Prefix

func (p *prefixes) String() string { return fmt.Sprint(*p) }

// Set adds one.
func (p *prefixes) Set(text string) error {
	prefix, err := netip.ParsePrefix(text)
	*p = append(*p, prefix)
	return err
}

func main() {
	var s settings
	flag.StringVar(&s.name, "name", "wg0", "the TUN device")
	flag.IntVar(&s.mtu, "mtu", device.DefaultMTU, "of the TUN device, in octets")
	flag.StringVar(&s.key, "key", "", "private key, 64 hexadecimal digits")
	flag.StringVar(&s.peer, "peer", "", "the peer's public key, 64 hexadecimal digits")
	flag.IntVar(&s.listen, "listen", 0, "UDP port; 0 for any")
	flag.StringVar(&s.endpoint, "endpoint", "", "the peer's address and port; without, the peer comes here first")
	flag.Var(&s.addresses, "address", "of the TUN device, with prefix length; may be repeated")
	flag.Var(&s.routes, "route", "a prefix behind the peer; may be repeated")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "wireguard:", err)
		os.Exit(1)
	}
}

// run serves until a signal or the device's end.
func run(s settings) error {
	link, err := tun.CreateTUN(s.name, s.mtu)
	if err != nil {
		return fmt.Errorf("making %s: %w", s.name, err)
	}
	d := device.NewDevice(link, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, s.name+": "))
	defer d.Close()
	if err := d.IpcSet(s.configuration()); err != nil {
		return err
	}
	if err := d.Up(); err != nil {
		return err
	}
	if err := s.furnish(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-signals:
		return nil
	case <-d.Wait():
		return errors.New("the device has ended")
	}
}

// configuration is the settings in the words of WireGuard's cross-platform interface.
func (s settings) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key=%s\nlisten_port=%d\npublic_key=%s\n", s.key, s.listen, s.peer)
	if s.endpoint != "" {
		fmt.Fprintf(&b, "endpoint=%s\n", s.endpoint)
	}
	for _, r := range s.routes {
		fmt.Fprintf(&b, "allowed_ip=%s\n", r)
	}
	return b.String()
}

// furnish gives the device its addresses and routes.
func (s settings) furnish() error {
	link, err := netlink.LinkByName(s.name)
	if err != nil {
		return err
	}
	for _, a := range s.addresses {
		address, err := netlink.ParseAddr(a.String())
		if err == nil {
			err = netlink.AddrAdd(link, address)
		}
		if err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	for _, r := range s.routes {
		to, err := netlink.ParseIPNet(r.String())
		if err == nil {
			err = netlink.RouteReplace(&netlink.Route{Dst: to, LinkIndex: link.Attrs().Index})
		}
		if err != nil {
			return fmt.Errorf("route to %s: %w", r, err)
		}
	}
	return nil
}
