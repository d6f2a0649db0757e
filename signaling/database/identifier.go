package database

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"kedge/signaling/mh"
)

// FormatIdentifier is a mobile node identifier as text: a network access identifier as it is, another as its subtype in
// decimal, a colon, and its octets in hexadecimal.
func FormatIdentifier(o mh.MobileNodeIdentifier) string {
	if o.Subtype == mh.IdentifierNAI {
		return o.Identifier
	}
	return fmt.Sprintf("%d:%x", o.Subtype, o.Identifier)
}

// ParseIdentifier reads what FormatIdentifier writes. What is not of its second form is a network access identifier.
func ParseIdentifier(s string) mh.MobileNodeIdentifier {
	if before, after, ok := strings.Cut(s, ":"); ok {
		subtype, err := strconv.ParseUint(before, 10, 8)
		if octets, err2 := hex.DecodeString(after); err == nil && err2 == nil && subtype != mh.IdentifierNAI {
			return mh.MobileNodeIdentifier{Subtype: uint8(subtype), Identifier: string(octets)}
		}
	}
	return mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: s}
}

// key is what sessions are found by: the subtype and the identifier's octets.
func key(o *mh.MobileNodeIdentifier) string { return string([]byte{o.Subtype}) + o.Identifier }

// option is the MN-ID option of a key.
func option(id string) *mh.MobileNodeIdentifier {
	return &mh.MobileNodeIdentifier{Subtype: id[0], Identifier: id[1:]}
}

func text(id string) string { return FormatIdentifier(*option(id)) }
