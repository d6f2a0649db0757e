package auth

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/netip"

	"kedge/signaling/mh"
)

// Why a message is not taken. All but ErrMissing, ErrPosition and ErrAssociation have a status code (see Status); those
// three are discarded in silence.
var (
	// ErrMissing says that there is no MN-HA authentication option (RFC 4285 section 5).
	ErrMissing = errors.New("no mobility message authentication option")
	// ErrPosition says that the MN-HA authentication option is not the last option, or not the only one of its type: with
	// an MN-AAA option, which nobody here can check, before it "the HA MUST discard the message" (sections 5 and 5.1).
	ErrPosition = errors.New("mobility message authentication option is not the last option or not alone")
	// ErrAssociation says that the SPI names no association with this peer (section 5.1.1).
	ErrAssociation = errors.New("no security association")
	// ErrAuthenticator says that the Authentication Data is wrong (section 5.1.1).
	ErrAuthenticator = errors.New("authentication failed")
	// ErrNoTimestamp says that there is no replay protection option (section 6).
	ErrNoTimestamp = errors.New("no replay protection option")
	// ErrStale says that the timestamp is out of the window or not later than the last (section 6).
	ErrStale = errors.New("timestamp is not fresh")
)

// Status is the status code that RFC 4285 section 8 has for err; false if err is to be answered by silence.
func Status(err error) (mh.Status, bool) {
	switch {
	case errors.Is(err, ErrAuthenticator):
		return mh.StatusAuthenticationFailure, true
	case errors.Is(err, ErrNoTimestamp):
		return mh.StatusMessageIDRequired, true
	case errors.Is(err, ErrStale):
		return mh.StatusIDMismatch, true
	}
	return 0, false
}

// CareOf is the care-of address that goes into the computation for a Binding Update with these options and this IPv6
// source, and into that for its acknowledgement. RFC 4285 does not say which one it means; this is RFC 6275 section
// 9.5.1's care-of address of a Binding Update.
func CareOf(options mh.Options, source netip.Addr) netip.Addr {
	if alternate, ok := mh.Find[*mh.AlternateCareOf](options); ok {
		return alternate.Address
	}
	return source
}

// Timestamp is that of a message's replay protection option; ErrNoTimestamp if it has none.
func Timestamp(options mh.Options) (mh.NTPTime, error) {
	if o, ok := mh.Find[*mh.ReplayProtection](options); ok {
		return o.Timestamp, nil
	}
	return 0, ErrNoTimestamp
}

// SPI is that of a message's MN-HA authentication option.
func SPI(options mh.Options) (uint32, bool) {
	if o, _ := find(options); o != nil {
		return o.SPI, true
	}
	return 0, false
}

// find returns the MN-HA option and whether it is the only authentication option and the last option.
func find(options mh.Options) (option *mh.MessageAuthentication, last bool) {
	n := 0
	for i, o := range options {
		a, ok := o.(*mh.MessageAuthentication)
		if !ok {
			continue
		}
		n++
		if a.Subtype == mh.AuthenticationMNHA {
			option, last = a, i == len(options)-1
		}
	}
	return option, last && n == 1
}

// Sign encodes m, a Binding Update or Acknowledgement, with an MN-ID option if the association has an identifier and m has
// none yet, a replay protection option with timestamp unless that is 0, and the MN-HA authentication option last. careOf is
// the one that CareOf gives for the Binding Update, for its acknowledgement too. What m has of those options before is
// replaced. The checksum is left 0, for mh.SetChecksum.
//
// The computation is RFC 4285 section 5.1's:
//
//	Authentication Data = First(size, HMAC(key, care-of address | home address | Mobility Header))
//
// where the Mobility Header ends with the option's SPI and has a checksum of 0.
func Sign(m mh.Message, a Association, careOf, home netip.Addr, timestamp mh.NTPTime) ([]byte, error) {
	size := a.Algorithm.Size()
	if size == 0 {
		return nil, fmt.Errorf("SPI %d: %v is unknown", a.SPI, a.Algorithm)
	}
	list := m.OptionList()
	kept := make(mh.Options, 0, len(*list)+3)
	for _, o := range *list {
		switch o.(type) {
		case *mh.MessageAuthentication, *mh.ReplayProtection:
		default:
			kept = append(kept, o)
		}
	}
	if _, ok := mh.Find[*mh.MobileNodeIdentifier](kept); !ok && a.Identifier != "" {
		kept = append(kept, &mh.MobileNodeIdentifier{Subtype: mh.IdentifierNAI, Identifier: a.Identifier})
	}
	added := &trailer{
		replay:         mh.ReplayProtection{Timestamp: timestamp},
		authentication: mh.MessageAuthentication{Subtype: mh.AuthenticationMNHA, SPI: a.SPI},
	}
	added.authentication.Data = added.data[:size]
	if timestamp != 0 {
		kept = append(kept, &added.replay)
	}
	*list = append(kept, &added.authentication)
	b, err := mh.Append(make([]byte, 0, usualLength), m)
	if err != nil {
		return nil, err
	}
	start, end, err := mh.AuthenticatorRange(b)
	if err != nil {
		return nil, err
	}
	mac, _ := a.Algorithm.hmac(a.Key, careOf, home, b[:start])
	copy(b[start:end], mac[:size])
	return b, nil
}

// usualLength is room for nearly every message that is signed.
const usualLength = 192

// trailer is what Sign adds to a message, in one allocation.
type trailer struct {
	replay         mh.ReplayProtection
	authentication mh.MessageAuthentication
	data           [16]byte
}

// Verify checks the MN-HA authentication option of m, whose encoding is payload, in constant time. lookup finds the
// association by SPI; it must only know associations of the peer that home identifies, or one peer could speak for
// another (RFC 6275 section 5.1). Verify returns the association with all errors that have a status code, so that the
// refusal can be signed. It does not look at the timestamp: see Fresh.
func Verify(payload []byte, m mh.Message, lookup func(spi uint32) (Association, bool), careOf, home netip.Addr) (Association, error) {
	option, last := find(*m.OptionList())
	if option == nil {
		return Association{}, ErrMissing
	}
	if !last {
		return Association{}, ErrPosition
	}
	a, ok := lookup(option.SPI)
	if !ok || a.Algorithm.Size() == 0 {
		return Association{}, fmt.Errorf("%w for SPI %d", ErrAssociation, option.SPI)
	}
	start, end, err := mh.AuthenticatorRange(payload)
	if err != nil {
		return Association{}, err
	}
	mac, _ := a.Algorithm.hmac(a.Key, careOf, home, payload[:start])
	if !hmac.Equal(payload[start:end], mac[:a.Algorithm.Size()]) {
		return a, fmt.Errorf("%w for SPI %d", ErrAuthenticator, option.SPI)
	}
	return a, nil
}
