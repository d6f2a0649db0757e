// Package interoperability holds tests against programs of others.
package interoperability

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"kedge/signaling/discovery"
	"kedge/signaling/mh"
)

var (
	home   = netip.MustParseAddr("2001:db8:1::10")
	careOf = netip.MustParseAddr("2001:db8:2::20")
	agent  = netip.MustParseAddr("2001:db8:1::1")
	prefix = netip.MustParsePrefix("2001:db8:1:2::/64")
	twelve = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
)

// fields are values as tshark shows them, by field name, in packet order.
type fields map[string][]string

// TestMobilityHeader has tshark read one of every message and option and compares what it sees, field by field. What
// tshark 4.0 decodes wrongly, or not at all, is not compared; the cases say what that is.
func TestMobilityHeader(t *testing.T) {
	cases := slices.Concat(messages, options, discoveries)
	packets := make([][]byte, len(cases))
	for i, c := range cases {
		packets[i] = c.packet(t)
	}
	decoded := tshark(t, packets)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := fields{}
			for name := range c.want {
				got[name] = decoded[i][name]
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("tshark reads %x otherwise (-want +got):\n%s", packets[i], d)
			}
			for _, defect := range []string{"_ws.malformed", "mip6.bogus_header_length", "mip6.opt.len.invalid"} {
				if decoded[i][defect] != nil {
					t.Errorf("tshark sees %s in %x", defect, packets[i])
				}
			}
			for _, m := range decoded[i]["_ws.expert.message"] {
				if m != "IE data not dissected yet" {
					t.Errorf("tshark says of %x: %s", packets[i], m)
				}
			}
		})
	}
}

type testCase struct {
	name string
	// message is a mh.Message or a discovery.Message.
	message any
	// homeAddressOption and type2Routing put home there.
	homeAddressOption, type2Routing bool
	want                            fields
}

// packet is the IPv6 packet that carries the message, from careOf to agent.
func (c testCase) packet(t *testing.T) []byte {
	t.Helper()
	src, dst := careOf, agent
	var upper []byte
	var next uint8
	var err error
	if c.type2Routing {
		src, dst = agent, careOf
	}
	checkSrc, checkDst := src, dst
	if c.homeAddressOption {
		checkSrc = home
	}
	if c.type2Routing {
		checkDst = home
	}
	switch m := c.message.(type) {
	case mh.Message:
		next = mh.Protocol
		if upper, err = mh.Append(nil, m); err == nil {
			mh.SetChecksum(upper, checkSrc, checkDst)
		}
	case discovery.Message:
		next = discovery.Protocol
		if upper, err = discovery.Append(nil, m); err == nil {
			discovery.SetChecksum(upper, checkSrc, checkDst)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if c.homeAddressOption {
		upper = append(mh.AppendHomeAddressOption(nil, next, home), upper...)
		next = mh.ProtocolDestinationOptions
	}
	if c.type2Routing {
		upper = append(mh.AppendType2Routing(nil, next, home), upper...)
		next = mh.ProtocolRouting
	}
	b := []byte{0x60, 0, 0, 0, byte(len(upper) >> 8), byte(len(upper)), next, 64}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	return append(b, upper...)
}

// tshark decodes packets, each to its fields.
func tshark(t *testing.T, packets [][]byte) []fields {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is not installed, and CI=true says that it has to be")
		}
		t.Skip("tshark is not installed")
	}
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	for i, p := range packets {
		info := gopacket.CaptureInfo{Timestamp: time.Unix(int64(i), 0), CaptureLength: len(p), Length: len(p)}
		if err := w.WritePacket(info, p); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "messages.pcap")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-n", "-r", file, "-T", "pdml")
	// No user's preferences, and times in UTC.
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TZ=UTC", "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.Bytes())
	}
	all, err := readPDML(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(packets) {
		t.Fatalf("tshark read %d packets of %d", len(all), len(packets))
	}
	return all
}

// readPDML collects the fields of each packet of tshark's XML output.
func readPDML(b []byte) ([]fields, error) {
	var all []fields
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.Token()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("pdml: %w", err)
		}
		e, is := token.(xml.StartElement)
		if !is {
			continue
		}
		attribute := func(name string) string {
			i := slices.IndexFunc(e.Attr, func(a xml.Attr) bool { return a.Name.Local == name })
			if i < 0 {
				return ""
			}
			return e.Attr[i].Value
		}
		switch e.Name.Local {
		case "packet":
			all = append(all, fields{})
		case "field", "proto":
			f, name := all[len(all)-1], attribute("name")
			f[name] = append(f[name], attribute("show"))
		}
	}
}
