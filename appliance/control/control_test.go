package control

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type fakeNode struct {
	trace   *Trace
	status  Status
	removed netip.Addr
	// switched is the last SwitchFlow.
	switched string
}

func (n *fakeNode) Status(context.Context) (Status, error) { return n.status, nil }
func (n *fakeNode) Bindings(context.Context) ([]Binding, error) {
	return []Binding{{Home: netip.MustParsePrefix("2001:db8::1/128"), CareOf: netip.MustParseAddr("2001:db8:1::1"), LifetimeSeconds: 12}}, nil
}
func (n *fakeNode) RemoveBinding(_ context.Context, home netip.Addr) (bool, error) {
	n.removed = home
	return home == netip.MustParseAddr("2001:db8::1"), nil
}
func (n *fakeNode) Trace() *Trace { return n.trace }

func (n *fakeNode) Flows(_ context.Context, limit int) ([]Flow, error) {
	return []Flow{{Number: 7, Class: "fixed"}, {Number: 6}}[:min(limit, 2)], nil
}
func (n *fakeNode) Flow(_ context.Context, number uint64) (Flow, error) {
	if number != 7 {
		return Flow{}, fmt.Errorf("%w: %d", ErrNoFlow, number)
	}
	return Flow{Number: 7, Decision: &Decision{Outcome: "stays"}}, nil
}
func (n *fakeNode) SwitchFlow(_ context.Context, number uint64, mode, uplink string) error {
	n.switched = fmt.Sprintf("%d %s %s", number, mode, uplink)
	return nil
}
func (n *fakeNode) Anchors(context.Context) ([]Anchor, error)  { return nil, ErrNotThisRole }
func (n *fakeNode) Directory(context.Context) ([]Proxy, error) { return []Proxy{{LoadPercent: 3}}, nil }

func (n *fakeNode) MobileNodes(context.Context) ([]AccessMobileNode, error) {
	return []AccessMobileNode{{Identifier: "host1"}}, nil
}
func (n *fakeNode) Sessions(_ context.Context, limit int) ([]MobilitySession, error) {
	return make([]MobilitySession, limit), nil
}
func (n *fakeNode) RemoveSession(_ context.Context, mn string) (bool, error) {
	return mn == "host/1@example.org", nil
}

func TestNetworkBased(t *testing.T) {
	_, c := serve(t)
	if m, err := c.MobileNodes(t.Context()); err != nil || len(m) != 1 || m[0].Identifier != "host1" {
		t.Errorf("mobile nodes %+v, %v", m, err)
	}
	if s, err := c.Sessions(t.Context(), 3); err != nil || len(s) != 3 {
		t.Errorf("sessions %+v, %v", s, err)
	}
	if err := c.RemoveSession(t.Context(), "host/1@example.org"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveSession(t.Context(), "host2"); err == nil || err.Error() != "no session of host2" {
		t.Errorf("a session that is not there: %v", err)
	}
}

func TestFlows(t *testing.T) {
	n, c := serve(t)
	if f, err := c.Flows(t.Context(), 1); err != nil || len(f) != 1 || f[0].Number != 7 {
		t.Errorf("flows %+v, %v", f, err)
	}
	if f, err := c.Flow(t.Context(), 7); err != nil || f.Decision == nil || f.Decision.Outcome != "stays" {
		t.Errorf("flow %+v, %v", f, err)
	}
	if _, err := c.Flow(t.Context(), 8); err == nil || err.Error() != "no such flow: 8" {
		t.Errorf("a flow that is not there: %v", err)
	}
	if err := c.SwitchFlow(t.Context(), 7, "bidirectional-tunnel", "eth1"); err != nil || n.switched != "7 bidirectional-tunnel eth1" {
		t.Errorf("switched %q, %v", n.switched, err)
	}
	if _, err := c.Anchors(t.Context()); err == nil {
		t.Error("anchors of a node that has none")
	}
	if d, err := c.Directory(t.Context()); err != nil || len(d) != 1 || d[0].LoadPercent != 3 {
		t.Errorf("directory %+v, %v", d, err)
	}
}

func serve(t *testing.T) (*fakeNode, *Client) {
	t.Helper()
	n := &fakeNode{trace: NewTrace(4), status: Status{Version: "v1", Healthy: true, Roles: []string{"home-agent"}}}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, n) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n, NewClient(path)
}

func TestStatusAndBindings(t *testing.T) {
	_, c := serve(t)
	s, err := c.Status(t.Context())
	if err != nil || s.Version != "v1" || !s.Healthy {
		t.Errorf("status %+v, %v", s, err)
	}
	b, err := c.Bindings(t.Context())
	if err != nil || len(b) != 1 || b[0].CareOf != netip.MustParseAddr("2001:db8:1::1") {
		t.Errorf("bindings %+v, %v", b, err)
	}
}

func TestRemoveBinding(t *testing.T) {
	n, c := serve(t)
	if err := c.RemoveBinding(t.Context(), netip.MustParseAddr("2001:db8::1")); err != nil || n.removed != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("removed %v, %v", n.removed, err)
	}
	if err := c.RemoveBinding(t.Context(), netip.MustParseAddr("2001:db8::2")); err == nil || err.Error() != "no binding for 2001:db8::2" {
		t.Error(err)
	}
}

func TestEventsPastThenFuture(t *testing.T) {
	n, c := serve(t)
	for range 6 { // two more than are remembered
		n.trace.Add(Event{Kind: "past"})
	}
	var numbers []uint64
	enough := errors.New("enough")
	err := c.Events(t.Context(), true, func(e Event) error {
		numbers = append(numbers, e.Number)
		if len(numbers) == 4 {
			n.trace.Add(Event{Kind: "future", Time: time.Unix(1, 0)})
		}
		if e.Kind == "future" {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || len(numbers) != 5 || numbers[0] != 3 || numbers[4] != 7 {
		t.Errorf("numbers %v, %v; want 3 to 7", numbers, err)
	}
}

func TestSlowFollowerDoesNotHoldTheNode(t *testing.T) {
	trace := NewTrace(1)
	_, future, stop := trace.Follow()
	defer stop()
	for range 2 * followerBacklog {
		trace.Add(Event{})
	}
	if len(future) != followerBacklog {
		t.Errorf("%d events wait, want %d", len(future), followerBacklog)
	}
}

func TestNoNode(t *testing.T) {
	_, err := NewClient(filepath.Join(t.TempDir(), "none")).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no kedge runs behind") {
		t.Error(err)
	}
}

func TestListenRefusesALiveSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another kedge answers") {
		t.Error(err)
	}
}

func TestTraceRemembersTheLatest(t *testing.T) {
	trace := NewTrace(3)
	for range 5 {
		trace.Add(Event{})
	}
	past, _, stop := trace.Follow()
	defer stop()
	if len(past) != 3 || past[0].Number != 3 || past[1].Number != 4 || past[2].Number != 5 {
		t.Errorf("remembered %+v", past)
	}
}
