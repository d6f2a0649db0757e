package node

import (
	"context"
	"fmt"
	"time"

	"kedge/appliance/control"
)

// MobileNodes implements control.Node.
func (n *Node) MobileNodes(ctx context.Context) (list []control.AccessMobileNode, err error) {
	r, ok := roleOf[*accessRouter](n)
	if !ok {
		return nil, fmt.Errorf("%w: it is no MAAR", control.ErrNotThisRole)
	}
	err = n.loop.call(ctx, func(now time.Time) { list = r.mobileNodes(now) })
	return list, err
}

// Sessions implements control.Node.
func (n *Node) Sessions(ctx context.Context, limit int) (list []control.MobilitySession, err error) {
	r, ok := roleOf[*mobilityDatabase](n)
	if !ok {
		return nil, fmt.Errorf("%w: it is no central mobility database", control.ErrNotThisRole)
	}
	err = n.loop.call(ctx, func(now time.Time) { list = r.sessions(now, limit) })
	return list, err
}

// RemoveSession implements control.Node.
func (n *Node) RemoveSession(ctx context.Context, mobileNode string) (removed bool, err error) {
	r, ok := roleOf[*mobilityDatabase](n)
	if !ok {
		return false, fmt.Errorf("%w: it is no central mobility database", control.ErrNotThisRole)
	}
	err = n.loop.call(ctx, func(now time.Time) {
		effects, did := r.Remove(now, mobileNode)
		removed = did
		n.carryOutAll(now, effects)
	})
	return removed, err
}
