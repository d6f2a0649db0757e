package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"
)

// echoPort is the echo service's (RFC 862).
const echoPort = 7

// preferredMetric is a route metric below those of routes that kernels and container engines make.
const preferredMetric = 1

func echoCommand() *cobra.Command {
	var port uint16
	var routes []string
	c := &cobra.Command{
		Use:   "echo",
		Short: "Serve UDP and TCP echo, for correspondents of a test network",
		Long: `Send back what arrives by UDP and TCP over IPv6 (RFC 862) until SIGINT or SIGTERM. UDP answers leave from the
address that was asked. kedge ping asks.

--route makes a kernel route first, for hosts such as containers whose default route is not the router of the test
network. It needs CAP_NET_ADMIN and is removed at the end.`,
		Example: "  kedge echo\n  kedge echo --route 2001:db8::/32=2001:db8:c::ff",
		Args:    cobra.NoArgs,
	}
	c.Flags().Uint16VarP(&port, "port", "p", echoPort, "UDP and TCP port")
	c.Flags().StringArrayVar(&routes, "route", nil, "route to make, as PREFIX=ROUTER; may be repeated")
	c.RunE = func(c *cobra.Command, _ []string) error {
		for _, r := range routes {
			remove, err := addRoute(r)
			if err != nil {
				return err
			}
			defer remove()
		}
		return serveEcho(c.Context(), port, slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil)))
	}
	return c
}

// addRoute makes the kernel route PREFIX=ROUTER.
func addRoute(text string) (remove func(), err error) {
	to, via, ok := strings.Cut(text, "=")
	prefix, err1 := netip.ParsePrefix(to)
	router, err2 := netip.ParseAddr(via)
	if !ok || err1 != nil || err2 != nil || !prefix.Addr().Is6() || !router.Is6() {
		return nil, fmt.Errorf("--route: expected PREFIX=ROUTER, such as 2001:db8::/32=2001:db8:c::ff, found %q", text)
	}
	prefix = prefix.Masked()
	route := &netlink.Route{
		Dst:      &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), 128)},
		Gw:       router.AsSlice(),
		Priority: preferredMetric,
	}
	if err := netlink.RouteReplace(route); err != nil {
		return nil, fmt.Errorf("route %s by %s (needs CAP_NET_ADMIN and a neighbour %s): %w", prefix, router, router, err)
	}
	return func() { _ = netlink.RouteDel(route) }, nil // the interface may be gone, and the route with it
}

// serveEcho serves until ctx ends.
func serveEcho(ctx context.Context, port uint16, log *slog.Logger) error {
	udp, err := net.ListenUDP("udp6", &net.UDPAddr{Port: int(port)})
	if err != nil {
		return err
	}
	defer udp.Close()
	tcp, err := net.ListenTCP("tcp6", &net.TCPAddr{Port: udp.LocalAddr().(*net.UDPAddr).Port})
	if err != nil {
		return err
	}
	defer tcp.Close()
	packets := ipv6.NewPacketConn(udp)
	if err := packets.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return err
	}
	log.Info("echoing", "udp", udp.LocalAddr(), "tcp", tcp.Addr())
	defer context.AfterFunc(ctx, func() { udp.Close(); tcp.Close() })()
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() { echoUDP(packets) })
	for {
		conn, err := tcp.AcceptTCP()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			log.Warn("accept", "error", err)
			pause(ctx, lookAgain) // out of file descriptors, perhaps
			continue
		}
		group.Go(func() {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer conn.Close()
			_, _ = io.Copy(conn, conn)
		})
	}
}

// echoUDP answers until the socket is closed.
func echoUDP(conn *ipv6.PacketConn) {
	b := make([]byte, 1<<16)
	for {
		n, control, from, err := conn.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Two echo servers that are made to answer each other would never stop.
		if peer, ok := from.(*net.UDPAddr); err != nil || control == nil || control.Dst.IsMulticast() || !ok || peer.Port == echoPort {
			continue
		}
		// A lost answer is what kedge ping is there to see.
		_, _ = conn.WriteTo(b[:n], &ipv6.ControlMessage{Src: control.Dst}, from)
	}
}
