package endtoend

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// queue has what a node sends by eth0 pass a token bucket filter (tc-tbf(8)) with parameters, or none again.
func (n *network) queue(node string, parameters ...string) {
	n.t.Helper()
	arguments := append([]string{"qdisc", "replace", "dev", "eth0", "root", "tbf"}, parameters...)
	if parameters == nil {
		arguments = []string{"qdisc", "del", "dev", "eth0", "root"}
	}
	if err := n.nodes[node].Do(func() error {
		out, err := exec.Command("tc", arguments...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("tc %v: %w: %s", arguments, err, out)
		}
		return nil
	}); err != nil {
		n.t.Skip(err)
	}
}

// flood sends numbered datagrams as fast as they go, each of which comes once and in order, or not at all.
type flood struct {
	t        *testing.T
	from, to socket
	sent     uint64
	received atomic.Uint64
	last     atomic.Uint64
}

func newFlood(n *network) *flood {
	f := &flood{t: n.t, from: udpSocket(n.t, n.nodes["mn"], home), to: udpSocket(n.t, n.nodes["cn"], correspondent)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for {
			length, err := f.to.Read(b)
			if err != nil {
				return
			}
			number := binary.BigEndian.Uint64(b)
			if length != floodLength || number <= f.last.Load() {
				f.t.Errorf("number %d, of %d octets, came after %d", number, length, f.last.Load())
				return
			}
			f.last.Store(number)
			f.received.Add(1)
		}
	}()
	n.t.Cleanup(func() {
		f.to.Close()
		<-done
	})
	return f
}

const floodLength = 1000

// send sends one more. What the kernel of the program drops is lost like others.
func (f *flood) send() {
	b := make([]byte, floodLength)
	f.sent++
	binary.BigEndian.PutUint64(b, f.sent)
	_, _ = f.from.WriteToUDPAddrPort(b, f.to.address())
}

// arrives waits until something arrives that is sent now.
func (f *flood) arrives(when string) {
	f.t.Helper()
	before := f.sent
	await(f.t, "datagrams arrive "+when, func() bool {
		f.send()
		return f.last.Load() > before
	})
}

// descriptors are a program's open ones.
func (k *kedge) descriptors() int {
	k.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", k.cmd.Process.Pid))
	if err != nil {
		k.t.Fatal(err)
	}
	return len(list)
}

// processorTime is what a program has used (proc_pid_stat(5)), to within 10 ms.
func (k *kedge) processorTime() time.Duration {
	k.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", k.cmd.Process.Pid))
	if err != nil {
		k.t.Fatal(err)
	}
	// The second field is a name in parentheses.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			k.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// The uplink is slower than what programs send: first its queue is full (ENOBUFS), then the socket's buffer before it (EAGAIN).
// What is lost is counted, what comes is in order, the processor is not kept busy by waiting, and all goes on when there is
// room.
func TestUplinkFull(t *testing.T) {
	for _, c := range []struct {
		name, off string
		prefix    netip.Prefix
	}{
		{"IPv4", "", access1IPv4},
		{"IPv6", "", access1Prefix},
		{"IPv6 without offloads", "[udp]\nsegmentation_offload = false\nreceive_offload = false\n", access1Prefix},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newDatagramNetwork(t)
			n.datagramAgent(datagramAgent{})
			n.datagramHost("mn", 1, c.prefix)
			mn := n.datagramNode("mn", datagramNode{sections: c.off})
			mn.reaches("udp", c.prefix)
			s := connect(t, n.nodes["mn"], home, n.nodes["cn"], correspondent)
			s.slow()
			f := newFlood(n)
			f.arrives("at first")
			const counter = "link-udp-eth0-no-buffers"
			if lost := mn.counter(counter); lost != 0 {
				t.Errorf("%d packets were lost at first", lost)
			}
			open := mn.descriptors()

			n.queue("mn", "rate", "20mbit", "burst", "70000", "limit", "140000")
			f.until(mn, counter, 100)
			queued := f.received.Load()
			f.arrives("after the queue was full")
			if queued == 0 {
				t.Error("nothing arrived while the queue was full")
			}
			s.progress("after the queue was full")

			n.queue("mn", "rate", "8kbit", "burst", "70000", "limit", "1000000000")
			f.until(mn, counter, 100)
			// A thousand a second find the buffer full.
			began, used := time.Now(), mn.processorTime()
			for time.Since(began) < time.Second {
				f.send()
				time.Sleep(time.Millisecond)
			}
			took, used := time.Since(began), mn.processorTime()-used
			t.Logf("%v of the processor in %v with a full buffer", used, took)
			if used > took/2 {
				t.Errorf("%v of the processor in %v with a full buffer", used, took)
			}
			n.queue("mn")
			f.arrives("with room again")
			s.progress("with room again")
			lost := mn.counter(counter)
			s.finish()
			if now := mn.counter(counter); now != lost {
				t.Errorf("%d more packets were lost with room again", now-lost)
			}
			// One that asked for counters may not be gone yet.
			await(t, fmt.Sprintf("no more than %d descriptors are open", open), func() bool { return mn.descriptors() <= open })
			t.Logf("%d of %d datagrams came, %d packets were lost", f.received.Load(), f.sent, lost)
		})
	}
}

// until floods until a counter has grown by more.
func (f *flood) until(k *kedge, counter string, more uint64) {
	f.t.Helper()
	before := k.counter(counter)
	await(f.t, counter+" grows", func() bool {
		for range 1000 {
			f.send()
		}
		return k.counter(counter) >= before+more
	})
}
