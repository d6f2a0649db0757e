package capture

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestPcapngBytes(t *testing.T) {
	var b bytes.Buffer
	p := newPcapng(&b)
	b.Reset()
	n := p.addInterface("eth0", linkTypeEthernet, 256)
	p.packet(n, 0x0102030405060708, []byte{0xaa, 0xbb, 0xcc}, 60)
	want := []byte{
		1, 0, 0, 0, 44, 0, 0, 0, // interface description block, 44 octets
		1, 0, 0, 0, 0, 1, 0, 0, // Ethernet, snap length 256
		2, 0, 4, 0, 'e', 't', 'h', '0',
		9, 0, 1, 0, 9, 0, 0, 0, // time stamps in 10^-9 s
		0, 0, 0, 0,
		44, 0, 0, 0,
		6, 0, 0, 0, 36, 0, 0, 0, // enhanced packet block, 36 octets
		0, 0, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5,
		3, 0, 0, 0, 60, 0, 0, 0, // 3 of 60 octets
		0xaa, 0xbb, 0xcc, 0,
		36, 0, 0, 0,
	}
	// The option that ends the list is 4 octets.
	want[4] = byte(bytes.Index(want, []byte{6, 0, 0, 0, 36}))
	want[want[4]-4] = want[4]
	if got := b.Bytes(); !bytes.Equal(got, want) {
		t.Errorf("wrote\n% x, expected\n% x", got, want)
	}
	if p.written != int64(48+len(want)) && p.written <= int64(len(want)) {
		t.Errorf("counts %d octets", p.written)
	}
}

func TestPcapngIsReadable(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("no tshark")
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	p := newPcapng(f)
	first := p.addInterface("eth0", linkTypeEthernet, 256)
	p.packet(first, 1_700_000_000_123_456_789, make([]byte, 60), 60)
	second := p.addInterface("kedge0", linkTypeRaw, 256)
	p.packet(second, 1_700_000_001_000_000_001, append([]byte{0x60}, make([]byte, 39)...), 1500)
	if err := errors.Join(p.err, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tshark, "-r", path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.time_epoch").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "eth0\t60\t60\t") || !strings.HasPrefix(lines[1], "kedge0\t1500\t40\t") {
		t.Errorf("tshark reads %q", lines)
	}
	if len(lines) == 2 && !strings.Contains(lines[0], ".123456789") {
		t.Errorf("tshark reads the time as %q", lines[0])
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestPcapngKeepsTheFirstError(t *testing.T) {
	p := newPcapng(fullDisk{})
	p.packet(0, 1, []byte{1}, 1)
	if p.err == nil || p.err.Error() != "disk full" {
		t.Errorf("error %v", p.err)
	}
}
