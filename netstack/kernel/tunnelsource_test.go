package kernel

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func tunnelSource(t *testing.T) netip.Addr {
	t.Helper()
	source, err := TunnelSource()
	if errors.Is(err, ErrNoSegmentRouting) || errors.Is(err, os.ErrPermission) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// However often the source changes, undoing goes back to what was there before kedge, and leaves a stranger's alone.
func TestTunnelSource(t *testing.T) {
	inNamespace(t)
	if source := tunnelSource(t); source != netip.IPv6Unspecified() {
		t.Fatalf("a new namespace has %s", source)
	}
	theirs, first, second := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::3")
	if err := errors.Join(setTunnelSource(theirs), CheckTunnelSource()); err != nil {
		t.Fatal(err)
	}
	if source := tunnelSource(t); source != theirs {
		t.Fatalf("source %s after the check", source)
	}
	path := filepath.Join(t.TempDir(), "journal")
	for _, undo := range []func(*Journal, *Change) error{
		func(_ *Journal, c *Change) error { return c.Undo() },
		func(j *Journal, _ *Change) error { return j.Restore() },
		func(j *Journal, _ *Change) error { // another process does
			j.Close()
			j, err := Open(path)
			if err != nil {
				return err
			}
			return errors.Join(j.Restore(), j.Close())
		},
	} {
		j, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		var last *Change
		for _, a := range []netip.Addr{first, second, first} {
			if last, err = j.SetTunnelSource(a); err != nil || last == nil || tunnelSource(t) != a {
				t.Fatalf("set %s: %v, %v", a, last, err)
			}
			if pending := j.Pending(); len(pending) != 1 {
				t.Errorf("pending: %v", pending)
			}
		}
		if c, err := j.SetTunnelSource(first); c != nil || err != nil {
			t.Errorf("set again: %v, %v", c, err)
		}
		if err := undo(j, last); err != nil {
			t.Fatal(err)
		}
		if source := tunnelSource(t); source != theirs {
			t.Errorf("back to %s, want %s", source, theirs)
		}
		j.Close()
	}
	j := openJournal(t)
	c, err := j.SetTunnelSource(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(setTunnelSource(second), c.Undo()); err != nil {
		t.Fatal(err)
	}
	if source := tunnelSource(t); source != second {
		t.Errorf("a stranger's became %s", source)
	}
}

func TestRouteByGateway(t *testing.T) {
	inNamespace(t)
	up(t, device(t, "kg-gw"))
	up(t, device(t, "kg-tun"))
	j := openJournal(t)
	// What the main table says of the gateway is of no account.
	if _, err := j.AddRoute(Route{Table: mainTable, Prefix: netip.MustParsePrefix("2001:db8:9::/64"), Interface: "kg-tun"}); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	for _, gateway := range []string{"fe80::1", "2001:db8:9::1"} {
		var changes Changes
		routes := []Route{{Prefix: netip.MustParsePrefix("::/0"), Gateway: netip.MustParseAddr(gateway)}}
		if g := routes[0].Gateway; !g.IsLinkLocalUnicast() {
			routes = append([]Route{{Prefix: netip.PrefixFrom(g, 128)}}, routes...)
		}
		for _, r := range routes {
			r.Table, r.Interface = 10799, "kg-gw"
			c, err := j.AddRoute(r)
			if err != nil {
				t.Fatal(err)
			}
			changes = append(changes, c)
		}
		if state(t) == before {
			t.Error("no route")
		}
		if err := changes.Undo(); err != nil {
			t.Fatal(err)
		}
		if after := state(t); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}
}
