package homeagent

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"kedge/signaling"
	"kedge/signaling/binding"
	"kedge/signaling/mh"
)

func assignment(home netip.Addr) Assignment {
	return Assignment{
		Home: home, CareOf: careOf1, Owner: "lessee", Networks: []netip.Prefix{network1}, Sequence: 5,
		Timestamp: mh.NTPTimeOf(noon), Lifetime: time.Minute,
	}
}

func TestAssignBindsAsAnUpdateWould(t *testing.T) {
	w := start(t)
	home := netip.MustParseAddr("2001:db8:1::55")
	e, err := w.m.Assign(noon, assignment(home))
	want := []signaling.Bind{{Home: host(home), Local: agent, Remote: careOf1}, {Home: network1, Local: agent, Remote: careOf1}}
	if got := of[signaling.Bind](e); err != nil || !slices.Equal(got, want) {
		t.Fatalf("bound %v, %v", got, err)
	}
	if k := effects(e).kinds(); !slices.Equal(k, []signaling.ReportKind{BindingCreated}) {
		t.Errorf("reports %v", k)
	}
	moved := assignment(home)
	moved.CareOf, moved.Networks = careOf2, nil
	e, err = w.m.Assign(noon.Add(time.Second), moved)
	if got := of[signaling.Unbind](e); err != nil || !slices.Equal(got, []signaling.Unbind{{Home: network1}}) {
		t.Errorf("unbound %v, %v", got, err)
	}
	w.after(time.Second).bound(home, careOf2, time.Minute)
	e = w.m.Release(w.now, home, 9, mh.NTPTimeOf(w.now))
	if got := of[signaling.Unbind](e); !slices.Equal(got, []signaling.Unbind{{Home: host(home)}}) {
		t.Errorf("released %v", got)
	}
	b, _ := w.m.Cache().Get(host(home))
	if b.Flags&binding.Invalid == 0 || b.Sequence != 9 || mh.NTPTime(b.Timestamp) != mh.NTPTimeOf(w.now) {
		t.Errorf("remembered as %+v", b)
	}
	if e := w.m.Release(w.now, home, 9, 0); e != nil {
		t.Errorf("released again: %v", e)
	}
}

func TestAssignRefuses(t *testing.T) {
	w := start(t, func(c *Config) { c.MaxBindingsPerNode = 1 })
	for _, careOf := range []netip.Addr{agent, signed, netip.MustParseAddr("fe80::1"), network1.Addr().Next(), {}} {
		a := assignment(netip.MustParseAddr("2001:db8:1::55"))
		a.CareOf = careOf
		if e, err := w.m.Assign(noon, a); !errors.Is(err, ErrCareOf) || len(e) != 0 {
			t.Errorf("%v: %v, %v", careOf, e, err)
		}
	}
	if _, err := w.m.Assign(noon, assignment(netip.MustParseAddr("2001:db8:1::55"))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.m.Assign(noon, assignment(netip.MustParseAddr("2001:db8:1::56"))); !errors.Is(err, binding.ErrOwnerFull) {
		t.Errorf("%v", err)
	}
	if n := w.m.Cache().Len(); n != 1 {
		t.Errorf("%d bindings", n)
	}
}
