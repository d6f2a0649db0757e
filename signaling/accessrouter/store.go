package accessrouter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
)

// recordVersion is the first octet of every record.
const recordVersion = 1

// ErrRecord is wrapped by errors about records that cannot be read.
var ErrRecord = errors.New("access router record")

// record is what the store keeps of one prefix: its key is the prefix's 16 octets and its length. Times are in milliseconds of
// the Unix epoch, 0 for none; strings have their length in one octet before.
//
//	 0         1       2         8         24         32        40
//	+---------+-------+---------+---------+----------+---------+---------+------------------+------+
//	| version | flags | link-   | serving | released | expires | subtype | identifier       | link |
//	| 1       | 1     | layer 6 | MAAR 16 | 8        | 8       | 1       | 1 + length       | 1+.. |
//	+---------+-------+---------+---------+----------+---------+---------+------------------+------+
type record struct {
	prefix    netip.Prefix
	preferred bool
	linkLayer signaling.LinkLayerAddress
	tunnel    netip.Addr
	released  time.Time
	expires   time.Time
	id        identity
	link      string
}

const recordFixed = 1 + 1 + 6 + 16 + 8 + 8 + 1

func recordKey(p netip.Prefix) []byte {
	a := p.Addr().As16()
	return append(a[:], uint8(p.Bits()))
}

func (r *record) append() []byte {
	b := make([]byte, 0, recordFixed+2+len(r.id.octets)+len(r.link))
	b = append(b, recordVersion, 0)
	if r.preferred {
		b[1] = 1
	}
	b = append(b, r.linkLayer[:]...)
	var tunnel [16]byte
	if r.tunnel.IsValid() {
		tunnel = r.tunnel.As16()
	}
	b = append(b, tunnel[:]...)
	b = binary.BigEndian.AppendUint64(b, milliseconds(r.released))
	b = binary.BigEndian.AppendUint64(b, milliseconds(r.expires))
	b = append(b, r.id.subtype)
	b = append(append(b, uint8(len(r.id.octets))), r.id.octets...)
	link := r.link[:min(len(r.link), 255)]
	return append(append(b, uint8(len(link))), link...)
}

func milliseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixMilli())
}

func parseRecord(key, b []byte) (*record, error) {
	if len(key) != 17 || key[16] > 128 {
		return nil, fmt.Errorf("%w: its key is no prefix", ErrRecord)
	}
	r := &record{prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte(key)), int(key[16]))}
	if len(b) < recordFixed+2 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w of %v: not of version %d, or %d octets do not hold it", ErrRecord, r.prefix, recordVersion, len(b))
	}
	r.preferred = b[1]&1 != 0
	r.linkLayer = signaling.LinkLayerAddress(b[2:8])
	if a := netip.AddrFrom16([16]byte(b[8:24])); !a.IsUnspecified() {
		r.tunnel = a
	}
	at := func(b []byte) time.Time {
		if ms := int64(binary.BigEndian.Uint64(b)); ms != 0 {
			return time.UnixMilli(ms)
		}
		return time.Time{}
	}
	r.released, r.expires, r.id.subtype = at(b[24:]), at(b[32:]), b[40]
	var rest []byte
	var ok bool
	if r.id.octets, rest, ok = text(b[recordFixed:]); ok {
		r.link, rest, ok = text(rest)
	}
	if !ok || len(rest) > 0 || r.id.octets == "" || r.prefix != r.prefix.Masked() {
		return nil, fmt.Errorf("%w of %v: %d octets do not hold it", ErrRecord, r.prefix, len(b))
	}
	return r, nil
}

func text(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	return string(b[1 : 1+b[0]]), b[1+b[0]:], true
}

// save writes down which prefixes s has.
func (m *Machine) save(s *session) {
	if m.cfg.Store == nil {
		return
	}
	for _, prefix := range s.prefixes() {
		r := record{prefix: prefix, preferred: prefix == s.own, linkLayer: s.linkLayer, tunnel: s.tunnel, id: s.id, link: s.link}
		if !s.expires.IsZero() {
			r.expires = m.timeOfDay(s.expires)
		}
		m.failed(m.cfg.Store.Save(recordKey(prefix), r.append()))
	}
}

