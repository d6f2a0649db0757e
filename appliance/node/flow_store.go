package node

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"kedge/appliance/store"
	"kedge/config"
	"kedge/forwarding/flow"
)

// storedFlow is a translated flow in the file, under its number in this run as the key. Rules are kept by name, since the
// policy may have changed when they are read again.
type storedFlow struct {
	Local      netip.Addr `json:"local"`
	Remote     netip.Addr `json:"remote"`
	Protocol   uint8      `json:"protocol"`
	LocalPort  uint16     `json:"local_port"`
	RemotePort uint16     `json:"remote_port"`
	Address    netip.Addr `json:"address"`
	Rule       string     `json:"rule"`
}

func (f *flows) openStore() (err error) {
	f.store, err = store.Open(filepath.Join(f.node.cfg.StateDirectory, "flows.db"))
	return err
}

// keep writes a translated flow down.
func (f *flows) keep(s *flow.Snapshot) {
	if s.State != flow.InUse || s.Address == s.Key.Local {
		return
	}
	r, _ := f.rule(s)
	b, err := json.Marshal(storedFlow{
		Local: s.Key.Local, Remote: s.Key.Remote, Protocol: s.Key.Protocol, LocalPort: s.Key.LocalPort,
		RemotePort: s.Key.RemotePort, Address: s.Address, Rule: r.Name,
	})
	if err == nil {
		err = f.store.Save(storeKey(s), b)
	}
	if err != nil {
		f.node.log.Warn("a flow will not survive a restart", "flow", s.Number, "error", err)
	}
}

func (f *flows) forget(s *flow.Snapshot) {
	if s.Address != s.Key.Local {
		_ = f.store.Delete(storeKey(s)) // the next keep says so too if the file fails
	}
}

// storeKey is what makes a flow unique among those of all runs: a new flow of the same tuple replaces it.
func storeKey(s *flow.Snapshot) []byte {
	k := s.Key
	return fmt.Appendf(nil, "%v/%d/%d/%v/%d", k.Local, k.Protocol, k.LocalPort, k.Remote, k.RemotePort)
}

// restore takes up the translated flows of an earlier run whose addresses are still held.
func (f *flows) restore(now time.Time, held func(netip.Addr) bool) {
	var gone [][]byte
	n := 0
	err := f.store.Load(func(key, record []byte) error {
		var s storedFlow
		if err := json.Unmarshal(record, &s); err != nil || !held(s.Address) {
			gone = append(gone, slices.Clone(key))
			return nil
		}
		f.serveTranslation(s.Address)
		rule := slices.IndexFunc(f.node.cfg.DMIPv6.Rules, func(r config.Rule) bool { return r.Name == s.Rule })
		snapshot := flow.Snapshot{
			Key:     flow.Key{Local: s.Local, Remote: s.Remote, Protocol: s.Protocol, LocalPort: s.LocalPort, RemotePort: s.RemotePort},
			Address: s.Address, Rule: -1, Profile: -1, Initiator: flow.MobileNode,
		}
		switch last := len(f.rules) - 1; {
		case rule == last:
			snapshot.Profile = f.rules[last].Profile
		case rule >= 0:
			snapshot.Rule, snapshot.Profile = rule, f.rules[rule].Profile
		}
		if err := f.node.engine.RestoreFlow(now, &snapshot); err != nil {
			f.node.log.Warn("flow not restored", "error", err)
			gone = append(gone, slices.Clone(key))
			return nil
		}
		n++
		return nil
	})
	if err != nil {
		f.node.log.Warn("flows of the earlier run", "error", err)
	}
	for _, key := range gone {
		_ = f.store.Delete(key)
	}
	if n > 0 {
		f.node.log.Info("translations of an earlier run go on", "flows", n)
	}
}
