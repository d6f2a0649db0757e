package wait

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

func TestReader(t *testing.T) {
	fds := pair(t)
	r, err := NewReader()
	if err != nil {
		t.Fatal(err)
	}
	woken := make(chan bool)
	b := make([]byte, 1)
	await := func() { woken <- r.Await(uintptr(fds[0])) }
	for range 3 {
		go await()
		select {
		case <-woken:
			t.Fatal("there was nothing to read")
		case <-time.After(5 * time.Millisecond):
		}
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
		if !<-woken {
			t.Fatal("there was something to read")
		}
		if _, err := unix.Read(fds[0], b); err != nil {
			t.Fatal(err)
		}
	}
	go await()
	time.Sleep(time.Millisecond)
	r.End()
	if <-woken {
		t.Error("it was ended")
	}
	r.End()
	if r.Await(uintptr(fds[0])) {
		t.Error("it was ended before")
	}
}

func TestReaderDoesNotAllocate(t *testing.T) {
	fds := pair(t)
	r, err := NewReader()
	if err != nil {
		t.Fatal(err)
	}
	defer r.End()
	if _, err := unix.Write(fds[1], []byte{1}); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { r.Await(uintptr(fds[0])) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestForRoom(t *testing.T) {
	fds := pair(t)
	if !ForRoom(uintptr(fds[0])) {
		t.Error("nothing was written yet")
	}
	for {
		if _, err := unix.Write(fds[0], make([]byte, 1000)); err != nil {
			break
		}
	}
	if began := time.Now(); ForRoom(uintptr(fds[0])) || time.Since(began) < Patience-time.Millisecond {
		t.Error("there is no room")
	}
}
