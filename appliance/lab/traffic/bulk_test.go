package traffic

import (
	"context"
	"testing"
	"time"
)

func TestBulk(t *testing.T) {
	to := loopback(t)
	for _, fromServer := range []bool{false, true} {
		marks := []string{}
		c, err := Bulk(t.Context(), Endpoint{Node: to.Node, Address: to.Address}, Endpoint{Node: to.Node, Address: to.Address}, BulkOptions{
			FromServer: fromServer, Streams: 3, Length: 200 * time.Millisecond,
			Counting: func() { marks = append(marks, "counting") }, Counted: func() { marks = append(marks, "counted") },
		})
		if err != nil {
			t.Fatal(err)
		}
		if c.PerSecond() < 1e6 || c.Took < 150*time.Millisecond || len(c.Seen) != 3 || c.Seen[0] != to.Address {
			t.Errorf("server sends %v: %+v", fromServer, c)
		}
		if len(marks) != 2 || marks[0] != "counting" {
			t.Errorf("marks %q", marks)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	began := time.Now()
	if _, err := Bulk(ctx, to, Endpoint{Node: to.Node, Address: to.Address}, BulkOptions{Streams: 1, Length: time.Minute}); err == nil {
		t.Error("a transfer that is broken off succeeds")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("breaking off takes %v", took)
	}
}

func TestBlast(t *testing.T) {
	to := loopback(t)
	for _, fromServer := range []bool{false, true} {
		a, err := Blast(t.Context(), Endpoint{Node: to.Node, Address: to.Address}, to, BlastOptions{FromServer: fromServer, Size: 64, Length: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if a.PerSecond() < 1000 || a.Seen != to.Address {
			t.Errorf("server sends %v: %+v", fromServer, a)
		}
	}
}
