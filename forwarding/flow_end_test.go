package forwarding

import (
	"encoding/binary"
	"testing"
	"time"

	"kedge/forwarding/flow"
)

// connection has a program's connection from h1, translated to d1, exchange data: the host expects 601 next and the
// correspondent 151.
func connection(t *testing.T, w *Worker, to, proxy string) {
	t.Helper()
	address := addr(to)
	for i, b := range [][]byte{
		out(4000, 100, 0, syn, 0),
		in(address, 4000, 500, 101, synAck, 0),
		out(4000, 101, 501, ack, 50),
		in(address, 4000, 501, 151, ack, 100),
		in(address, 4000, 701, 151, ack, 100), // behind a gap
	} {
		if i == 0 || i == 2 {
			inner(t, one(t, process(w, tunPort, b), ethPort), addr(proxy))
		} else {
			one(t, process(w, ethPort, tunnelled(0, addr(proxy), c1, b)), tunPort)
		}
	}
}

func wantReset(t *testing.T, b []byte, source, destination string, ports uint32, sequence uint32) {
	t.Helper()
	verified(t, b)
	if b[6] != 6 || addrAt(b, 8) != addr(source) || addrAt(b, 24) != addr(destination) || binary.BigEndian.Uint32(b[40:]) != ports ||
		b[53]&(rst|syn|fin) != rst || binary.BigEndian.Uint32(b[44:]) != sequence || len(b) != 60 {
		t.Errorf("%x is not a reset %v -> %v with %d", b, source, destination, sequence)
	}
}

const out4000, in4000 = 4000<<16 | 80, 80<<16 | 4000

func TestTerminateTCP(t *testing.T) {
	for _, c := range []struct{ name, address, proxy string }{
		{"translated", d1.String(), dhp1.String()}, {"home address", h1.String(), ha.String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, w := flowNode(t, flow.Config{})
			must(t, e.SetChoice(testProfile, all, addr(c.address), 1))
			connection(t, w, c.address, c.proxy)
			number := onlyFlow(t, e).Number
			r := w.Terminate(start, number)
			host, eth := sent(r, tunPort), sent(r, ethPort)
			if len(host) != 1 || len(eth) != 1 {
				t.Fatalf("%d to the host, %d to the correspondent", len(host), len(eth))
			}
			wantReset(t, host[0], cn.String(), h1.String(), in4000, 601)
			wantReset(t, inner(t, eth[0], addr(c.proxy)), c.address, cn.String(), out4000, 151)
			if e.Flows().Uses(addr(c.address)) != 0 {
				t.Error("the address is still in use")
			}

			// Challenge ACKs are answered with what they acknowledge (RFC 5961 section 3.2).
			back := one(t, process(w, tunPort, out(4000, 151, 801, ack, 0)), tunPort)
			wantReset(t, back, cn.String(), h1.String(), in4000, 801)
			back = one(t, process(w, ethPort, tunnelled(0, addr(c.proxy), c1, in(addr(c.address), 4000, 801, 131, ack, 0))), ethPort)
			wantReset(t, inner(t, back, addr(c.proxy)), c.address, cn.String(), out4000, 131)
			// Resets are not, nor is anything else let through.
			if r := process(w, tunPort, out(4000, 151, 0, rst, 0)); len(r.Outputs) > 0 {
				t.Errorf("got %+v", r)
			}
			wantCount(t, e, DropTerminated, 3)
		})
	}
}

func TestTerminateHeld(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	process(w, tunPort, out(4000, 100, 0, syn, 0))
	r := w.Terminate(start, onlyFlow(t, e).Number)
	// Nobody but the program has heard of it; it takes the reset for its SYN's acknowledgement.
	b := one(t, r, tunPort)
	wantReset(t, b, cn.String(), h1.String(), in4000, 0)
	if binary.BigEndian.Uint32(b[48:]) != 101 || b[53]&ack == 0 {
		t.Errorf("acknowledges %d", binary.BigEndian.Uint32(b[48:]))
	}
	if e.Flows().HeldOctets() != 0 {
		t.Error("its SYN still waits")
	}
	if r := w.Release(start, onlyFlow(t, e).Number, d1, 1); r.More || len(r.Outputs) > 0 {
		t.Error("released after its end")
	}
}

func TestTerminateUDP(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	process(w, tunPort, udp(h1, cn, 10))
	r := w.Terminate(start, onlyFlow(t, e).Number)
	b := one(t, r, tunPort)
	wantICMP(t, b, c1, h1, 1, 4)
	if quoted := b[48:]; addrAt(quoted, 8) != h1 || addrAt(quoted, 24) != cn || binary.BigEndian.Uint32(quoted[40:]) != 4000<<16|5000 {
		t.Errorf("about %x", quoted)
	}
	wantICMP(t, one(t, process(w, tunPort, udp(h1, cn, 10)), tunPort), c1, h1, 1, 4)
	wantCount(t, e, DropTerminated, 1)
	process(w, ethPort, tunnelled(0, dhp1, c1, answer(udp(cn, d1, 10))))
	wantCount(t, e, DropTerminated, 2)
	if w.Terminate(start, onlyFlow(t, e).Number); e.Flows().Len() != 1 {
		t.Error("twice")
	}
	// A minute later the program may try again, as a new flow.
	e.SweepFlows(start.Add(61*time.Second), e.Flows().Buckets())
	inner(t, one(t, at(w, 61*time.Second, tunPort, udp(h1, cn, 10)), ethPort), dhp1)
}

func TestNewConnectionAfterTermination(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	process(w, tunPort, out(4000, 100, 0, syn, 0))
	w.Terminate(start, onlyFlow(t, e).Number)
	must(t, e.SetChoice(testProfile, all, h1, 2))
	inner(t, one(t, process(w, tunPort, out(4000, 900, 0, syn, 0)), ethPort), ha)
	if s := onlyFlow(t, e); s.Decision != 2 || s.State != flow.InUse {
		t.Errorf("%+v", s)
	}
}

// The binding may be gone when the flow ends: then nothing leaves.
func TestTerminateWithoutBinding(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	connection(t, w, d1.String(), dhp1.String())
	number := onlyFlow(t, e).Number
	must(t, e.BindMobile(host(d1), Tunnel{Down: true}))
	if r := w.Terminate(start, number); len(sent(r, tunPort)) != 1 || len(sent(r, ethPort)) != 0 {
		t.Errorf("%+v", r)
	}
}

func TestTerminateMatching(t *testing.T) {
	e, w := flowNode(t, flow.Config{})
	must(t, e.SetChoice(testProfile, all, d1, 1))
	for port := range uint16(20) {
		process(w, tunPort, out(port, 100, 0, syn, 0))
	}
	must(t, e.SetChoice(testProfile, all, h1, 1))
	process(w, tunPort, out(100, 100, 0, syn, 0))
	if n := e.MatchingFlows(d1, testProfile+1, nil); n != nil {
		t.Errorf("%d of another profile", len(n))
	}
	numbers := e.MatchingFlows(d1, testProfile, nil)
	if len(numbers) != 20 {
		t.Fatalf("%d flows", len(numbers))
	}
	for _, n := range numbers {
		w.Terminate(start, n)
	}
	if e.Flows().Uses(d1) != 0 || e.Flows().Uses(h1) != 1 || len(e.MatchingFlows(d1, -1, nil)) != 0 {
		t.Errorf("%d, %d", e.Flows().Uses(d1), e.Flows().Uses(h1))
	}
}
