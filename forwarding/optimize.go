package forwarding

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// Route optimisation (RFC 6275): packets between a home address and a correspondent node that go past the home agent.
//
//	mobile node:         home -> correspondent      becomes  care-of -> correspondent, Home Address option (section 11.3.1)
//	                     correspondent -> care-of, type 2 routing header      becomes  correspondent -> home (11.3.3)
//	correspondent node:  care-of -> own, Home Address option                  becomes  home -> own (9.3.1)
//	                     own -> home                becomes  own -> care-of, type 2 routing header (9.3.2)
//
// Both happen to one packet between two mobile nodes. A correspondent node's own address is held as a mobile node's that is
// at home: BindMobile with Native. What the extension headers make too long for the path, and is short enough for any
// tunnel, goes the ordinary way.

// Optimized is how a mobile node's packets from a home address to a correspondent node leave.
type Optimized struct {
	// CareOf is the care-of address that the correspondent node has a binding for; if it is invalid, packets leave by the
	// tunnel, and only those that come in past the home agent are taken.
	CareOf netip.Addr
	// Via says that packets leave by Port to NextHop; else by the route to their destination. An invalid NextHop with Via
	// means that the destination is on-link.
	Via     bool
	Port    PortID
	NextHop netip.Addr
}

// optimizations is nil in a state without any. It and what is in it are immutable.
type optimizations struct {
	// mobile is a mobile node's, by the correspondent node's address, and cached a correspondent node's, by home address.
	mobile *bart.Table[[]optimized]
	cached *bart.Table[[]cached]
}

type optimized struct {
	home netip.Addr
	Optimized
}

// cached is an entry of a correspondent node's Binding Cache.
type cached struct{ local, careOf netip.Addr }

// SetOptimized has packets between home and correspondent go past the home agent. home is held by BindMobile. It replaces
// what was set for the same pair; with another care-of address, what was learned of the path's MTU is forgotten.
func (e *Engine) SetOptimized(home, correspondent netip.Addr, o Optimized) error {
	for _, a := range []netip.Addr{home, correspondent, o.CareOf, o.NextHop} {
		if !unicast(a) && (a.IsValid() || a == home || a == correspondent) {
			return fmt.Errorf("route optimisation of %v to %v: %w: %v", home, correspondent, ErrAddress, a)
		}
	}
	if home == correspondent || o.CareOf == correspondent || o.CareOf == home {
		return fmt.Errorf("route optimisation of %v to %v: %w", home, correspondent, ErrLoop)
	}
	e.changeIf(func(s *state) bool {
		old := s.optimized(home, correspondent)
		if old != nil && old.CareOf != o.CareOf {
			s.paths = s.paths.DeletePersist(netip.PrefixFrom(correspondent, 128)) // it was another path
		}
		return s.editOptimized(correspondent, home, &optimized{home, o})
	})
	return nil
}

// RemoveOptimized takes a SetOptimized back.
func (e *Engine) RemoveOptimized(home, correspondent netip.Addr) {
	if unicast(home) && unicast(correspondent) {
		e.changeIf(func(s *state) bool { return s.editOptimized(correspondent, home, nil) })
	}
}

// SetCorrespondentBinding has packets from local, which is held by BindMobile, to the mobile node with the home address home
// go to careOf, and takes those that come from there. It replaces what was set for the same home and local.
func (e *Engine) SetCorrespondentBinding(home, careOf, local netip.Addr) error {
	for _, a := range []netip.Addr{home, careOf, local} {
		if !unicast(a) {
			return fmt.Errorf("correspondent binding of %v: %w: %v", home, ErrAddress, a)
		}
	}
	if home == local || careOf == local || careOf == home {
		return fmt.Errorf("correspondent binding of %v: %w: %v", home, ErrLoop, careOf)
	}
	e.changeIf(func(s *state) bool { return s.editCached(home, local, &cached{local, careOf}) })
	return nil
}

// RemoveCorrespondentBinding takes a SetCorrespondentBinding back.
func (e *Engine) RemoveCorrespondentBinding(home, local netip.Addr) {
	if unicast(home) && unicast(local) {
		e.changeIf(func(s *state) bool { return s.editCached(home, local, nil) })
	}
}

func (s *state) editOptimized(correspondent, home netip.Addr, entry *optimized) bool {
	o := s.copyOptimizations()
	changed := edit(&o.mobile, correspondent, entry, func(x *optimized) bool { return x.home == home })
	return changed && s.publish(o)
}

func (s *state) editCached(home, local netip.Addr, entry *cached) bool {
	o := s.copyOptimizations()
	changed := edit(&o.cached, home, entry, func(x *cached) bool { return x.local == local })
	return changed && s.publish(o)
}

func (s *state) copyOptimizations() optimizations {
	if s.optimizations == nil {
		return optimizations{mobile: new(bart.Table[[]optimized]), cached: new(bart.Table[[]cached])}
	}
	return *s.optimizations
}

func (s *state) publish(o optimizations) bool {
	s.optimizations = &o
	if o.mobile.Size() == 0 && o.cached.Size() == 0 {
		s.optimizations = nil
	}
	return true
}

// edit puts entry into the list of address, in place of the one that is the same, or takes that out if entry is nil. It
// reports whether that changed anything; the table and lists that there were stay as they are.
func edit[E comparable](table **bart.Table[[]E], address netip.Addr, entry *E, same func(*E) bool) bool {
	key := netip.PrefixFrom(address, 128)
	old, _ := (*table).Get(key)
	at := slices.IndexFunc(old, func(x E) bool { return same(&x) })
	list := slices.Clone(old)
	switch {
	case entry == nil && at < 0, entry != nil && at >= 0 && old[at] == *entry:
		return false
	case entry == nil:
		list = slices.Delete(list, at, at+1)
	case at >= 0:
		list[at] = *entry
	default:
		list = append(list, *entry)
	}
	if len(list) == 0 {
		*table = (*table).DeletePersist(key)
	} else {
		*table = (*table).InsertPersist(key, list)
	}
	return true
}

// optimized is what is set for a mobile node's pair; nil if nothing is.
func (s *state) optimized(home, correspondent netip.Addr) *optimized {
	if s.optimizations == nil {
		return nil
	}
	list, _ := s.optimizations.mobile.Lookup(correspondent)
	for i := range list {
		if list[i].home == home {
			return &list[i]
		}
	}
	return nil
}

// cached is what is set for a correspondent node's pair; nil if nothing is.
func (s *state) cached(home, local netip.Addr) *cached {
	if s.optimizations == nil {
		return nil
	}
	list, _ := s.optimizations.cached.Lookup(home)
	for i := range list {
		if list[i].local == local {
			return &list[i]
		}
	}
	return nil
}
