package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"kedge/appliance/lab/advertise"
)

// startEcho serves echo on a free port of the loopback interface.
func startEcho(t *testing.T) (port uint16) {
	t.Helper()
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 here: %v", err)
	} else {
		port = uint16(c.LocalAddr().(*net.UDPAddr).Port)
		c.Close()
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serveEcho(ctx, port, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("echo: %v", err)
		}
	})
	for {
		c, err := net.Dial("tcp6", net.JoinHostPort("::1", strconv.Itoa(int(port))))
		if err == nil {
			c.Close()
			return port
		}
		select {
		case err := <-done:
			done <- nil
			t.Fatalf("echo: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestPingAndEcho(t *testing.T) {
	port := startEcho(t)
	root, out := newRoot(), new(bytes.Buffer)
	root.SetOut(out)
	root.SetArgs([]string{"ping", "--json", "--count", "20", "--interval", "1ms", "--port", strconv.Itoa(int(port)), "::1"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	var s pingSummary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Sent != 20 || s.Answered != 20 || s.UnansweredAtEnd != 0 || s.Min <= 0 || s.Min > s.Median || s.Median > s.Max {
		t.Errorf("%+v", s)
	}
}

func TestTCPEcho(t *testing.T) {
	c, err := net.Dial("tcp6", net.JoinHostPort("::1", strconv.Itoa(int(startEcho(t)))))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := strings.Repeat("kedge", 100_000)
	go func() {
		io.WriteString(c, want)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != want {
		t.Errorf("%d of %d octets came back: %v", len(got), len(want), err)
	}
}

// Nothing answers: datagrams count as lost, and the command fails.
func TestPingWithoutAnswer(t *testing.T) {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer c.Close()
	root, out := newRoot(), new(bytes.Buffer)
	root.SetOut(out)
	root.SetArgs([]string{"ping", "-n", "3", "-i", "1ms", "-p", strconv.Itoa(c.LocalAddr().(*net.UDPAddr).Port), "::1"})
	if err := root.Execute(); err != errSaid {
		t.Errorf("error %v", err)
	}
	if !strings.HasSuffix(out.String(), "3 sent, 0 answered; the last 3 not answered\n") {
		t.Error(out.String())
	}
}

func TestTally(t *testing.T) {
	y := newTally(30 * time.Millisecond)
	at := func(sequence, ms int) answer {
		return answer{sequence: sequence, at: time.Duration(ms) * time.Millisecond, roundTrip: time.Duration(sequence+1) * time.Millisecond}
	}
	for range 10 {
		y.send(nil)
	}
	y.send(errors.New("network is unreachable"))
	for _, step := range []struct {
		answer answer
		want   gap
	}{
		{answer: at(0, 1000)}, // the first ends no gap, however late
		{answer: at(1, 1010)},
		{answer: at(2, 1039)},
		{answer: at(7, 1110), want: gap{SilentMilliseconds: 71, Lost: 4}},
		{answer: at(5, 1200)}, // overtaken
		{answer: at(8, 1140), want: gap{SilentMilliseconds: 30}},
	} {
		got, ended := y.answered(step.answer)
		if got != step.want || ended != (step.want != gap{}) {
			t.Errorf("answer %+v: gap %+v, %v", step.answer, got, ended)
		}
	}
	if got, want := y.second(), "11 sent, 6 answered, round trip 1.00/6.00/9.00 ms (network is unreachable)"; got != want {
		t.Errorf("second: %q, want %q", got, want)
	}
	if got, want := y.second(), "0 sent, 0 answered"; got != want {
		t.Errorf("second: %q, want %q", got, want)
	}
	if got, want := y.summary().String(), "11 sent, 6 answered, round trip 1.00/6.00/9.00 ms (min/median/max); silent gaps: 2, the longest 71ms; the last 2 not answered"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
}

func TestTallyForgets(t *testing.T) {
	y := newTally(time.Second)
	for i := range longestMemory + 1 {
		y.answered(answer{sequence: i, at: time.Duration(i), roundTrip: time.Duration(i)})
		y.roundTrips = y.roundTrips[:0]
	}
	if len(y.all) != longestMemory/2+1 || y.all[0] != longestMemory/2 {
		t.Errorf("%d round trips, from %v", len(y.all), y.all[0])
	}
}

func TestAdvertiserArguments(t *testing.T) {
	a, err := parseAdvertiser("auto=2001:db8:1::7/64,2001:db8:2::/56", advertise.Router{})
	if err != nil || a.name != automatic || len(a.router.Prefixes) != 2 || a.router.Prefixes[0] != netip.MustParsePrefix("2001:db8:1::/64") {
		t.Errorf("%+v, %v", a, err)
	}
	for _, bad := range []string{"", "eth0", "=2001:db8::/64", "eth0=", "eth0=2001:db8::", "eth0=10.0.0.0/8", "eth0=fe80::/64", "eth0=ff02::/16", "eth0=2001:db8::/64,"} {
		if _, err := parseAdvertiser(bad, advertise.Router{}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestAdvertiserFindsInterface(t *testing.T) {
	for _, name := range []string{"lo", automatic} {
		a := &advertiser{name: name, router: advertise.Router{Prefixes: []netip.Prefix{netip.MustParsePrefix("::1/128")}}}
		if i, found := a.find(); !found || i.Flags&net.FlagLoopback == 0 {
			t.Errorf("%s: found %+v, %v", name, i, found)
		}
	}
	for _, a := range []advertiser{
		{name: "kedge-absent"},
		{name: automatic, router: advertise.Router{Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:dead::/64")}}},
	} {
		if i, found := a.find(); found {
			t.Errorf("%s: found %+v", a.name, i)
		}
	}
}

// What is wrong with arguments is said before anything is done.
func TestNetworkCommandErrors(t *testing.T) {
	for arguments, want := range map[string]string{
		"advertise":                          "requires at least 1 arg",
		"advertise --policy slow lo=::/64":   "expected fast or rfc4861",
		"advertise --lifetime 3h lo=::/64":   "expected 0s to 2h30m",
		"advertise --preferred 48h lo=::/64": "expected 0s to the valid lifetime",
		"echo --route 2001:db8::/32":         "expected PREFIX=ROUTER",
		"echo --route 10.0.0.0/8=10.0.0.1":   "expected PREFIX=ROUTER",
		"ping 192.0.2.1":                     "expected an IPv6 address",
		"ping --source x ::1":                "--source: expected an IPv6 address",
		"ping --interval 1us ::1":            "at least 1ms",
	} {
		root := newRoot()
		root.SetArgs(strings.Fields(arguments))
		if err := root.Execute(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", arguments, err, want)
		}
	}
}
