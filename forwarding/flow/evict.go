package flow

import "time"

const (
	// A flow that has been answered is put out for a new one only after this time without a packet, and an established TCP
	// connection only after the longer one, which covers the keep-alive of most programs that have one.
	answeredIdle  = 30 * time.Second
	connectedIdle = 5 * time.Minute
	// Where there are few that could go, looking for them must not hold up the worker.
	evictionTries = 16
	// secondChances is how many flows of one list are looked at that have had packets since they were put at its end.
	secondChances = 8
)

// list has the flows of one class of a shard, those that were put there first in front.
type list struct{ oldest, newest *Flow }

func (l *list) push(f *Flow) {
	f.older, f.newer = l.newest, nil
	if l.newest == nil {
		l.oldest = f
	} else {
		l.newest.newer = f
	}
	l.newest = f
}

func (l *list) take(f *Flow) {
	if f.older == nil {
		l.oldest = f.newer
	} else {
		f.older.newer = f.newer
	}
	if f.newer == nil {
		l.newest = f.older
	} else {
		f.newer.older = f.older
	}
	f.older, f.newer = nil, nil
}

// reserve counts one more flow and makes room for it if there is none: among the embryonic flows, then among those
// answered, then among TCP connections, by the one that has been idle for longest in a shard, each shard in turn. Flows of
// the latter two kinds go only when idle, so that a flood displaces its own. It takes no more than one shard's lock at
// a time and is bounded.
func (t *Table) reserve(now time.Duration) bool {
	if t.count.Add(1) <= int64(t.config.MaxFlows) {
		return true
	}
	for c := embryonic; c < classes; c++ {
		tries := evictionTries
		if c == embryonic {
			tries = shards
		}
		for range tries {
			if t.members[c].Load() == 0 {
				break
			}
			s := &t.sharding[t.hand.Add(1)%shards]
			s.mu.Lock()
			f := s.victim(c, tick(now))
			if f != nil {
				t.remove(s, f, Evicted, now)
			}
			s.mu.Unlock()
			if f != nil {
				t.stats[Evictions].Add(1)
				return true
			}
		}
	}
	t.count.Add(-1)
	return false
}

func (s *shard) victim(c class, now uint32) *Flow {
	l := &s.lists[c]
	for range secondChances {
		f := l.oldest
		if f == nil {
			return nil
		}
		if seen := f.seen.Load(); seen != f.listed || f.verdict.Load().State == Holding {
			l.take(f)
			f.listed = seen
			l.push(f)
			continue
		}
		idle := time.Duration(now-f.listed) * Tick
		if c == answered && idle < answeredIdle || c == connected && idle < connectedIdle {
			return nil
		}
		return f
	}
	return nil
}
