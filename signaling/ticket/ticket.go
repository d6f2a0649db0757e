// Package ticket makes and opens the tickets by which a mobile node and a Distributed Home-Proxy (DHP) that have no key in
// common get one from the home agent, which shares a key with each. The DHP works the session key out from the message that
// it arrives with, so that it keeps no state for it. The formulas are this project's own.
package ticket

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"kedge/signaling/auth"
	"kedge/signaling/mh"
)

// KeySize is the length in octets of session keys, and of the keys that home agents share with DHPs.
const KeySize = 32

// The labels that keep keys for different uses apart.
const (
	sessionLabel = "kedge ticket 1"
	sealLabel    = "kedge seal 1"
)

// ErrOpen says that a ticket was not sealed for this mobile node, or was changed since.
var ErrOpen = errors.New("ticket does not open")

// Ticket is a session key and what it is for. Mobile node and DHP use it with auth.HMACSHA256.
type Ticket struct {
	// SPI names the key that home agent and DHP share, and in messages to the DHP the session key made from it.
	SPI uint32
	// Expiry is when the session key ends, in whole seconds.
	Expiry time.Time
	DHP    netip.Addr
	// Key is the session key, of KeySize octets.
	Key auth.Key
}

// SessionKey is the key that mobile node id and the DHP have in common until expiry, where kd is what the DHP shares with
// the home agent:
//
//	HKDF-SHA256(kd, no salt, "kedge ticket 1" | DHP address (16) | expiry (4) | MN-ID subtype (1) | MN-ID)
//
// expiry counts in whole Unix seconds. dhp is the address in the DHP's information, not that of a packet.
func SessionKey(kd auth.Key, dhp netip.Addr, expiry time.Time, id *mh.MobileNodeIdentifier) auth.Key {
	info := append([]byte(sessionLabel), dhp.AsSlice()...)
	return derive(kd, string(appendOwner(appendExpiry(info, expiry), id)))
}

// Seal encrypts t for the mobile node id, where mnha is what that shares with the home agent:
//
//	AES-256-GCM(HKDF-SHA256(mnha, no salt, "kedge seal 1"), random nonce, session key,
//	            additional data SPI (4) | expiry (4) | DHP address (16) | MN-ID subtype (1) | MN-ID)
//
// It fails if t's key, expiry or address fits no ticket.
func Seal(mnha auth.Key, t Ticket, id *mh.MobileNodeIdentifier) (*mh.KeyTicket, error) {
	switch {
	case len(t.Key) != KeySize:
		return nil, fmt.Errorf("ticket: session key of %d octets, want %d", len(t.Key), KeySize)
	case !t.DHP.Is6():
		return nil, fmt.Errorf("ticket: %v is not an IPv6 address", t.DHP)
	case t.Expiry.Unix() < 0 || t.Expiry.Unix() >= 1<<32:
		return nil, fmt.Errorf("ticket: expiry %v is out of range", t.Expiry)
	}
	o := &mh.KeyTicket{SPI: t.SPI, Expiry: time.Unix(t.Expiry.Unix(), 0), Address: t.DHP}
	rand.Read(o.Nonce[:])
	sealer(mnha).Seal(o.Sealed[:0], o.Nonce[:], t.Key, additional(o, id))
	return o, nil
}

// Open is Seal undone by the mobile node. It does not look at the expiry. Its error wraps ErrOpen.
func Open(mnha auth.Key, o *mh.KeyTicket, id *mh.MobileNodeIdentifier) (Ticket, error) {
	if !o.Address.Is6() {
		return Ticket{}, fmt.Errorf("%w: it is a short one", ErrOpen)
	}
	key, err := sealer(mnha).Open(nil, o.Nonce[:], o.Sealed[:], additional(o, id))
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: %v", ErrOpen, err)
	}
	return Ticket{SPI: o.SPI, Expiry: o.Expiry, DHP: o.Address, Key: key}, nil
}

// Short is what the DHP is shown of t.
func Short(t Ticket) *mh.KeyTicket { return &mh.KeyTicket{SPI: t.SPI, Expiry: t.Expiry} }

func additional(o *mh.KeyTicket, id *mh.MobileNodeIdentifier) []byte {
	b := appendExpiry(binary.BigEndian.AppendUint32(nil, o.SPI), o.Expiry)
	return appendOwner(append(b, o.Address.AsSlice()...), id)
}

func appendExpiry(b []byte, expiry time.Time) []byte {
	return binary.BigEndian.AppendUint32(b, uint32(expiry.Unix()))
}

func appendOwner(b []byte, id *mh.MobileNodeIdentifier) []byte {
	return append(append(b, id.Subtype), id.Identifier...)
}

func sealer(mnha auth.Key) cipher.AEAD {
	block, err := aes.NewCipher(derive(mnha, sealLabel))
	if err != nil {
		panic(err) // a key of 32 octets is right
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has blocks of 16 octets
	}
	return gcm
}

func derive(key auth.Key, info string) auth.Key {
	k, err := hkdf.Key(sha256.New, []byte(key), nil, info, KeySize)
	if err != nil {
		panic(err) // one block of output is never too much
	}
	return k
}
