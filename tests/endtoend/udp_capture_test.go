package endtoend

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dumped is a capture by Wireshark's tools of what passes the end of a node's wire in the network's own namespace.
type dumped struct {
	t          *testing.T
	node, file string
	cmd        *exec.Cmd
}

// dump begins a capture; without the tools there is none, and what would be read from it is not tested.
func (n *network) dump(node string) *dumped {
	n.t.Helper()
	program, err := exec.LookPath("dumpcap")
	if err != nil {
		n.t.Logf("no capture: %v", err)
		return &dumped{t: n.t}
	}
	d := &dumped{t: n.t, node: node, file: filepath.Join(n.directory, node+".pcapng")}
	d.cmd = exec.Command(program, "-q", "-B", "32", "-i", n.nodes[node].Name+".eth0", "-w", d.file)
	d.cmd.Dir = n.directory
	var said bytes.Buffer
	d.cmd.Stderr = &said
	n.must(n.root.Do(d.cmd.Start))
	ended := make(chan error, 1)
	cmd := d.cmd
	go func() { ended <- cmd.Wait() }()
	n.t.Cleanup(func() {
		if d.cmd != nil {
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	await(n.t, "the capture has begun", func() bool {
		select {
		case err := <-ended:
			ended <- err
			n.t.Fatalf("dumpcap: %v\n%s", err, said.String())
		default:
		}
		s, err := os.Stat(d.file)
		return err == nil && s.Size() > 0
	})
	return d
}

// understood says that nothing in a packet is what it is not: ICMPv6 errors hold only the beginnings of packets, and random
// octets look like many a protocol.
func understood(protocols string) bool {
	for p := range strings.SplitSeq(protocols, ":") {
		if !slices.Contains([]string{"eth", "ethertype", "ip", "ipv6", "ipv6.fraghdr", "udp", "tcp", "data"}, p) {
			return false
		}
	}
	return true
}

// finish ends the capture and has tshark check what passed: towards the node, and from it too if both.
func (d *dumped) finish(both bool) {
	d.t.Helper()
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Signal(unix.SIGINT)
	cmd := d.cmd
	d.cmd = nil
	await(d.t, "the capture has ended", func() bool { return cmd.Process.Signal(unix.Signal(0)) != nil })
	read := exec.Command("tshark", "-n", "-r", d.file, "-d", "udp.port==4191,ipv6",
		"-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE",
		"-T", "fields", "-E", "separator=;", "-e", "frame.number", "-e", "frame.len", "-e", "frame.protocols", "-e", "ipv6.dst", "-e", "tcp.checksum.status", "-e", "udp.checksum.status", "-e", "tcp.checksum")
	var complaints bytes.Buffer
	read.Stderr = &complaints
	text, err := read.Output()
	if err != nil {
		d.t.Skipf("tshark: %v\n%s", err, complaints.String())
	}
	good, bad := 0, 0
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		fields := strings.Split(s.Text(), ";")
		if len(fields) != 7 || !understood(fields[2]) || !both && fields[3] != correspondent.String() {
			continue
		}
		statuses := fields[4] + "," + fields[5]
		switch {
		case fields[6] == "0xffff":
			// Where the kernel finishes checksums it writes the other zero, which tshark calls bad (RFC 1624), for TCP too.
			good++
		case strings.Contains(statuses, "Bad") || strings.Contains(statuses, "0"):
			if bad++; bad <= 5 {
				d.t.Errorf("bad checksum at %s: %s", d.node, s.Text())
			}
		case strings.Contains(statuses, "Good") || strings.Contains(statuses, "1"):
			good++
		}
	}
	d.t.Logf("%s: checksums of %d packets are good, of %d bad", d.node, good, bad)
	if good < 1000 {
		d.t.Errorf("only %d packets at %s were checked", good, d.node)
	}
}
