package node

import (
	"errors"
	"net/netip"
	"time"

	"kedge/appliance/control"
	"kedge/config"
	"kedge/signaling"
	"kedge/signaling/accessrouter"
	"kedge/signaling/auth"
	"kedge/signaling/database"
	"kedge/signaling/directory"
	"kedge/signaling/dmipv6"
	"kedge/signaling/homeagent"
	"kedge/signaling/mobilenode"
	"kedge/signaling/movement"
	"kedge/signaling/routeoptimization"
)

// role is what a node is: a state machine and what is shown of it.
type role interface {
	signaling.Machine
	// stopped says that Shutdown has been seen through.
	stopped() bool
	// show fills in the role's part of the status and says what is wrong; empty if nothing.
	show(now time.Time, s *control.Status) (reason string)
	bindings(now time.Time) []control.Binding
	removeBinding(now time.Time, home netip.Addr) (effects []signaling.Effect, removed bool)
	// start returns what is to be done before the first event: a restored binding cache.
	start(now time.Time) ([]signaling.Effect, error)
	close() error
}

// operators are the reports that an operator sees in the log without asking for more.
var operators = map[signaling.ReportKind]bool{
	movement.LinkUp:                 true,
	movement.LinkDown:               true,
	movement.RouterLost:             true,
	movement.AddressDuplicate:       true,
	mobilenode.BindingRegistered:    true,
	mobilenode.BindingRefused:       true,
	mobilenode.BindingLost:          true,
	mobilenode.ReturnedHome:         true,
	mobilenode.LeftHome:             true,
	mobilenode.Deregistered:         true,
	mobilenode.Unattached:           true,
	mobilenode.TransportChanged:     true,
	mobilenode.ClockAdjusted:        true,
	mobilenode.HomeAgentDiscovered:  true,
	mobilenode.HomeAgentNotFound:    true,
	mobilenode.HomeAgentChanged:     true,
	mobilenode.HomeAddressDuplicate: true,
	homeagent.BindingCreated:        true,
	homeagent.BindingDeleted:        true,
	homeagent.BindingExpired:        true,
	homeagent.BindingRestored:       true,
	homeagent.BindingUpdateRefused:  true,
	homeagent.BindingStoreFailed:    true,
	directory.Advertised:            true,
	directory.Withdrawn:             true,
	directory.Expired:               true,
	directory.AdvertisementRefused:  true,
	dmipv6.DHoALent:                 true,
	dmipv6.DHoARestored:             true,
	dmipv6.DHoAReturned:             true,
	dmipv6.DHoALost:                 true,
	dmipv6.DHPSkipped:               true,
	dmipv6.DirectoryUnusable:        true,
	dmipv6.FlowsTerminated:          true,
	dmipv6.PathSwitched:             true,
	dmipv6.StoreFailed:              true,
	accessrouter.Attached:           true,
	accessrouter.Detached:           true,
	accessrouter.NotAuthorized:      true,
	accessrouter.Contended:          true,
	accessrouter.PoolExhausted:      true,
	accessrouter.LocalService:       true,
	accessrouter.Denied:             true,
	accessrouter.BecamePrevious:     true,
	accessrouter.Removed:            true,
	accessrouter.StoreFailed:        true,
	database.SessionCreated:         true,
	database.SessionMoved:           true,
	database.SessionEnded:           true,
	database.Unanswered:             true,
	database.StoreFailed:            true,
	routeoptimization.Optimized:     true,
	routeoptimization.Tunnelled:     true,
	routeoptimization.Failed:        true,
	routeoptimization.Unsupported:   true,
}

func newRole(n *Node, secret []byte) (role, error) {
	switch c := n.cfg; {
	case c.MobileNode != nil:
		return newMobileNode(c)
	case c.HomeProxy != nil:
		return newHomeProxy(c)
	case c.CorrespondentNode != nil:
		return newCorrespondentNode(c)
	case c.HomeAgent != nil:
		return newHomeAgent(c)
	case c.AccessRouter == nil:
		return newMobilityDatabase(c)
	case c.Database == nil:
		return newAccessRouter(n, secret)
	}
	router, err := newAccessRouter(n, secret)
	if err != nil {
		return nil, err
	}
	database, err := newMobilityDatabase(n.cfg)
	if err != nil {
		return nil, errors.Join(err, router.close())
	}
	return combined{router, database}, nil
}

func association(a config.SecurityAssociation, identifier string) auth.Association {
	algorithm := auth.HMACSHA256
	if a.Algorithm == config.HMACSHA1 {
		algorithm = auth.HMACSHA1
	}
	return auth.Association{SPI: a.SPI, Algorithm: algorithm, Key: a.Key, Window: a.TimestampWindow, Identifier: identifier}
}

// earliest is the first of times that are not zero; zero if all are.
func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// inMilliseconds writes a round trip for the control API: below 0 if it is not known.
func inMilliseconds(d time.Duration) float64 {
	if d < 0 {
		return -1
	}
	return d.Seconds() * 1000
}
