package dmipv6

// Unusable says why the home agent's directory is not asked for the moment; empty if it is.
func (m *Machine) Unusable() string {
	switch {
	case !m.cfg.UseHomeAgent:
		return "the home agent is not to be asked"
	case m.directory.unusableUntil.IsZero():
		return ""
	}
	return m.directory.why
}

// Waiting is how many flows wait for their anchor.
func (m *Machine) Waiting() int { return len(m.waiting) }
