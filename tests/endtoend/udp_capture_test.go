package endtoend

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// dumped is a capture by Wireshark's tools of what passes an interface, mostly the end of a node's wire in the network's own
// namespace.
type dumped struct {
	t          *testing.T
	node, file string
	cmd        *exec.Cmd
}

// dump begins a capture of a node's wire; without the tools there is none, and what would be read from it is not tested.
func (n *network) dump(node string) *dumped {
	n.t.Helper()
	return n.dumpOf(node, n.root, n.nodes[node].Name+".eth0")
}

// dumpOf captures what passes an interface, for which it has a name of its own.
func (n *network) dumpOf(node string, at *space.Namespace, iface string) *dumped {
	n.t.Helper()
	program, err := exec.LookPath("dumpcap")
	if err != nil {
		n.t.Logf("no capture: %v", err)
		return &dumped{t: n.t}
	}
	d := &dumped{t: n.t, node: node, file: filepath.Join(n.directory, node+".pcapng")}
	d.cmd = exec.Command(program, "-q", "-B", "32", "-i", iface, "-w", d.file)
	d.cmd.Dir = n.directory
	var said bytes.Buffer
	d.cmd.Stderr = &said
	n.must(at.Do(d.cmd.Start))
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
		if !slices.Contains([]string{"eth", "ethertype", "raw", "ip", "ipv6", "ipv6.fraghdr", "udp", "tcp", "data"}, p) {
			return false
		}
	}
	return true
}

// fields ends the capture and has tshark tell some fields of each packet. A field that occurs in several headers has all of their
// values, outermost first, with commas between. Without Wireshark's tools there is none.
func (d *dumped) fields(names ...string) (packets [][]string) {
	d.t.Helper()
	if d.cmd == nil {
		return nil
	}
	_ = d.cmd.Process.Signal(unix.SIGINT)
	cmd := d.cmd
	d.cmd = nil
	await(d.t, "the capture has ended", func() bool { return cmd.Process.Signal(unix.Signal(0)) != nil })
	arguments := []string{"-n", "-r", d.file, "-d", "udp.port==4191,ipv6",
		"-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE",
		"-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE",
		"-T", "fields", "-E", "separator=;"}
	for _, name := range names {
		arguments = append(arguments, "-e", name)
	}
	read := exec.Command("tshark", arguments...)
	var complaints bytes.Buffer
	read.Stderr = &complaints
	text, err := read.Output()
	if err != nil {
		d.t.Skipf("tshark: %v\n%s", err, complaints.String())
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(strings.TrimSuffix(line, "\n"), ";"); len(fields) == len(names) {
			packets = append(packets, fields)
		}
	}
	return packets
}

// checksum tells from the fields tcp.checksum.status, udp.checksum.status and tcp.checksum whether a packet was verified, and
// whether it is good.
func checksum(fields []string) (verified, good bool) {
	statuses := fields[0] + "," + fields[1]
	switch {
	case fields[2] == "0xffff":
		// Where the kernel finishes checksums it writes the other zero, which tshark calls bad (RFC 1624), for TCP too.
		return true, true
	case strings.Contains(statuses, "Bad") || strings.Contains(statuses, "0"):
		return true, false
	}
	good = strings.Contains(statuses, "Good") || strings.Contains(statuses, "1")
	return good, good
}

// finish ends the capture and has tshark check what passed: towards the node, and from it too if both.
func (d *dumped) finish(both bool) {
	d.t.Helper()
	if d.cmd == nil {
		return
	}
	good, bad := 0, 0
	for _, fields := range d.fields("frame.number", "frame.len", "frame.protocols", "ipv6.dst", "tcp.checksum.status", "udp.checksum.status", "tcp.checksum") {
		if !understood(fields[2]) || !both && fields[3] != correspondent.String() {
			continue
		}
		switch verified, ok := checksum(fields[4:]); {
		case ok:
			good++
		case verified:
			if bad++; bad <= 5 {
				d.t.Errorf("bad checksum at %s: %s", d.node, strings.Join(fields, ";"))
			}
		}
	}
	d.t.Logf("%s: checksums of %d packets are good, of %d bad", d.node, good, bad)
	if good < 1000 {
		d.t.Errorf("only %d packets at %s were checked", good, d.node)
	}
}
