package traffic

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"
)

// Bulk sends as much TCP as goes from one endpoint to another for the time given and returns the bits per second that
// arrived, measured after a quarter of the time so that slow start does not count.
func Bulk(ctx context.Context, from, to Endpoint, length time.Duration) (float64, error) {
	sender, receiver, err := connect(ctx, from, to)
	if err != nil {
		return 0, err
	}
	defer sender.Close()
	defer receiver.Close()
	end := time.Now().Add(length)
	_ = sender.SetDeadline(end)
	_ = receiver.SetDeadline(end)
	go func() {
		block := make([]byte, 256<<10)
		for {
			if _, err := sender.Write(block); err != nil {
				return
			}
		}
	}()
	warm := end.Add(-length * 3 / 4)
	block := make([]byte, 1<<20)
	var counted int64
	var started time.Time
	for {
		n, err := receiver.Read(block)
		now := time.Now()
		switch {
		case started.IsZero() && now.After(warm):
			started = now
		case !started.IsZero():
			counted += int64(n)
		}
		if err != nil {
			if e, ok := err.(net.Error); (!ok || !e.Timeout()) && err != io.EOF {
				return 0, fmt.Errorf("bulk transfer: %w", err)
			}
			break
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
	}
	if started.IsZero() || counted == 0 {
		return 0, fmt.Errorf("bulk transfer: nothing arrived within %v", length)
	}
	return float64(counted) * 8 / end.Sub(started).Seconds(), nil
}
