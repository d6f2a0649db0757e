package command

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"
)

// pingLength is the length of a datagram: a magic number, a sequence number, and the sender's time in nanoseconds since
// it started, each of 8 octets.
const (
	pingLength = 24
	pingMagic  = 0x6b6564676570696e
)

// farewellPing is how long the last answers are waited for.
const farewellPing = time.Second

type pingOptions struct {
	destination, source netip.Addr
	port                uint16
	count               int
	interval, gap       time.Duration
}

func pingCommand() *cobra.Command {
	o := pingOptions{}
	var source string
	c := &cobra.Command{
		Use:   "ping ADDRESS",
		Short: "Send UDP probes to kedge echo and show round trips and silent gaps",
		Long: `Send UDP datagrams to a kedge echo by an ordinary kernel socket. Each second shows how many were answered and their
round trip times; a gap between answers is shown when it ends, which is how a handoff looks to a program.
Ends after --count datagrams or by SIGINT, with status 1 if nothing was answered.`,
		Example: "  kedge ping 2001:db8:c::2\n  kedge ping --count 500 --json 2001:db8:c::2",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().Uint16VarP(&o.port, "port", "p", echoPort, "UDP port of the echo")
	c.Flags().IntVarP(&o.count, "count", "n", 0, "datagrams to send (default: until interrupted)")
	c.Flags().DurationVarP(&o.interval, "interval", "i", 10*time.Millisecond, "time between datagrams, at least 1ms")
	c.Flags().DurationVar(&o.gap, "gap", 0, "shortest silence to show (default: 3 intervals)")
	c.Flags().StringVarP(&source, "source", "I", "", "source address (default: the kernel's choice)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, arguments []string) (err error) {
		if o.destination, err = netip.ParseAddr(arguments[0]); err != nil || !o.destination.Is6() {
			return fmt.Errorf("expected an IPv6 address, found %q", arguments[0])
		}
		if o.source, err = netip.ParseAddr(source); source != "" && (err != nil || !o.source.Is6()) {
			return fmt.Errorf("--source: expected an IPv6 address, found %q", source)
		}
		if o.interval < time.Millisecond {
			return fmt.Errorf("--interval: expected at least 1ms, found %v", o.interval)
		}
		if o.gap == 0 {
			o.gap = 3 * o.interval
		}
		out := c.OutOrStdout()
		if *asJSON {
			out = io.Discard
		}
		t, err := ping(c.Context(), o, out)
		if err != nil {
			return err
		}
		s := t.summary()
		if *asJSON {
			err = printJSON(c.OutOrStdout(), s)
		} else {
			fmt.Fprintln(out, s)
		}
		if err == nil && s.Answered == 0 {
			err = errSaid
		}
		return err
	}
	return c
}

// ping probes until o.count datagrams were sent or ctx ends.
func ping(ctx context.Context, o pingOptions, out io.Writer) (*tally, error) {
	conn, err := dialPing(ctx, o, out)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	fmt.Fprintf(out, "probing %v port %d from %v each %v\n", o.destination, o.port, conn.LocalAddr().(*net.UDPAddr).IP, o.interval)
	start := time.Now()
	t := newTally(o.gap)
	answers := make(chan answer, 1024)
	go readPings(conn, start, answers)

	send, second := time.NewTicker(o.interval), time.NewTicker(time.Second)
	defer send.Stop()
	defer second.Stop()
	var over <-chan time.Time
	sending, stopped := send.C, ctx.Done()
	finish := func() { sending, stopped, over = nil, nil, time.After(farewellPing) }
	for {
		select {
		case <-sending:
			_, err := conn.Write(pingDatagram(t.sent, time.Since(start)))
			t.send(err)
			if o.count > 0 && t.sent == o.count {
				finish()
			}
		case a := <-answers:
			if g, ok := t.answered(a); ok {
				fmt.Fprintf(out, "%s  silent for %v, %d not answered\n", time.Now().Format("15:04:05.000"), g.silence().Round(time.Millisecond), g.Lost)
			}
			if sending == nil && t.received >= t.sent {
				return t, nil
			}
		case now := <-second.C:
			if sending != nil {
				fmt.Fprintf(out, "%s      %s\n", now.Format("15:04:05"), t.second())
			}
		case <-stopped:
			finish()
		case <-over:
			return t, nil
		}
	}
}

// dialPing waits for a route and for the source address.
func dialPing(ctx context.Context, o pingOptions, out io.Writer) (*net.UDPConn, error) {
	var local *net.UDPAddr
	if o.source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.source, 0))
	}
	for said := false; ; said = true {
		conn, err := net.DialUDP("udp6", local, net.UDPAddrFromAddrPort(netip.AddrPortFrom(o.destination, o.port)))
		if err == nil {
			return conn, nil
		}
		if !said {
			fmt.Fprintf(out, "waiting: %v\n", err)
		}
		if pause(ctx, lookAgain); ctx.Err() != nil {
			return nil, err
		}
	}
}

func pingDatagram(sequence int, at time.Duration) []byte {
	b := binary.BigEndian.AppendUint64(nil, pingMagic)
	b = binary.BigEndian.AppendUint64(b, uint64(sequence))
	return binary.BigEndian.AppendUint64(b, uint64(at))
}

// readPings reads answers until the socket is closed. Errors that ICMPv6 brings are passed over: they show as silence.
func readPings(conn *net.UDPConn, start time.Time, answers chan<- answer) {
	b := make([]byte, pingLength+1)
	for {
		n, err := conn.Read(b)
		if _, closed := conn.SyscallConn(); closed != nil {
			return
		}
		if err != nil || n != pingLength || binary.BigEndian.Uint64(b) != pingMagic {
			continue
		}
		at := time.Since(start)
		answers <- answer{sequence: int(binary.BigEndian.Uint64(b[8:])), at: at, roundTrip: at - time.Duration(binary.BigEndian.Uint64(b[16:]))}
	}
}
