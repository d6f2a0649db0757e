package flow

import (
	"net/netip"
	"sync"
)

// Role says what an address of this mobile node serves. It never serves both: ports could collide.
type Role uint8

// The roles of addresses. Unassigned is that of home addresses and of addresses that are not held.
const (
	Unassigned Role = iota
	// Translation: the host does not hold it, and flows of the home address are translated to it.
	Translation
	// Host: the host holds it, and nothing is translated to it.
	Host
)

var roleNames = [...]string{"unassigned", "translation", "host"}

func (r Role) String() string { return roleNames[r] }

// uses counts flows by the address that the correspondent sees.
type uses struct {
	mu    sync.Mutex
	of    map[netip.Addr]*use
	dirty []netip.Addr
}

type use struct {
	role               Role
	translated, direct int
	// verdict is that of flows which the host has this address for.
	verdict *Verdict
	// dirty says that it is in the list of those to tell of; told is the number that was.
	dirty bool
	told  int
}

// SetRole says what an address serves. It fails with ErrRole while flows use it otherwise.
func (t *Table) SetRole(a netip.Addr, role Role) error {
	u := &t.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	x := u.get(a)
	defer u.tidy(a, x)
	if role == Translation && x.direct > 0 || role == Host && x.translated > 0 {
		return ErrRole
	}
	x.role = role
	u.mark(a, x)
	t.news.pending.Store(true)
	return nil
}

// Uses is the number of flows that use an address as their source now.
func (t *Table) Uses(a netip.Addr) int {
	u := &t.uses
	u.mu.Lock()
	defer u.mu.Unlock()
	if x := u.of[a]; x != nil {
		return x.translated + x.direct
	}
	return 0
}

func (u *uses) get(a netip.Addr) *use {
	x := u.of[a]
	if x == nil {
		x = &use{verdict: &Verdict{State: InUse, Address: a}}
		u.of[a] = x
	}
	return x
}

func (u *uses) tidy(a netip.Addr, x *use) {
	if x.role == Unassigned && x.translated+x.direct == 0 && !x.dirty {
		delete(u.of, a)
	}
}

// acquire counts a flow of local with verdict v, or with that of its local address if v is nil, and returns its verdict.
func (u *uses) acquire(local netip.Addr, v *Verdict) (*Verdict, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	a := local
	if v != nil {
		a = v.Address
	}
	x := u.get(a)
	switch {
	case v != nil && v.Translate:
		if x.role != Translation {
			u.tidy(a, x)
			return nil, ErrRole
		}
		x.translated++
	case x.role == Translation || x.translated > 0:
		// What is translated to it may outlive the role.
		return nil, ErrRole
	default:
		x.direct++
	}
	u.mark(a, x)
	if v == nil {
		v = x.verdict
	}
	return v, nil
}

func (u *uses) release(v *Verdict) {
	u.mu.Lock()
	defer u.mu.Unlock()
	x := u.of[v.Address]
	if v.Translate {
		x.translated--
	} else {
		x.direct--
	}
	u.mark(v.Address, x)
	u.tidy(v.Address, x)
}

// mark notes that whether an address is in use may have changed.
func (u *uses) mark(a netip.Addr, x *use) {
	n := x.translated + x.direct
	if x.role != Unassigned && !x.dirty && (n == 0) != (x.told == 0) {
		x.dirty = true
		u.dirty = append(u.dirty, a)
	}
}

// take appends what is to be told of addresses to to.
func (u *uses) take(to []News) []News {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, a := range u.dirty {
		x := u.of[a]
		x.dirty = false
		if n := x.translated + x.direct; (n == 0) != (x.told == 0) {
			x.told = n
			to = append(to, News{Event: AddressUsed, Address: a, Flows: n})
		}
		u.tidy(a, x)
	}
	u.dirty = u.dirty[:0]
	return to
}
