package node

import (
	"kedge/config"
	"kedge/forwarding/policy"
	"kedge/netstack/kernel"
	"kedge/signaling/dmipv6"
)

var classes = map[config.Class]dmipv6.Class{
	config.Fixed: dmipv6.Fixed, config.SessionLasting: dmipv6.SessionLasting,
	config.GracefulReplacement: dmipv6.GracefulReplacement, config.NonPersistent: dmipv6.NonPersistent,
}

// profilesOf are the different classes with bounds among the rules, each once, and the rules for the classifier with the
// numbers of their profiles. The last rule is the fallback.
func profilesOf(rules []config.Rule) ([]dmipv6.Profile, []policy.Rule) {
	var profiles []dmipv6.Profile
	compiled := make([]policy.Rule, 0, len(rules))
	for _, r := range rules {
		p := dmipv6.Profile{Class: classes[r.Class], MaxRoundTrip: r.MaxRoundTrip, MaxLoss: r.MaxLoss}
		number := 0
		for number < len(profiles) && !same(profiles[number], p) {
			number++
		}
		if number == len(profiles) {
			p.Name = r.Name
			profiles = append(profiles, p)
		}
		c := policy.Rule{Name: r.Name, Destinations: r.Destinations, Protocols: r.Protocols, DSCPs: r.DSCPs, Profile: number}
		c.DestinationPorts, c.SourcePorts = ports16(r.DestinationPorts), ports16(r.SourcePorts)
		for _, u := range r.Users {
			c.Users = append(c.Users, policy.UserRange{First: u.First, Last: u.Last})
		}
		compiled = append(compiled, c)
	}
	return profiles, compiled
}

func same(a, b dmipv6.Profile) bool {
	return a.Class == b.Class && a.MaxRoundTrip == b.MaxRoundTrip && a.MaxLoss == b.MaxLoss
}

func ports16(ranges []config.Range) []policy.PortRange {
	var out []policy.PortRange
	for _, r := range ranges {
		out = append(out, policy.PortRange{First: uint16(r.First), Last: uint16(r.Last)})
	}
	return out
}

func classifierOf(rules []policy.Rule) (*policy.Classifier, error) {
	last := len(rules) - 1
	return policy.Compile(rules[:last], rules[last])
}

// kernelPolicy is what the host's kernel is asked to keep off the TUN device: non-persistent traffic.
func kernelPolicy(d *config.DMIPv6) []kernel.PolicyRule {
	if d == nil {
		return nil
	}
	var rules []kernel.PolicyRule
	for _, r := range d.Rules {
		k := kernel.PolicyRule{
			NonPersistent: r.Class == config.NonPersistent, Destinations: r.Destinations, Protocols: r.Protocols, DSCPs: r.DSCPs,
		}
		for _, p := range r.SourcePorts {
			k.SourcePorts = append(k.SourcePorts, kernel.Ports{First: uint16(p.First), Last: uint16(p.Last)})
		}
		for _, p := range r.DestinationPorts {
			k.DestinationPorts = append(k.DestinationPorts, kernel.Ports{First: uint16(p.First), Last: uint16(p.Last)})
		}
		for _, u := range r.Users {
			k.Users = append(k.Users, kernel.Users{First: u.First, Last: u.Last})
		}
		rules = append(rules, k)
	}
	return rules
}
