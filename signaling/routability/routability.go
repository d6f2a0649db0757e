// Package routability is what both ends of the return routability procedure compute and keep to (RFC 6275 sections 5.2.5 and
// 5.2.6): the binding management key, the authenticators made with it, and the lifetimes.
package routability

import (
	"crypto/hmac"
	"crypto/sha1"
	"fmt"
	"io"
	"net/netip"
	"time"

	"kedge/signaling/mh"
)

// The protocol constants of RFC 6275 section 12.
const (
	MaxNonceLifetime   = 240 * time.Second // MAX_NONCE_LIFETIME
	MaxTokenLifetime   = 210 * time.Second // MAX_TOKEN_LIFETIME
	MaxBindingLifetime = 420 * time.Second // MAX_RR_BINDING_LIFETIME
)

// AuthenticatorSize is the length in octets of the Authenticator that return routability makes (RFC 6275 section 6.2.7).
const AuthenticatorSize = 12

// Key is a binding management key, Kbm. It does not print.
type Key [sha1.Size]byte

// Format writes a placeholder whatever the verb.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// BindingKey is the Kbm of a registration:
//
//	Kbm = SHA-1 (home keygen token | care-of keygen token)
func BindingKey(home, careOf mh.KeygenToken) Key {
	return sha1.Sum(append(append(make([]byte, 0, 16), home[:]...), careOf[:]...))
}

// DeletionKey is the Kbm of a deregistration:
//
//	Kbm = SHA-1 (home keygen token)
func DeletionKey(home mh.KeygenToken) Key { return sha1.Sum(home[:]) }

// Sign encodes m, a Binding Update or Acknowledgement, with a Binding Authorization Data option behind its other options. What
// it had of that before is replaced. careOf is the care-of address that is being registered, or the home address in a
// deregistration. The checksum is left 0, for mh.SetChecksum. The errors are those of mh.Append.
//
//	Authenticator = First (96, HMAC_SHA1 (Kbm, care-of address | correspondent | MH Data))
//
// where MH Data is the Mobility Header with a checksum of 0, up to the Authenticator (RFC 6275 section 6.2.7).
func Sign(m mh.Message, key Key, careOf, correspondent netip.Addr) ([]byte, error) {
	list := m.OptionList()
	kept := make(mh.Options, 0, len(*list)+1)
	for _, o := range *list {
		if _, ok := o.(*mh.BindingAuthorizationData); !ok {
			kept = append(kept, o)
		}
	}
	*list = append(kept, &mh.BindingAuthorizationData{Authenticator: make([]byte, AuthenticatorSize)})
	b, err := mh.Append(nil, m)
	if err != nil {
		return nil, err
	}
	start, end, err := mh.AuthorizationRange(b)
	if err != nil {
		return nil, err
	}
	copy(b[start:end], compute(b[:start], key, careOf, correspondent))
	return b, nil
}

// Verify checks the Binding Authorization Data option of the encoded message b, in constant time. It is false without one,
// and if it is not the last option.
func Verify(b []byte, key Key, careOf, correspondent netip.Addr) bool {
	start, end, err := mh.AuthorizationRange(b)
	return err == nil && end == len(b) && hmac.Equal(b[start:end], compute(b[:start], key, careOf, correspondent))
}

// compute is the Authenticator for the Mobility Header up to it.
func compute(header []byte, key Key, careOf, correspondent netip.Addr) []byte {
	// The checksum's place in the Mobility Header (RFC 6275 section 6.1.1).
	const checksum, afterChecksum = 4, 6
	h := hmac.New(sha1.New, key[:])
	for _, a := range [...]netip.Addr{careOf, correspondent} {
		b := a.As16()
		h.Write(b[:])
	}
	h.Write(header[:checksum])
	h.Write([]byte{0, 0})
	h.Write(header[afterChecksum:])
	return h.Sum(nil)[:AuthenticatorSize]
}
