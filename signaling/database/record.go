package database

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling"
	"kedge/signaling/mh"
)

// ErrRecord is wrapped by errors about records that cannot be taken in.
var ErrRecord = errors.New("session record")

const (
	recordVersion = 1
	recordFixed   = 1 + 1 + 16 + 2 + 2 + 8 + 8 + 8 + 1 + 1 + 1 + 1 + 1
	anchorFixed   = 1 + 8 + 16 + 8 + 1 + 8 + 1

	flagPlain, flagLeaving, flagConfirmed = 1, 2, 1
)

// recordKey is the name of the record of s: "d" and the mobile node's key with flag D, else "p" and the first prefix.
func recordKey(s *session) []byte {
	if s.plain {
		return binary.BigEndian.AppendUint64([]byte{'p'}, s.anchors[0].prefix)
	}
	return append([]byte{'d'}, s.id...)
}

// appendRecord writes s. Integers are in network byte order, expires in milliseconds of the Unix epoch, so that a lifetime goes on
// while the database is down. Routers are named by address, the database itself by ::.
//
//	+---------+-------+---------+----------+----------+-----------+---------+------------+----+----+-----+
//	| version | flags | serving | sequence | lifetime | timestamp | expires | link-local | HI | AT | n   |
//	| 1       | 1     | 16      | 2        | 2 (4 s)  | 8         | 8       | 8          | 1  | 1  | 1   |
//	+---------+-------+---------+----------+----------+-----------+---------+------------+----+----+-----+
//	MN-ID length (1), link-layer identifier length (1), both
//	n times: flags (1), prefix (8), MAAR (16), link-local (8), link-layer length (1), link-layer (8), k (1), k times prefix (16),
//	prefix length (1)
func (m *Machine) appendRecord(now time.Time, b []byte, s *session) []byte {
	flags := byte(0)
	if s.plain {
		flags |= flagPlain
	}
	if s.leaving {
		flags |= flagLeaving
	}
	b = append(b, recordVersion, flags)
	b = append(b, m.recordAddress(s.serving)...)
	b = binary.BigEndian.AppendUint16(b, s.sequence)
	b = binary.BigEndian.AppendUint16(b, s.lifetime)
	b = binary.BigEndian.AppendUint64(b, s.stamp)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Round(0).Add(s.expires-m.at(now)).UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, s.linkLocal)
	b = append(b, byte(s.indicator), byte(s.access), byte(len(s.anchors)), byte(len(s.id)), byte(len(s.linkLayer)))
	b = append(append(b, s.id...), s.linkLayer...)
	for i := range s.anchors {
		b = m.appendAnchor(b, &s.anchors[i])
	}
	return b
}

func (m *Machine) appendAnchor(b []byte, a *anchor) []byte {
	flags := byte(0)
	if a.confirmed {
		flags |= flagConfirmed
	}
	b = binary.BigEndian.AppendUint64(append(b, flags), a.prefix)
	b = append(b, m.recordAddress(a.router)...)
	b = binary.BigEndian.AppendUint64(b, a.linkLocal)
	b = append(append(b, a.linkLayerLength), a.linkLayer[:]...)
	b = append(b, byte(len(a.local)))
	for _, p := range a.local {
		w := p.Addr().As16()
		b = append(append(b, w[:]...), byte(p.Bits()))
	}
	return b
}

func (m *Machine) recordAddress(router uint16) []byte {
	if router == own {
		return make([]byte, 16)
	}
	a := m.routers[router].Address.As16()
	return a[:]
}

// reader takes a record apart.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	t := r.b[:n]
	r.b = r.b[n:]
	return t
}

func (r *reader) one() byte      { return r.take(1)[0] }
func (r *reader) two() uint16    { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) eight() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) addr() [16]byte { return [16]byte(r.take(16)) }

