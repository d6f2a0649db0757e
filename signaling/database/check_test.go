package database

import (
	"errors"
	"slices"
	"testing"
)

// check compares the machine's indices with each other.
func (m *Machine) check(t testing.TB) {
	t.Helper()
	count, prefixes := 0, 0
	for id, s := range m.sessions {
		for ; s != nil; s = s.next {
			count++
			if s.id != id || len(s.anchors) == 0 || m.due.items[s.position] != s {
				t.Errorf("session of %s is misplaced", text(id))
			}
			for i := range s.anchors {
				prefixes++
				if m.prefixes[s.anchors[i].prefix] != s {
					t.Errorf("%v of %s is not in the index", prefixFrom(s.anchors[i].prefix), text(id))
				}
			}
			if h := s.handoff; h != nil {
				for _, x := range h.exchanges {
					if x.done || x.session != s || x.router == s.serving || !s.anchoredAt(x.router) || x.position < 0 && !x.waiting {
						t.Errorf("exchange with %v about %s is lost", m.address(x.router), text(id))
					}
				}
			}
		}
	}
	if count != m.count || count != len(m.due.items) || prefixes != len(m.prefixes) {
		t.Errorf("%d sessions with %d prefixes; counted %d, %d due, %d prefixes", count, prefixes, m.count, len(m.due.items), len(m.prefixes))
	}
	for p, x := range m.ends {
		if x.peer != p || x.done || len(x.ended) == 0 || x.position < 0 && !x.waiting {
			t.Errorf("end of prefixes at %v is lost", m.address(p.router))
		}
	}
	for i, x := range m.retries.items {
		if int(x.position) != i || x.done {
			t.Errorf("exchange %d is misplaced", i)
		}
	}
}

// memory is a binding.Store.
type memory map[string][]byte

func (s memory) Save(key, record []byte) error {
	s[string(key)] = slices.Clone(record)
	return nil
}

func (s memory) Delete(key []byte) error {
	delete(s, string(key))
	return nil
}

func (s memory) Load(each func(key, record []byte) error) error {
	for k, r := range s {
		if err := each([]byte(k), r); err != nil {
			return err
		}
	}
	return nil
}

var errDisk = errors.New("disk")

// broken is a store that fails.
type broken struct{}

func (broken) Save(_, _ []byte) error                    { return errDisk }
func (broken) Delete([]byte) error                       { return errDisk }
func (broken) Load(func(key, record []byte) error) error { return errDisk }
