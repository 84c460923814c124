package sandbox

// WithHost returns a sandbox on a host that gives less than this one.
func (s *Sandbox) WithHost(change func(*Host)) *Sandbox {
	lesser := &Sandbox{cfg: s.cfg, host: s.host, state: newState(s.cfg)}
	change(&lesser.host)
	return lesser
}
