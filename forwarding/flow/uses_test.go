package flow

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"kedge/forwarding/ip6"
)

func TestRoles(t *testing.T) {
	table := NewTable(Config{}, epoch)
	translated := opening(key(ip6.UDP, 1, 1))
	translated.Verdict = &Verdict{State: InUse, Address: lent, Translate: true}
	if _, _, err := table.Insert(0, translated); !errors.Is(err, ErrRole) {
		t.Fatalf("translated to an address without a role: %v", err)
	}
	if table.SetRole(lent, Translation) != nil {
		t.Fatal("role refused")
	}
	direct := opening(Key{Local: lent, Remote: remote, Protocol: ip6.UDP, LocalPort: 1, RemotePort: 1})
	if _, _, err := table.Insert(0, direct); !errors.Is(err, ErrRole) {
		t.Fatalf("used by the host: %v", err)
	}
	f := insert(t, table, 0, translated)
	if table.Len() != 1 {
		t.Errorf("%d flows: refused ones are counted", table.Len())
	}
	if err := table.SetRole(lent, Host); !errors.Is(err, ErrRole) {
		t.Fatalf("role changed under a flow: %v", err)
	}
	table.Terminate(0, f)
	if err := table.SetRole(lent, Host); err != nil {
		t.Fatal(err)
	}
	insert(t, table, 0, direct)
	if err := table.SetRole(lent, Translation); !errors.Is(err, ErrRole) {
		t.Fatalf("role changed under the host: %v", err)
	}
}

func TestAddressNews(t *testing.T) {
	table := NewTable(Config{}, epoch)
	if err := table.SetRole(lent, Translation); err != nil {
		t.Fatal(err)
	}
	take := func() (told []string) {
		for _, n := range table.TakeNews(nil) {
			if n.Event == AddressUsed {
				told = append(told, fmt.Sprint(n.Address, n.Flows))
			}
		}
		return told
	}
	var flows []*Flow
	for i := range 3 {
		o := opening(key(ip6.UDP, uint16(i), 1))
		o.Verdict = &Verdict{State: InUse, Address: lent, Translate: true}
		flows = append(flows, insert(t, table, 0, o))
	}
	if got := take(); !slices.Equal(got, []string{lent.String() + " 3"}) {
		t.Errorf("told %v", got)
	}
	table.Terminate(0, flows[0])
	if got := take(); got != nil {
		t.Errorf("told %v", got)
	}
	table.Terminate(0, flows[1])
	table.Terminate(0, flows[2])
	if got := take(); !slices.Equal(got, []string{lent.String() + " 0"}) {
		t.Errorf("told %v", got)
	}
	// To and fro between two looks is nothing.
	o := opening(key(ip6.UDP, 7, 1))
	o.Verdict = &Verdict{State: InUse, Address: lent, Translate: true}
	table.Terminate(0, insert(t, table, 0, o))
	if got := take(); got != nil {
		t.Errorf("told %v", got)
	}
}
