package database

import (
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// request is a PBU on its way through the database.
type request struct {
	*signaling.Received
	answer
	lifetime time.Duration
	// named says that it has a usable MN-ID; hinted and typed that it has the Handoff Indicator and Access Technology Type.
	named, hinted, typed bool
	// serving is its Serving MAAR option's address; invalid if it had none.
	serving netip.Addr
	// careOf is its Alternate Care-of Address option's; invalid if it had none.
	careOf netip.Addr
	// previous are its Previous MAAR options.
	previous []*mh.PreviousMAAR
}

// group is a prefix option of a message and what belongs to it.
type group struct {
	prefix netip.Prefix
	// home says that it came in a Home Network Prefix option, not an Anchored Prefix option.
	home      bool
	linkLocal netip.Addr
	linkLayer []byte
	local     []netip.Prefix
}

// readGroups collects the groups with Anchored Prefix or Home Network Prefix options. ok is false if there are more than may be,
// or one has what it must not have.
func readGroups(options mh.Options) (groups []group, ok bool) {
	var g *group
	begin := func(p netip.Prefix, home bool) {
		groups = append(groups, group{prefix: p, home: home})
		g = &groups[len(groups)-1]
	}
	var other group
	g = &other
	for _, o := range options {
		switch o := o.(type) {
		case *mh.AnchoredPrefix:
			begin(o.Prefix, false)
		case *mh.HomeNetworkPrefix:
			begin(o.Prefix, true)
		case *mh.PreviousMAAR:
			other = group{}
			g = &other
		case *mh.DLIFLinkLocalAddress:
			if g.linkLocal = o.Address; interfaceOf(o.Address) == 0 {
				return nil, false
			}
		case *mh.DLIFLinkLayerAddress:
			if g.linkLayer = o.Address; len(o.Address) > len(anchor{}.linkLayer) {
				return nil, false
			}
		case *mh.LocalPrefix:
			if g.local = append(g.local, o.Prefix); len(g.local) > maxLocal {
				return nil, false
			}
		}
	}
	return groups, len(groups) <= maxGroups
}

// anchor is the group as an anchor of router. The prefix is a /64.
func (g *group) anchor(router uint16) anchor {
	p, _ := prefixOf(g.prefix)
	a := anchor{prefix: p, router: router}
	a.describe(g)
	return a
}

// describe takes over what g says of the DLIF and Local Prefixes, if anything.
func (a *anchor) describe(g *group) {
	if g.linkLocal.IsValid() {
		a.linkLocal = interfaceOf(g.linkLocal)
	}
	if len(g.linkLayer) > 0 {
		a.linkLayer = [8]byte{}
		a.linkLayerLength = uint8(copy(a.linkLayer[:], g.linkLayer))
	}
	if len(g.local) > 0 {
		a.local = g.local
	}
}

// options appends the group of a; first is its prefix option.
func (a *anchor) options(list mh.Options, first mh.Option) mh.Options {
	list = append(list, first)
	if l := linkLocalOf(a.linkLocal); l.IsValid() {
		list = append(list, &mh.DLIFLinkLocalAddress{Address: l})
	}
	if n := a.linkLayerLength; n > 0 {
		list = append(list, &mh.DLIFLinkLayerAddress{Address: a.linkLayer[:n:n]})
	}
	for _, p := range a.local {
		list = append(list, &mh.LocalPrefix{Prefix: p})
	}
	return list
}

// newRequest reads u; nil if options are there twice that must be alone, or groups are not as they have to be.
func newRequest(r *signaling.Received, router uint16, u *mh.BindingUpdate) *request {
	q := &request{Received: r, lifetime: u.Lifetime}
	q.router, q.sequence, q.distributed = router, u.Sequence, u.Distributed
	seen := [256]bool{}
	for _, o := range u.Options {
		switch t := o.OptionType(); t {
		case mh.OptionMobileNodeIdentifier, mh.OptionHandoffIndicator, mh.OptionAccessTechnologyType, mh.OptionTimestamp,
			mh.OptionLinkLayerIdentifier, mh.OptionLinkLocalAddress, mh.OptionServingMAAR, mh.OptionAlternateCareOf:
			if seen[t] {
				return nil
			}
			seen[t] = true
		}
		switch o := o.(type) {
		case *mh.MobileNodeIdentifier:
			if q.named = o.Identifier != "" && len(o.Identifier) < 255; q.named {
				q.id = key(o)
			}
		case *mh.HandoffIndicator:
			q.indicator, q.hinted = o.Indicator, true
		case *mh.AccessTechnologyType:
			q.access, q.typed = o.Technology, true
		case *mh.Timestamp:
			q.timestamp = o
		case *mh.LinkLayerIdentifier:
			q.linkLayer = o
		case *mh.LinkLocalAddress:
			q.linkLocal = o
		case *mh.ServingMAAR:
			q.serving = o.Address
		case *mh.AlternateCareOf:
			q.careOf = o.Address
		case *mh.PreviousMAAR:
			q.previous = append(q.previous, o)
		}
	}
	groups, ok := readGroups(u.Options)
	if !ok {
		return nil
	}
	q.groups = groups
	return q
}
