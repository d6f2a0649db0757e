package homeproxy

import (
	"encoding/binary"

	"kedge/signaling/mh"
)

// A lease's owner is written into the binding as
//
//	0 (1) | SPI (4) | MN-ID subtype (1) | MN-ID
//
// The first octet tells it from the MN-ID of a plain mobile node, which begins with no NUL.
const ownerPrefix = 6

// maxIdentifier is the longest MN-ID whose owner fits a binding's record.
const maxIdentifier = 255 - ownerPrefix

func ownerOf(spi uint32, id *mh.MobileNodeIdentifier) string {
	b := binary.BigEndian.AppendUint32(append(make([]byte, 0, ownerPrefix+len(id.Identifier)), 0), spi)
	return string(append(append(b, id.Subtype), id.Identifier...))
}

// parseOwner is ownerOf undone; not ok for a plain mobile node's.
func parseOwner(owner string) (spi uint32, identifier string, ok bool) {
	if len(owner) < ownerPrefix || owner[0] != 0 {
		return 0, "", false
	}
	return binary.BigEndian.Uint32([]byte(owner[1:5])), owner[ownerPrefix:], true
}
