// Package auth authenticates Binding Updates and Binding Acknowledgements with the mobility message authentication option
// between mobile node and home agent (RFC 4285 section 5.1) and keeps them from being replayed with the mobility message
// replay protection option (section 6). It keeps no state but the sender's Clock; the receiver's memory, the last
// timestamp it accepted, is the caller's.
package auth

import (
	"fmt"
	"io"
	"time"
)

// DefaultWindow is how far the clocks of both ends may be apart unless the association says otherwise (RFC 4285 section
// 5.1, which also asks for more than MinimumWindow).
const (
	DefaultWindow = 7 * time.Second
	MinimumWindow = 3 * time.Second
)

// FirstSPI is the lowest mobility SPI that is not reserved (RFC 4285 section 5.1).
const FirstSPI = 256

// Algorithm computes the Authentication Data of an option.
type Algorithm uint8

// The algorithms.
const (
	// HMACSHA1 is HMAC_SHA1, of which the first 96 bits are sent (RFC 4285 section 5.1).
	HMACSHA1 Algorithm = iota + 1
	// HMACSHA256 is HMAC-SHA-256, of which the first 128 bits are sent, as RFC 4868 does for IPsec. RFC 4285 allows any
	// algorithm that both ends agree on.
	HMACSHA256
)

// Size is the length in octets of the algorithm's Authentication Data; 0 for an unknown one.
func (a Algorithm) Size() int {
	switch a {
	case HMACSHA1:
		return 96 / 8
	case HMACSHA256:
		return 128 / 8
	}
	return 0
}

// String is the algorithm's name in configuration files.
func (a Algorithm) String() string {
	switch a {
	case HMACSHA1:
		return "hmac-sha1-96"
	case HMACSHA256:
		return "hmac-sha-256-128"
	}
	return fmt.Sprintf("algorithm %d", uint8(a))
}

// Key is a shared secret, which does not print.
type Key []byte

// Format writes a placeholder whatever the verb.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// MarshalText is the same placeholder, for encoders.
func (Key) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// Association is a shared-key-based mobility security association (RFC 4285 section 3.1). Its replay protection is always
// the timestamp's, since sequence numbers protect only as long as the receiver remembers them (appendix A).
type Association struct {
	// SPI is at least FirstSPI.
	SPI       uint32
	Algorithm Algorithm
	Key       Key
	// Window is the greatest accepted difference between the timestamp and the receiver's clock; 0 is DefaultWindow.
	Window time.Duration
	// Identifier is the network access identifier (RFC 4283) that Sign adds to messages without one; empty adds none.
	// RFC 4285 section 4 asks mobile nodes for it.
	Identifier string
}

func (a Association) window() time.Duration {
	if a.Window == 0 {
		return DefaultWindow
	}
	return a.Window
}
