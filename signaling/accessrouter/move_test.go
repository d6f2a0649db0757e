package accessrouter

import (
	"testing"
	"time"

	"kedge/signaling/database"
)

func TestMoveThroughTheDomainAndBack(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode database.Mode) {
		w := network(t, mode, 3)
		w.attach(1)
		w.run(2 * time.Second)
		w.served(1)
		first := w.own(1)
		w.attach(2)
		w.run(2 * time.Second)
		w.served(2, 1)
		w.attach(3)
		w.run(2 * time.Second)
		w.served(3, 1, 2)
		w.attach(1)
		w.run(2 * time.Second)
		w.served(1, 2, 3)
		if w.own(1) != first {
			t.Errorf("back at MAAR 1: %v, want %v", w.own(1), first)
		}
		// It leaves: the session lasts until its lifetime is over, and then nothing is left.
		w.detach(1)
		w.run(DefaultLifetime - 12*time.Second)
		if s := w.info(1).State; s != "absent" || w.cmd.Len() != 1 {
			t.Errorf("before the end of its lifetime: %s, %d sessions", s, w.cmd.Len())
		}
		w.run(20 * time.Second)
		w.empty()
	})
}
