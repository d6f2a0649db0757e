package flow

import (
	"errors"
	"testing"
	"time"

	"kedge/forwarding/ip6"
)

func TestFloodSparesWhatIsEstablished(t *testing.T) {
	const limit = 2000
	table := NewTable(Config{MaxFlows: limit}, epoch)
	var good []Tuple
	for i := range 500 {
		k := key(ip6.TCP, uint16(i), 80)
		establish(table, 0, insert(t, table, 0, opening(k)))
		u := key(ip6.UDP, uint16(i), 53)
		f := insert(t, table, 0, opening(u))
		saw(table, 0, f, true)
		saw(table, 0, f, false)
		good = append(good, k.Tuple(), u.Tuple())
	}
	now := 10 * time.Second
	for i := range 20000 {
		k := Key{Local: home, Remote: remote, Protocol: []uint8{ip6.TCP, ip6.UDP}[i%2], LocalPort: uint16(i), RemotePort: uint16(1000 + i>>16)}
		o := opening(k)
		o.Initiator = Correspondent
		f := insert(t, table, now, o)
		if k.Protocol == ip6.TCP {
			tcp(table, now, f, false, 1, 0, tcpSYN, 0)
			tcp(table, now, f, true, uint32(i)<<20, 2, tcpSYN|tcpACK, 0)
			tcp(table, now, f, false, 2, 0x80000001, tcpACK, 0) // guessed
		} else {
			saw(table, now, f, false)
		}
		now += 10 * time.Microsecond
	}
	if table.Len() != limit {
		t.Errorf("%d flows, want %d", table.Len(), limit)
	}
	for i := range good {
		if table.Lookup(&good[i]) == nil {
			t.Fatalf("the flood put out %v", good[i].Key())
		}
	}
	if n := table.Stats()[Evictions]; n != 20000+1000-limit {
		t.Errorf("%d evictions", n)
	}
}

func TestFullOfEstablished(t *testing.T) {
	table := NewTable(Config{MaxFlows: 100}, epoch)
	for i := range 100 {
		establish(table, time.Duration(i)*time.Second, insert(t, table, time.Duration(i)*time.Second, opening(key(ip6.TCP, uint16(i), 80))))
	}
	if _, _, err := table.Insert(200*time.Second, opening(key(ip6.TCP, 1000, 80))); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if n := table.Stats()[Refused]; n != 1 || table.Len() != 100 {
		t.Errorf("%d refused, %d flows", n, table.Len())
	}
	// Idle for longer than five minutes, they go.
	var made int
	for i := range 200 {
		if _, _, err := table.Insert(10*time.Minute, opening(key(ip6.TCP, uint16(1000+i), 80))); err == nil {
			made++
		}
	}
	if made == 0 || table.Len() > 100 {
		t.Errorf("%d made, %d flows", made, table.Len())
	}
}

func TestEvictsOldestFirst(t *testing.T) {
	table := NewTable(Config{MaxFlows: 1000}, epoch)
	for i := range 1000 {
		insert(t, table, time.Duration(i)*time.Second, opening(key(ip6.UDP, uint16(i), 1)))
	}
	for i := range 300 {
		insert(t, table, 2000*time.Second, opening(key(ip6.UDP, uint16(i), 2)))
	}
	// Each shard gives its oldest in turn, so that the order is that of age but for the spread over the shards.
	var sum, n int
	for i := range 1000 {
		tuple := key(ip6.UDP, uint16(i), 1).Tuple()
		if table.Lookup(&tuple) == nil {
			sum += i
			n++
		}
	}
	if n < 270 || sum/n > 330 {
		t.Errorf("%d flows went, %d s old of 1000 on average", n, 1000-sum/max(n, 1))
	}
}
