// Package wire is an impaired Ethernet cable: two TAP devices and, for each direction, a line with delay, loss and rate.
// It stands in for the kernel's netem, which many machines lack. What it adds to a stated delay is the time of two wake-ups.
package wire

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/clock"
)

// Impairment of one direction.
type Impairment struct {
	Delay time.Duration
	// Loss is the probability that a frame is lost, 0 to 1.
	Loss float64
	// Rate in bits per second of Ethernet frames without preamble and checksum; 0 is unlimited.
	Rate float64
}

const (
	// frameLength holds a frame of the TAP's MTU of 1500 with its header.
	frameLength = 2048
	// queueLength is how many frames are on the way at most; those beyond are dropped at the entrance.
	queueLength = 8192
	// queueTime is how long a frame waits for the line at most where the rate is limited.
	queueTime = 100 * time.Millisecond
)

// Counters of one direction; safe to read while it runs.
type Counters struct {
	// Carried frames, those Lost by chance and those Dropped because the queue was full.
	Carried, Lost, Dropped atomic.Uint64
}

// schedule decides each frame's fate. Times are nanoseconds of one clock.
type schedule struct {
	Impairment
	random *rand.Rand
	// free is when the line has sent all it has accepted.
	free int64
}

type fate int

const (
	carried fate = iota
	lost
	dropped
)

// admit takes a frame of length octets at time now and says when it leaves the far end.
func (s *schedule) admit(now int64, length int) (due int64, f fate) {
	if s.Loss > 0 && s.random.Float64() < s.Loss {
		return 0, lost
	}
	if s.Rate > 0 {
		start := max(now, s.free)
		if start-now > int64(queueTime) {
			return 0, dropped
		}
		s.free = start + int64(float64(length*8)*float64(time.Second)/s.Rate)
		now = s.free
	}
	return now + int64(s.Delay), carried
}

type frame struct {
	due  int64
	data []byte
	room *[frameLength]byte
}

// line carries frames from src to dst until src fails.
func line(src, dst io.ReadWriter, impairment Impairment, seed uint64, counters *Counters) {
	s := schedule{Impairment: impairment, random: rand.New(rand.NewPCG(seed, 0x77697265))}
	onTheWay := make(chan frame, queueLength)
	spare := make(chan *[frameLength]byte, queueLength)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range onTheWay {
			clock.SleepUntil(f.due)
			// An interface that is down takes no frames; a cable does not mind.
			_, _ = dst.Write(f.data)
			select {
			case spare <- f.room:
			default:
			}
		}
	}()
	defer func() {
		close(onTheWay)
		<-done
	}()
	for {
		var room *[frameLength]byte
		select {
		case room = <-spare:
		default:
			room = new([frameLength]byte)
		}
		n, err := src.Read(room[:])
		if err != nil {
			if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, unix.EBADFD) {
				return
			}
			// The interface is down for the moment.
			time.Sleep(time.Millisecond)
			continue
		}
		due, f := s.admit(clock.Monotonic(), n)
		switch f {
		case lost:
			counters.Lost.Add(1)
			continue
		case dropped:
			counters.Dropped.Add(1)
			continue
		}
		select {
		case onTheWay <- frame{due: due, data: room[:n], room: room}:
			counters.Carried.Add(1)
		default:
			counters.Dropped.Add(1)
		}
	}
}
