package signaling

import "net/netip"

// HomePath says how packets of an address that this mobile node holds reach its anchor now: what the last Bind of it with
// Mobile said, or that there is none, after an Unbind. It is handed over with each of them.
type HomePath struct {
	Home netip.Addr
	// CareOf is the tunnel's end here; invalid if there is no tunnel, or only one over UDP, whose ends no correspondent could be
	// told of.
	CareOf netip.Addr
	Link   string
	Router netip.Addr
	// AtHome says that Home is at home, on Link.
	AtHome bool
}

func (HomePath) event() {}

// Optimize has packets between a mobile node and a correspondent node go past the home agent (RFC 6275 sections 9.3 and
// 11.3). It replaces the one before for the same Mobile, Home and Correspondent.
type Optimize struct {
	// Mobile is true on the mobile node, and false on the correspondent node.
	Mobile              bool
	Home, Correspondent netip.Addr
	// CareOf is the one in the correspondent node's binding. On the mobile node it may be invalid: packets to the
	// correspondent node take the tunnel then, but those from it that still come past the home agent are taken.
	CareOf netip.Addr
	// Link and Router say where the mobile node's packets leave.
	Link   string
	Router netip.Addr
}

// Deoptimize takes an Optimize back.
type Deoptimize struct {
	Mobile              bool
	Home, Correspondent netip.Addr
}

func (Optimize) effect()   {}
func (Deoptimize) effect() {}
