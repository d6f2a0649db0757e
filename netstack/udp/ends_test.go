package udp

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kedge/netstack"
	"kedge/netstack/packet"
	"kedge/netstack/tun"
)

// endVariable makes the test program one end of a tunnel instead: "TUN device,address to listen at,peer[,CPU profile]".
const endVariable = "KEDGE_UDP_END"

func TestMain(m *testing.M) {
	if end := os.Getenv(endVariable); end != "" {
		if err := runEnd(strings.Split(end, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runEnd forwards between a TUN device and a peer until the process is told to stop. It stands for the engine.
func runEnd(end []string) error {
	device, err := tun.Open(end[0], 1500, tun.Offload{TCP: true, UDP: true})
	if err != nil {
		return err
	}
	device.KeepSuperPackets()
	link, err := Open(Config{Listen: netip.MustParseAddrPort(end[1]), Segment: true, Coalesce: true})
	if err != nil {
		return err
	}
	if len(end) > 3 {
		f, err := os.Create(end[3])
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	peer := netip.MustParseAddrPort(end[2])
	go pump(device, link, peer)
	go pump(link, device, peer)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	<-stop
	fmt.Fprintf(os.Stderr, "%+v %+v\n", device.Counters(), link.Counters())
	return nil
}

// pump carries packets from one link to another until one is closed.
func pump(from, to netstack.Link, peer netip.AddrPort) {
	pkts := packet.NewBatch(64, packet.MaxLength)
	for {
		n, err := from.Read(pkts)
		if err != nil {
			return
		}
		for _, p := range pkts[:n] {
			p.Peer = peer
		}
		if _, err := to.Write(pkts[:n]); err != nil {
			return
		}
	}
}
