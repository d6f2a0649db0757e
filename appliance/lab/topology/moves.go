package topology

import (
	"errors"
	"math/rand/v2"
	"time"
)

// Step is a move with where it comes from.
type Step struct {
	Move
	From  string
	Class MoveClass
}

// MoveClass is which of a move's ends are the home link.
type MoveClass string

// The classes: between foreign links, to the home link, from the home link.
const (
	ForeignMove   MoveClass = "foreign"
	ReturningMove MoveClass = "returning"
	LeavingMove   MoveClass = "leaving"
)

// MoveClasses are all classes in the order of reports.
var MoveClasses = []MoveClass{ForeignMove, ReturningMove, LeavingMove}

// afterLeaving is added to the wait after a move from the home link, since a home agent takes a second to detect duplicate
// addresses before it serves a mobile node that it has no binding of.
const afterLeaving = float64(2 * time.Second)

// Steps lists the moves in order: those of the file, then those of the alternate table until there are at least
// foreign moves between foreign links. The waits of added moves vary by a quarter around the stated one, so that they
// fall into every phase of periodic router advertisements.
func (l *Lab) Steps(foreign int) ([]Step, error) {
	at := map[string]string{}
	for _, n := range l.Nodes {
		for _, f := range n.Interfaces {
			at[n.Name+"."+f.Name] = f.Network
		}
	}
	var steps []Step
	count := 0
	add := func(m Move) {
		key := m.Node + "." + m.Interface
		s := Step{Move: m, From: at[key]}
		if m.Way == ForgetWay {
			s.To = s.From
		}
		switch {
		case l.isHome(s.To):
			s.Class = ReturningMove
		case l.isHome(s.From):
			s.Class = LeavingMove
		default:
			s.Class = ForeignMove
			count++
		}
		at[key] = s.To
		steps = append(steps, s)
	}
	for _, m := range l.Moves {
		add(m)
	}
	if foreign > count && l.Alternate == nil {
		return nil, errors.New("this lab file has no [alternate] table to take more moves from")
	}
	random := rand.New(rand.NewPCG(l.Seed, 0x6d6f766573))
	for i := 0; count < foreign; i++ {
		a := l.Alternate
		if i > 10*foreign+10*len(a.Networks) {
			return nil, errors.New("the [alternate] table of this lab file makes too few moves between foreign links")
		}
		to := a.Networks[i%len(a.Networks)]
		if to == at[a.Node+"."+a.Interface] {
			continue
		}
		wait := float64(a.After.Std()) * (0.75 + random.Float64()/2)
		if n := len(steps); n > 0 && steps[n-1].Class == LeavingMove {
			wait += afterLeaving
		}
		add(Move{Node: a.Node, Interface: a.Interface, To: to, Way: CarrierWay, After: Of(time.Duration(wait)), Gap: a.Gap})
	}
	return steps, nil
}

func (l *Lab) isHome(network string) bool {
	n := l.Network(network)
	return n != nil && n.Home
}
