package node

import (
	"context"

	"kedge/appliance/control"
)

// Flows implements control.Node.
func (n *Node) Flows(ctx context.Context, limit int) ([]control.Flow, error) {
	return nil, control.ErrNotThisRole
}

// Flow implements control.Node.
func (n *Node) Flow(ctx context.Context, number uint64) (control.Flow, error) {
	return control.Flow{}, control.ErrNotThisRole
}

// SwitchFlow implements control.Node.
func (n *Node) SwitchFlow(ctx context.Context, number uint64, mode, uplink string) error {
	return control.ErrNotThisRole
}

// Anchors implements control.Node.
func (n *Node) Anchors(ctx context.Context) ([]control.Anchor, error) {
	return nil, control.ErrNotThisRole
}

// Directory implements control.Node.
func (n *Node) Directory(ctx context.Context) ([]control.Proxy, error) {
	return nil, control.ErrNotThisRole
}
