// Package policy says which profile a service flow has: the first of an operator's ordered rules that matches the flow's
// first packet gives it.
//
// Compile turns the rules into one table for each thing that they look at (addresses, ports, ...), which gives the set of
// rules that a packet's value satisfies; Classify takes the first rule that is in all the sets. A set leaves out its empty
// words and has a summary of which these are, so that 4096 rules cost a single step more than 64 do.
package policy

import (
	"fmt"
	"net/netip"
)

// Rule gives a profile to the packets that satisfy all its conditions. An empty condition is satisfied by anything.
type Rule struct {
	Name string
	// Destinations and Sources are IPv6 prefixes; bits behind the prefix length are ignored.
	Destinations, Sources []netip.Prefix
	// Protocols are IP protocol numbers.
	Protocols []uint8
	// DestinationPorts and SourcePorts are compared with 0 for packets without ports.
	DestinationPorts, SourcePorts []PortRange
	// DSCPs are differentiated services code points, 0 to 63 (RFC 2474).
	DSCPs []uint8
	// Users are those of the socket that sent the packet. Only a packet whose user is known satisfies a rule with any.
	Users []UserRange
	// Profile is at least 0.
	Profile int
}

// PortRange is the ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// UserRange is the user numbers from First to Last, both included.
type UserRange struct{ First, Last uint32 }

// Packet is what rules look at.
type Packet struct {
	Source, Destination netip.Addr
	Protocol            uint8
	// SourcePort and DestinationPort are 0 if there are none.
	SourcePort, DestinationPort uint16
	// DSCP has 6 bits.
	DSCP uint8
	// User owns the socket that sent the packet, if UserKnown.
	User      uint32
	UserKnown bool
}

// Result is what the rules say of a packet.
type Result struct {
	// Rule is the index of the rule that matched; -1 is the fallback.
	Rule    int
	Profile int
	// NeedsUser says that an earlier rule than Rule matches or not depending on the packet's user, which is not known:
	// Rule and Profile hold only if there is none.
	NeedsUser bool
}

// Fallback is the Result.Rule of packets that no rule matches.
const Fallback = -1

// Classifier is a compiled policy. It does not change; many goroutines may use it at once.
type Classifier struct {
	fallback Rule
	rules    []Rule
	sets     sets

	destinations, sources         *prefixes
	protocols, dscps              *values
	destinationPorts, sourcePorts *ports
	users                         *intervals
	// anyUser is the set of rules without a condition on users.
	anyUser uint32
}

// Classify finds the first rule that p matches. It does not allocate.
func (c *Classifier) Classify(p *Packet) Result {
	if len(c.rules) == 0 {
		return c.result(Fallback, false)
	}
	// A condition that no rule has takes no part.
	var in [conditions]uint32
	n := 0
	if c.destinations != nil {
		in[n] = c.destinations.find(p.Destination)
		n++
	}
	if c.sources != nil {
		in[n] = c.sources.find(p.Source)
		n++
	}
	if c.protocols != nil {
		in[n] = c.protocols[p.Protocol]
		n++
	}
	if c.destinationPorts != nil {
		in[n] = c.destinationPorts.find(p.DestinationPort)
		n++
	}
	if c.sourcePorts != nil {
		in[n] = c.sourcePorts.find(p.SourcePort)
		n++
	}
	if c.dscps != nil {
		in[n] = c.dscps[p.DSCP]
		n++
	}
	if c.users != nil && p.UserKnown {
		in[n] = c.users.find(p.User)
		n++
	}
	rule := c.sets.first(in[:n], 0)
	if rule == Fallback || c.users == nil || p.UserKnown || len(c.rules[rule].Users) == 0 {
		return c.result(rule, false)
	}
	in[n] = c.anyUser
	return c.result(c.sets.first(in[:n+1], rule), true)
}

func (c *Classifier) result(rule int, needsUser bool) Result {
	profile := c.fallback.Profile
	if rule != Fallback {
		profile = c.rules[rule].Profile
	}
	return Result{Rule: rule, Profile: profile, NeedsUser: needsUser}
}

// Name is the name of the rule in a Result.
func (c *Classifier) Name(rule int) string {
	if rule == Fallback {
		return c.fallback.Name
	}
	return c.rules[rule].Name
}

// check reports the first thing in a rule that cannot be meant.
func (r *Rule) check() error {
	for _, list := range [...]struct {
		name     string
		prefixes []netip.Prefix
	}{{"destination", r.Destinations}, {"source", r.Sources}} {
		for _, p := range list.prefixes {
			if !p.IsValid() || !p.Addr().Is6() {
				return fmt.Errorf("%s %v is no IPv6 prefix", list.name, p)
			}
		}
	}
	for _, list := range [...]struct {
		name   string
		ranges []PortRange
	}{{"destination", r.DestinationPorts}, {"source", r.SourcePorts}} {
		for _, p := range list.ranges {
			if p.First > p.Last {
				return fmt.Errorf("%s ports from %d to %d", list.name, p.First, p.Last)
			}
		}
	}
	for _, d := range r.DSCPs {
		if d > maxDSCP {
			return fmt.Errorf("DSCP %d is above %d", d, maxDSCP)
		}
	}
	for _, u := range r.Users {
		if u.First > u.Last {
			return fmt.Errorf("users from %d to %d", u.First, u.Last)
		}
	}
	if r.Profile < 0 {
		return fmt.Errorf("profile %d is below 0", r.Profile)
	}
	return nil
}