// saveReleased writes down that s has given prefix back.
func (m *Machine) saveReleased(now time.Time, s *session, prefix netip.Prefix) {
	if m.cfg.Store == nil {
		return
	}
	r := record{prefix: prefix, linkLayer: s.linkLayer, id: s.id, released: m.timeOfDay(now)}
	m.failed(m.cfg.Store.Save(recordKey(prefix), r.append()))
}

func (m *Machine) erase(prefix netip.Prefix) {
	if m.cfg.Store != nil {
		m.failed(m.cfg.Store.Delete(recordKey(prefix)))
	}
}

func (m *Machine) failed(err error) {
	if err != nil {
		m.do(signaling.Report{Kind: StoreFailed, Detail: err.Error()})
	}
}

// Restore takes in what the store holds, once, before anything is handled. Prefixes of mobile nodes that others serve go on into
// their tunnels. Those that were here are bound and advertised again, and registered when there is a sign of them: they may
// have left meanwhile. The error joins those about records that could not be read, and the store's; the machine runs
// nevertheless.
func (m *Machine) Restore(now time.Time) ([]signaling.Effect, error) {
	if m.cfg.Store == nil || m.gateway {
		return nil, nil
	}
	var problems []error
	err := m.cfg.Store.Load(func(key, b []byte) error {
		r, err := parseRecord(key, b)
		if err == nil {
			err = m.restoreOne(now, r)
		}
		if err != nil {
			problems = append(problems, err)
		}
		return nil
	})
	for _, s := range m.sessions {
		m.resume(now, s)
		m.schedule(s)
	}
	m.watchPool(now)
	effects := m.effects
	m.effects = nil
	return effects, errors.Join(append(problems, err)...)
}

func (m *Machine) restoreOne(now time.Time, r *record) error {
	if !m.pool.contains(r.prefix, r.id) {
		return fmt.Errorf("%w of %v: it is in no pool", ErrRecord, r.prefix)
	}
	if !r.released.IsZero() {
		m.pool.holders[r.prefix] = holder{id: r.id, released: m.since(now, r.released)}
		if _, ok := m.pool.remembered[r.id]; !ok {
			m.pool.remembered[r.id] = r.prefix
		}
		return nil
	}
	s := m.sessions[r.id]
	if s == nil {
		if s = m.open(now, r.id); s == nil {
			return fmt.Errorf("%w of %v: there are %d mobile nodes already", ErrRecord, r.prefix, len(m.sessions))
		}
	}
	m.pool.holders[r.prefix] = holder{id: r.id}
	if r.preferred {
		s.own, m.pool.remembered[r.id] = r.prefix, r.prefix
	} else {
		s.older = append(s.older, r.prefix)
	}
	m.know(s, r.linkLayer)
	s.link, s.tunnel = r.link, r.tunnel
	if !r.expires.IsZero() {
		s.expires = now.Add(min(r.expires.Sub(m.timeOfDay(now)), m.cfg.Lifetime))
	}
	return nil
}

// since is a time of day before now on the machine's clock.
func (m *Machine) since(now, t time.Time) time.Time {
	return now.Add(min(t.Sub(m.timeOfDay(now)), 0))
}

// resume puts a restored session to work.
func (m *Machine) resume(now time.Time, s *session) {
	if m.mayServe(s.tunnel) {
		m.enter(now, s, previous)
		for _, prefix := range s.prefixes() {
			m.do(signaling.Bind{Home: prefix, Local: m.cfg.Address, Remote: s.tunnel})
		}
		return
	}
	s.tunnel = netip.Addr{}
	if s.expires.IsZero() {
		s.expires = now.Add(m.cfg.Lifetime)
	}
	for _, prefix := range s.prefixes() {
		m.bind(s, prefix, netip.Addr{})
	}
	m.advertise(s)
}

// fixed is the prefix that s has by configuration; invalid if none.
func (m *Machine) fixed(s *session) netip.Prefix {
	if n := m.nodes[s.linkLayer]; n != nil && n.identify() == s.id {
		return n.Prefix
	}
	return netip.Prefix{}
}
