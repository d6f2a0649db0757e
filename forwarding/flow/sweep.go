package flow

import (
	"sync"
	"time"

	"kedge/forwarding/ip6"
)

// Timeouts are how long a flow stays without a packet. Zero values mean the defaults.
type Timeouts struct {
	// TCPEstablished is that of an open connection: 2 hours and 4 minutes by default, the shortest that RFC 5382 section 5
	// allows, since keep-alives go every two hours (RFC 9293 section 3.8.4).
	TCPEstablished time.Duration
	// TCPTransitory is that of a connection that is being opened or that one end has closed: 4 minutes, RFC 5382 section 5.
	TCPTransitory time.Duration
	// TCPClosed is that of a connection that both ends have closed or one has reset: 60 seconds, what hosts keep for late
	// segments. The 4 minutes of RFC 7857 section 2.2 are for translators that believe every reset; here one has to have the
	// sequence number that its receiver expects.
	TCPClosed time.Duration
	// UDP is that of what has had an answer: 5 minutes, which RFC 4787 section 4.3 recommends.
	UDP time.Duration
	// UDPOneWay is that of datagrams without an answer: 2 minutes, the least that RFC 4787 section 4.3 allows.
	UDPOneWay time.Duration
	// ICMP is that of echoes: 60 seconds (RFC 5508 section 3.2).
	ICMP time.Duration
	// Other is that of any other protocol: 10 minutes, longer than their heartbeats.
	Other time.Duration
	// Terminated is how long a flow that was ended drops what is late: 60 seconds.
	Terminated time.Duration
	// Holding is how long a flow waits for its decision at most: 5 seconds, ten times what whoever decides takes. It stays
	// with its local address then.
	Holding time.Duration
}

func (o *Timeouts) setDefaults() {
	for _, d := range []struct {
		at *time.Duration
		to time.Duration
	}{
		{&o.TCPEstablished, 2*time.Hour + 4*time.Minute},
		{&o.TCPTransitory, 4 * time.Minute},
		{&o.TCPClosed, time.Minute},
		{&o.UDP, 5 * time.Minute},
		{&o.UDPOneWay, 2 * time.Minute},
		{&o.ICMP, time.Minute},
		{&o.Other, 10 * time.Minute},
		{&o.Terminated, time.Minute},
		{&o.Holding, 5 * time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.to
		}
	}
}

func (o *Timeouts) of(f *Flow) time.Duration {
	if f.verdict.Load().State == Terminated {
		return o.Terminated
	}
	flags := f.flags.Load()
	switch f.tuple.protocol {
	case ip6.TCP:
		switch f.tcpState(flags) {
		case TCPEstablished:
			return o.TCPEstablished
		case TCPClosed:
			return o.TCPClosed
		}
		return o.TCPTransitory
	case ip6.UDP, ip6.UDPLite:
		if f.classify(flags) == answered {
			return o.UDP
		}
		return o.UDPOneWay
	case ip6.ICMP:
		return o.ICMP
	}
	return o.Other
}

// sweeper is where a sweep goes on.
type sweeper struct {
	mu            sync.Mutex
	shard, bucket int
}

// Sweep removes flows whose time is up, looking at the next budget buckets, and returns how many. There are two
// to four flows to a bucket unless there were more once; Buckets says how many there are.
func (t *Table) Sweep(now time.Duration, budget int) (removed int) {
	w := &t.sweeper
	w.mu.Lock()
	defer w.mu.Unlock()
	for budget > 0 {
		s := &t.sharding[w.shard]
		s.mu.Lock()
		b := *s.buckets.Load()
		// A worker that wants this shard does not wait for more than some hundred flows.
		n := max(min(budget, 64, len(b)-w.bucket), 0)
		for i := range n {
			b[w.bucket+i].each(func(_ uint64, f *Flow) {
				if t.sweep(s, f, now) {
					removed++
				}
			})
		}
		w.bucket += n
		if w.bucket >= len(b) {
			w.shard, w.bucket = (w.shard+1)%shards, 0
		}
		s.mu.Unlock()
		budget -= max(n, 1)
	}
	return removed
}

// Buckets is how many buckets a sweep of the whole table goes through.
func (t *Table) Buckets() (n int) {
	for i := range t.sharding {
		n += len(*t.sharding[i].buckets.Load())
	}
	return n
}

// sweep removes a flow if its time is up, and reports whether it was.
func (t *Table) sweep(s *shard, f *Flow, now time.Duration) bool {
	if f.hold != nil {
		if age := time.Duration(tick(now)-f.created) * Tick; int32(tick(now)-f.created) > 0 && age >= t.config.Timeouts.Holding {
			t.giveUp(f, now)
		}
		return false
	}
	idle := int32(tick(now) - f.seen.Load())
	if idle <= 0 || time.Duration(idle)*Tick < t.config.Timeouts.of(f) {
		return false
	}
	t.remove(s, f, Ended, now)
	return true
}
