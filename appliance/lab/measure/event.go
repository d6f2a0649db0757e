package measure

import (
	"time"
)

// Event is what a node told of itself.
type Event struct {
	Node     string    `json:"node"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Home     string    `json:"home,omitempty"`
	CareOf   string    `json:"care_of,omitempty"`
	Peer     string    `json:"peer,omitempty"`
	Link     string    `json:"link,omitempty"`
	Sequence uint16    `json:"sequence,omitempty"`
	Lifetime float64   `json:"lifetime_seconds,omitempty"`
	Status   int       `json:"status,omitempty"`
	Detail   string    `json:"detail,omitempty"`
}

// The kinds of events that handoffs are split by.
const (
	LinkUp                 = "link-up"
	RouterAdvertisement    = "router-advertisement"
	CareOfAddressUsable    = "care-of-address-usable"
	BindingUpdateSent      = "binding-update-sent"
	AcknowledgementArrived = "binding-acknowledgement-received"
	BindingRegistered      = "binding-registered"
	ReturnedHome           = "returned-home"
	ProxyUpdateReceived    = "proxy-binding-update-received"
)

// Parts of a handoff: what happened, in order, each as the time since the interface was plugged in. A part that was not
// seen is absent.
type Parts struct {
	LinkUp          *time.Duration
	Advertisement   *time.Duration
	CareOfUsable    *time.Duration
	UpdateSent      *time.Duration
	Acknowledgement *time.Duration
	// FirstDownlink and FirstUplink are the arrivals of the first datagrams by the new link.
	FirstDownlink *time.Duration
	FirstUplink   *time.Duration
}

// Split finds the parts of a move of node in events, which are in order of time: plugged in at plugged, over at end.
func Split(events []Event, node string, plugged, end int64) Parts {
	var p Parts
	first := func(part **time.Duration, since time.Duration) {
		if *part == nil {
			*part = &since
		}
	}
	for _, e := range events {
		t := e.Time.UnixNano()
		if e.Node != node || t < plugged || t >= end {
			continue
		}
		since := time.Duration(t - plugged)
		switch e.Kind {
		case LinkUp:
			first(&p.LinkUp, since)
		case RouterAdvertisement:
			first(&p.Advertisement, since)
		case CareOfAddressUsable:
			first(&p.CareOfUsable, since)
		case BindingUpdateSent:
			first(&p.UpdateSent, since)
		case AcknowledgementArrived:
			// An answer to what was sent before the move does not count.
			if p.UpdateSent != nil {
				first(&p.Acknowledgement, since)
			}
		}
	}
	return p
}

// Between returns the events of a window.
func Between(events []Event, begin, end int64) []Event {
	var out []Event
	for _, e := range events {
		if t := e.Time.UnixNano(); t >= begin && t < end {
			out = append(out, e)
		}
	}
	return out
}
