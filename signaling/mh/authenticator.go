package mh

import "errors"

// ErrNoAuthenticator is returned for a message without the option that authenticates it.
var ErrNoAuthenticator = errors.New("mobility header: no authentication option")

// AuthenticatorRange finds the Authentication Data of the last Mobility Message Authentication option (RFC 4285 section 5)
// in the Mobility Header b: b[start:end]. What it authenticates is b[:start], with a checksum of 0. The errors are
// ErrNoAuthenticator, those of ParseHeader, and *OptionError, also if another option comes after it.
func AuthenticatorRange(b []byte) (start, end int, err error) {
	return findAuthenticator(b, OptionMessageAuthentication, 5)
}

// AuthorizationRange finds the Authenticator of the Binding Authorization Data option (RFC 6275 section 6.2.7) in the
// Mobility Header b: b[start:end]. What it authenticates is b[:start], with a checksum of 0. Its errors are
// AuthenticatorRange's.
func AuthorizationRange(b []byte) (start, end int, err error) {
	return findAuthenticator(b, OptionBindingAuthorizationData, 0)
}

// findAuthenticator finds the last option's data, without its first skip octets, if it is of type t.
func findAuthenticator(b []byte, t OptionType, skip int) (start, end int, err error) {
	_, kind, err := parseHeader(b)
	if err != nil {
		return 0, 0, err
	}
	found := -1
	for at := headerLength + kind.bodyLength; at < len(b); {
		o := OptionType(b[at])
		if o == OptionPad1 {
			at++
			continue
		}
		if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
			return 0, 0, &OptionError{o, at, errCutShort}
		}
		switch {
		case o == t:
			found = at
			start, end = at+2+skip, at+2+int(b[at+1])
		case o != OptionPadN && found >= 0:
			return 0, 0, &OptionError{t, found, errNotLast}
		}
		at += 2 + int(b[at+1])
	}
	switch {
	case found < 0:
		return 0, 0, ErrNoAuthenticator
	case start > end:
		return 0, 0, &OptionError{t, found, errDataLength}
	}
	return start, end, nil
}
