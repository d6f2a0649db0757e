package topology

func (c *checker) nat(n *Node) {
	if n.NAT == nil {
		return
	}
	if n.Kind != RouterKind {
		c.failf("node %s: nat: only a router translates addresses, this is a %s", n.Name, n.Kind)
	}
	if n.Interface(n.NAT.Interface) == nil {
		c.failf("node %s: nat: there is no interface %q", n.Name, n.NAT.Interface)
	}
}

func (c *checker) leases(what string, f Interface) {
	seen := map[string]bool{}
	for _, l := range f.Leases {
		if c.lab.Network(l.Network) == nil {
			c.failf("%s: lease: there is no network %q", what, l.Network)
		}
		if seen[l.Network] {
			c.failf("%s: lease: there are two of network %q", what, l.Network)
		}
		seen[l.Network] = true
		if !l.Address.IsValid() || !l.Address.Contains(l.Router) || l.Router == l.Address.Addr() {
			c.failf("%s: lease: found address %s and router %s, expected a router within the address's prefix", what, l.Address, l.Router)
		}
	}
}

func (c *checker) forgetting(what string, m Move) {
	if m.Way != ForgetWay {
		if len(m.At) > 0 {
			c.failf("%s: at: only for the way %s", what, ForgetWay)
		}
		return
	}
	if m.To != "" {
		c.failf("%s: to: nothing moves by the way %s", what, ForgetWay)
	}
	if len(m.At) == 0 {
		c.failf("%s: at: found nothing, expected the NATs that forget", what)
	}
	for _, name := range m.At {
		if n := c.lab.Node(name); n == nil || n.NAT == nil {
			c.failf("%s: at: there is no NAT %q", what, name)
		}
	}
}

// Lease is what a network has for the interface, nil if nothing.
func (f *Interface) Lease(network string) *Lease {
	for i := range f.Leases {
		if f.Leases[i].Network == network {
			return &f.Leases[i]
		}
	}
	return nil
}
