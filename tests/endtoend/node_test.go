package endtoend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kedge/appliance/control"
	"kedge/appliance/lab/space"
)

// kedge is a running kedge node, or one that was killed.
type kedge struct {
	t         *testing.T
	name      string
	space     *space.Namespace
	directory string
	client    *control.Client

	cmd  *exec.Cmd
	done chan error
}

// start writes a configuration and runs a node with it in the namespace of the same name, until the test ends. The test
// fails if the node does not end in good order then.
func (n *network) start(name, configuration string) *kedge {
	n.t.Helper()
	k := &kedge{t: n.t, name: name, space: n.nodes[name], directory: filepath.Join(n.directory, name)}
	k.client = control.NewClient(filepath.Join(k.directory, "control.sock"))
	n.write(filepath.Join(name, "kedge.toml"), configuration)
	k.run()
	n.t.Cleanup(func() {
		if k.cmd != nil {
			k.stop()
		}
		if log := k.log(); n.t.Failed() {
			n.t.Logf("log of %s:\n%s", name, tail(log, 8000))
			if events, err := os.ReadFile(filepath.Join(k.directory, "events")); err == nil {
				n.t.Logf("last events of %s:\n%s", name, tail(string(events), 6000))
			}
		}
	})
	return k
}

func tail(s string, length int) string { return s[max(0, len(s)-length):] }

// run starts the program and waits for its control API.
func (k *kedge) run() {
	k.t.Helper()
	log, err := os.OpenFile(filepath.Join(k.directory, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		k.t.Fatal(err)
	}
	defer log.Close()
	k.cmd = exec.Command(os.Getenv(binaryVariable), "run", "--config", filepath.Join(k.directory, "kedge.toml"))
	k.cmd.Dir = "/"
	k.cmd.Stdout, k.cmd.Stderr = log, log
	if err := k.space.Do(k.cmd.Start); err != nil {
		k.t.Fatal(err)
	}
	k.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(k.cmd, k.done)
	await(k.t, k.name+" runs", func() bool {
		select {
		case err := <-k.done:
			k.done <- err
			k.t.Fatalf("%s ended: %v\n%s", k.name, err, tail(k.log(), 4000))
		default:
		}
		_, err := k.client.Status(context.Background())
		return err == nil
	})
}

// kill ends the program as a crash would.
func (k *kedge) kill() {
	k.t.Helper()
	k.alive()
	if err := k.cmd.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	<-k.done
	k.cmd = nil
}

// stop ends the program in good order.
func (k *kedge) stop() {
	k.t.Helper()
	k.saveEvents()
	k.alive()
	_ = k.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-k.done:
		if err != nil {
			k.t.Errorf("%s, told to stop: %v\n%s", k.name, err, tail(k.log(), 4000))
		}
	case <-time.After(patience):
		k.t.Errorf("%s does not stop", k.name)
		_ = k.cmd.Process.Signal(syscall.SIGQUIT)
		<-k.done
	}
	k.cmd = nil
}

// alive fails the test if the program has ended.
func (k *kedge) alive() {
	k.t.Helper()
	select {
	case err := <-k.done:
		k.done <- err
		k.t.Errorf("%s has ended: %v\n%s", k.name, err, tail(k.log(), 4000))
	default:
	}
}

func (k *kedge) log() string {
	b, err := os.ReadFile(filepath.Join(k.directory, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (k *kedge) saveEvents() {
	var b bytes.Buffer
	for _, e := range k.events() {
		if e.Kind != "router-advertisement" {
			fmt.Fprintln(&b, e)
		}
	}
	if s, err := k.client.Status(context.Background()); err == nil {
		maps.DeleteFunc(s.Counters, func(_ string, value uint64) bool { return value == 0 })
		fmt.Fprintln(&b, s.Counters)
	}
	_ = os.WriteFile(filepath.Join(k.directory, "events"), b.Bytes(), 0o600)
}

// status asks the node.
func (k *kedge) status() control.Status {
	k.t.Helper()
	s, err := k.client.Status(context.Background())
	if err != nil {
		k.alive()
		k.t.Fatalf("status of %s: %v", k.name, err)
	}
	return s
}

// events are those that the node remembers.
func (k *kedge) events() (list []control.Event) {
	_ = k.client.Events(context.Background(), false, func(e control.Event) error {
		list = append(list, e)
		return nil
	})
	return list
}

// event waits for an event of a kind with a number greater than after, and returns the first.
func (k *kedge) event(kind string, after uint64) (found control.Event) {
	k.t.Helper()
	await(k.t, k.name+": event "+kind, func() bool {
		k.alive()
		events := k.events()
		i := slices.IndexFunc(events, func(e control.Event) bool { return e.Kind == kind && e.Number > after })
		if i >= 0 {
			found = events[i]
		}
		return i >= 0
	})
	return found
}

// lastEvent is the number of the latest event.
func (k *kedge) lastEvent() uint64 {
	events := k.events()
	if len(events) == 0 {
		return 0
	}
	return events[len(events)-1].Number
}

// state waits until a mobile node is in a state, with a care-of address out of prefix unless that is invalid.
func (k *kedge) state(state string, prefix netip.Prefix) (s control.Status) {
	k.t.Helper()
	await(k.t, fmt.Sprintf("%s is %s in %v", k.name, state, prefix), func() bool {
		s = k.status()
		m := s.MobileNode
		return m.State == state && (!prefix.IsValid() || prefix.Contains(m.CareOf))
	})
	return s
}

// binding is a home agent's for a home address.
func (k *kedge) binding(home netip.Addr) (control.Binding, bool) {
	k.t.Helper()
	list, err := k.client.Bindings(context.Background())
	if err != nil {
		k.t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(b control.Binding) bool { return b.Home == netip.PrefixFrom(home, 128) })
	if i < 0 {
		return control.Binding{}, false
	}
	return list[i], true
}

// counter is a counter of the node's; it must exist.
func (k *kedge) counter(name string) uint64 {
	k.t.Helper()
	s := k.status()
	value, ok := s.Counters[name]
	if !ok {
		k.t.Fatalf("%s has no counter %s", k.name, name)
	}
	return value
}

// counted waits until a counter has grown by at least n above before.
func (k *kedge) counted(name string, before, n uint64) {
	k.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		counters := k.status().Counters
		if counters[name] >= before+n {
			return
		}
		if time.Now().After(end) {
			maps.DeleteFunc(counters, func(_ string, value uint64) bool { return value == 0 })
			k.t.Fatalf("%s: counter %s did not grow from %d by %d: %v", k.name, name, before, n, counters)
		}
	}
}

// resident is the program's resident memory in octets.
func (k *kedge) resident() int {
	k.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", k.cmd.Process.Pid))
	if err != nil {
		k.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); fields[0] == "VmRSS:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				k.t.Fatal(err)
			}
			return n << 10
		}
	}
	k.t.Fatal("no VmRSS")
	return 0
}

// command runs a kedge command and returns its output and exit status.
func command(t *testing.T, arguments ...string) (output string, status int) {
	t.Helper()
	if skipAll != nil {
		t.Skip(skipAll)
	}
	cmd := exec.Command(os.Getenv(binaryVariable), arguments...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