// parseRecord reads what appendRecord wrote. A router that is none any more has its prefixes left out; without the one that served
// there is no session.
func (m *Machine) parseRecord(now time.Time, b []byte) (*session, error) {
	r := &reader{b: b}
	if v := r.one(); v != recordVersion {
		return nil, fmt.Errorf("%w: not of version %d", ErrRecord, recordVersion)
	}
	s := &session{}
	flags := r.one()
	s.plain, s.leaving = flags&flagPlain != 0, flags&flagLeaving != 0
	serving := netip.AddrFrom16(r.addr())
	s.sequence, s.lifetime, s.stamp = r.two(), r.two(), r.eight()
	expires := time.UnixMilli(int64(r.eight()))
	s.linkLocal = r.eight()
	s.indicator, s.access = mh.Handoff(r.one()), mh.AccessTechnology(r.one())
	n, idLength, linkLayerLength := int(r.one()), int(r.one()), int(r.one())
	s.id, s.linkLayer = string(r.take(idLength)), string(r.take(linkLayerLength))
	if r.bad || len(s.id) < 2 {
		return nil, fmt.Errorf("%w: %d octets do not hold it", ErrRecord, len(b))
	}
	var ok bool
	if s.serving, ok = m.byAddress[serving]; !ok {
		return nil, fmt.Errorf("%w of %s: %v is no router of this database", ErrRecord, text(s.id), serving)
	}
	for ; n > 0 && !r.bad; n-- {
		if a, ok := m.parseAnchor(r); ok && (a.router == own) == s.plain {
			s.anchors = append(s.anchors, a)
		}
	}
	if r.bad || len(r.b) > 0 || len(s.anchors) == 0 {
		return nil, fmt.Errorf("%w of %s: it has no prefixes, or %d octets do not hold it", ErrRecord, text(s.id), len(b))
	}
	// Read off the wall clock once; a clock that went back gives no longer life.
	left := min(expires.Sub(now.Round(0)), time.Duration(s.lifetime)*mh.LifetimeUnit)
	s.expires = m.at(now) + left
	return s, nil
}

func (m *Machine) parseAnchor(r *reader) (a anchor, ok bool) {
	a.confirmed = r.one()&flagConfirmed != 0
	a.prefix = r.eight()
	address := netip.AddrFrom16(r.addr())
	a.linkLocal = r.eight()
	a.linkLayerLength = min(r.one(), uint8(len(a.linkLayer)))
	copy(a.linkLayer[:], r.take(len(a.linkLayer)))
	for k := r.one(); k > 0 && !r.bad; k-- {
		p := netip.AddrFrom16(r.addr())
		if prefix := netip.PrefixFrom(p, int(r.one())); prefix.IsValid() && len(a.local) < maxLocal {
			a.local = append(a.local, prefix)
		}
	}
	if address.IsUnspecified() {
		a.router = own
		return a, true
	}
	a.router, ok = m.byAddress[address]
	return a, ok
}

// load takes the store's sessions in.
func (m *Machine) load(now time.Time) error {
	if m.cfg.Store == nil {
		return nil
	}
	var problems []error
	err := m.cfg.Store.Load(func(key, record []byte) error {
		var err error
		if len(key) > 0 && key[0] == 'e' {
			err = m.admitEnd(key, record)
		} else {
			err = m.admit(now, record)
		}
		if err != nil {
			problems = append(problems, err)
		}
		return nil
	})
	return errors.Join(append(problems, err)...)
}

// admit takes the session of a record in.
func (m *Machine) admit(now time.Time, record []byte) error {
	s, err := m.parseRecord(now, record)
	if err != nil {
		return err
	}
	if m.count >= m.cfg.MaxSessions || !s.plain && m.distributed(s.id) != nil {
		return fmt.Errorf("%w of %s: there are %d sessions, or one of it", ErrRecord, text(s.id), m.count)
	}
	for i := range s.anchors {
		if m.prefixes[s.anchors[i].prefix] != nil || s.find(s.anchors[i].prefix) != i {
			return fmt.Errorf("%w of %s: %v is in another session", ErrRecord, text(s.id), prefixFrom(s.anchors[i].prefix))
		}
	}
	for i := range s.anchors {
		m.prefixes[s.anchors[i].prefix] = s
	}
	m.insert(s)
	m.reschedule(s)
	return nil
}

// save writes s to the store.
func (m *Machine) save(now time.Time, s *session) {
	if m.cfg.Store == nil || m.sessions[s.id] == nil {
		return
	}
	size := recordFixed + len(s.id) + len(s.linkLayer) + len(s.anchors)*(anchorFixed+8)
	m.stored(s.id, m.cfg.Store.Save(recordKey(s), m.appendRecord(now, make([]byte, 0, size), s)))
}

// forgetRecord removes s from the store.
func (m *Machine) forgetRecord(s *session) {
	if m.cfg.Store != nil {
		m.stored(s.id, m.cfg.Store.Delete(recordKey(s)))
	}
}

func (m *Machine) stored(id string, err error) {
	if err != nil {
		m.counters.StoreErrors++
		m.do(signaling.Report{Kind: StoreFailed, Detail: fmt.Sprintf("%s: %v", text(id), err)})
	}
}
