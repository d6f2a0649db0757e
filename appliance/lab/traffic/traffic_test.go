package traffic

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
)

// loopback is an endpoint of this machine at a free port.
func loopback(t *testing.T) Endpoint {
	t.Helper()
	here, err := space.Here("here")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(here.Handle.Close)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}); err != nil {
		t.Skip("no IPv6 on this machine: ", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return Endpoint{Node: here, Address: netip.IPv6Loopback(), Port: uint16(name.(*unix.SockaddrInet6).Port)}
}

func open(t *testing.T) *Session {
	t.Helper()
	to := loopback(t)
	s, err := OpenSession(t.Context(), Endpoint{Node: to.Node}, to, 8e6, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until ", what)
		}
	}
}

func TestSession(t *testing.T) {
	s := open(t)
	await(t, "octets arrive", func() bool { return s.Received() > 50_000 })
	o := s.Finish(5 * time.Second)
	if !o.Survived() || !o.Forward.Intact() || !o.Backward.Intact() || o.Forward.Sent < 10_000 {
		t.Errorf("%+v, %+v", o.Opener, o.Acceptor)
	}
	if o.Opener.Local != o.Acceptor.Remote || o.Opener.Remote != o.Acceptor.Local || o.Connect <= 0 {
		t.Errorf("ends %+v, %+v", o.Opener, o.Acceptor)
	}
	for _, w := range []Way{o.Forward, o.Backward} {
		if last := w.Arrivals[len(w.Arrivals)-1]; last.Octets != w.Sent {
			t.Errorf("the last arrival makes %d octets of %d", last.Octets, w.Sent)
		}
		for _, a := range w.Snapshot().Arrivals {
			if a.Received < a.Sent {
				t.Errorf("arrived %d ns before it was written", a.Sent-a.Received)
			}
		}
	}
}

// What is reset says so at the other end, and what had arrived is verified.
func TestSessionReset(t *testing.T) {
	s := open(t)
	await(t, "octets arrive", func() bool { return s.Received() > 50_000 })
	if err := s.ends[1].conn.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	before := time.Now().UnixNano()
	s.ends[1].conn.Close()
	await(t, "both ends know", s.Ended)
	o := s.Finish(5 * time.Second)
	if o.Survived() || o.Opener.Err != unix.ECONNRESET || o.Opener.Closed < before {
		t.Errorf("opener %+v", o.Opener)
	}
	if w := o.Backward; w.Received == 0 || w.Verified != w.Received {
		t.Errorf("%d of %d octets verified", w.Verified, w.Received)
	}
}

// Octets that were changed on the way are found from the first on.
func TestSessionVerifies(t *testing.T) {
	s := open(t)
	await(t, "octets arrive", func() bool { return s.ends[1].received.Load() > 10_000 })
	if _, err := s.ends[0].conn.Write([]byte("foreign octets")); err != nil {
		t.Fatal(err)
	}
	at := s.ends[1].received.Load()
	await(t, "more arrives", func() bool { return s.ends[1].received.Load() > at+10_000 })
	o := s.Finish(5 * time.Second)
	if o.Forward.Intact() || o.Forward.Verified < 10_000 || o.Forward.Verified >= o.Forward.Received {
		t.Errorf("%d of %d octets verified, %d sent", o.Forward.Verified, o.Forward.Received, o.Forward.Sent)
	}
	if !o.Backward.Intact() {
		t.Error("the other way is not intact")
	}
}

// An arrival counts as sent when its last octet was written.
func TestWaySnapshot(t *testing.T) {
	w := Way{
		Writes:   []Mark{{100, 10}, {200, 20}, {300, 30}},
		Arrivals: []Mark{{150, 10}, {350, 25}, {360, 30}},
	}
	want := []Arrival{{0, 100, 150}, {1, 300, 350}, {2, 300, 360}}
	for i, a := range w.Snapshot().Arrivals {
		if a != want[i] {
			t.Errorf("arrival %d is %+v, expected %+v", i, a, want[i])
		}
	}
	if n := len((Way{Arrivals: w.Arrivals}).Snapshot().Arrivals); n != 0 {
		t.Errorf("%d arrivals of nothing written", n)
	}
}

func TestEchoAndExchanges(t *testing.T) {
	to := loopback(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := StartResponder(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	e, err := StartEcho(ctx, Endpoint{Node: to.Node, Address: to.Address}, "", to, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	x := StartExchanges(ctx, Endpoint{Node: to.Node}, to, time.Millisecond)
	await(t, "both are answered", func() bool { return len(e.RoundTrips()) > 5 && len(x.All()) > 5 })
	e.Stop()
	x.Stop()
	for _, trip := range e.RoundTrips() {
		if trip.Seen != to.Address || trip.Took <= 0 {
			t.Errorf("%+v", trip)
		}
	}
	for _, v := range x.All() {
		if v.Err != nil || v.Seen != to.Address || v.Local != to.Address || v.Took <= 0 {
			t.Errorf("%+v", v)
		}
	}
}

func TestExchangeRefused(t *testing.T) {
	to := loopback(t)
	if x := exchange(netip.Addr{}, to, exchangeTime); x.Err != unix.ECONNREFUSED || x.Seen.IsValid() {
		t.Errorf("%+v", x)
	}
}
