package mh

import (
	"errors"
	"fmt"
)

// kind is one type of message.
type kind struct {
	// bodyLength is the message type's own.
	bodyLength int
	make       func() Message
}

func kindOf[M any, P interface {
	*M
	Message
}]() *kind {
	return &kind{P(nil).bodyLength(), func() Message { return P(new(M)) }}
}

// kinds are the messages by MH Type, but for those that more than one message has.
var (
	kinds = [TypeHeartbeat + 1]*kind{
		TypeBindingRefreshRequest:  kindOf[BindingRefreshRequest](),
		TypeHomeTestInit:           kindOf[HomeTestInit](),
		TypeCareOfTestInit:         kindOf[CareOfTestInit](),
		TypeHomeTest:               kindOf[HomeTest](),
		TypeCareOfTest:             kindOf[CareOfTest](),
		TypeBindingUpdate:          kindOf[BindingUpdate](),
		TypeBindingAcknowledgement: kindOf[BindingAcknowledgement](),
		TypeBindingError:           kindOf[BindingError](),
		TypeHeartbeat:              kindOf[Heartbeat](),
	}
	experimentalKind, dmipv6Kind  = kindOf[Experimental](), kindOf[DMIPv6]()
	indicationKind                = kindOf[BindingRevocationIndication]()
	revocationAcknowledgementKind = kindOf[BindingRevocationAcknowledgement]()
)

// kindOfHeader is that of the Mobility Header b of at least 8 octets; nil if its type is unknown.
func kindOfHeader(b []byte) *kind {
	switch t := Type(b[2]); t {
	case TypeExperimental:
		if isDMIPv6(b) {
			return dmipv6Kind
		}
		return experimentalKind
	case TypeBindingRevocation:
		switch b[headerLength] {
		case revocationIndication:
			return indicationKind
		case revocationAcknowledgement:
			return revocationAcknowledgementKind
		}
	default:
		if int(t) < len(kinds) {
			return kinds[t]
		}
	}
	return nil
}

// Parse reads one Mobility Header, which b is from its Payload Proto octet to its end. The checksum is not looked at:
// ChecksumValid comes first.
//
// The errors are those of ParseHeader, and *OptionError for the first option that is malformed. If the options that follow
// it could still be told apart, the message is returned too, without the malformed ones, so that a receiver may answer it.
func Parse(b []byte) (Message, error) {
	_, kind, err := parseHeader(b)
	if err != nil {
		return nil, err
	}
	m := kind.make()
	if _, is := m.(*Experimental); is {
		return m, m.parseBody(b[headerLength:])
	}
	if err := m.parseBody(b[headerLength:]); err != nil {
		return nil, err
	}
	_, strict := m.(*DMIPv6)
	opts, err := parseOptions(b, headerLength+kind.bodyLength, strict)
	if errors.Is(err, errCutShort) {
		return nil, err
	}
	*m.OptionList() = opts
	return m, err
}

// ParseOptions reads the mobility options from octet at of the Mobility Header b to its end. Its errors are *OptionError;
// unless an option ran past the end, all options but the malformed are returned too.
func ParseOptions(b []byte, at int) (Options, error) { return parseOptions(b, at, false) }

// usualOptions is room for those of nearly every message.
const usualOptions = 6

// parseOptions is ParseOptions; strict says that the kinds of experimental options are DMIPv6's for certain.
func parseOptions(b []byte, at int, strict bool) (Options, error) {
	var opts Options
	var first error
	for at < len(b) {
		t := OptionType(b[at])
		if t == OptionPad1 {
			at++
			continue
		}
		if at+2 > len(b) || at+2+int(b[at+1]) > len(b) {
			return nil, &OptionError{t, at, errCutShort}
		}
		end := at + 2 + int(b[at+1])
		if t != OptionPadN {
			o := newOption(t, b[at+2:end])
			if o == nil {
				o = &UnknownOption{Type: t}
			}
			err := o.parseData(b[at+2 : end])
			if err != nil && t == OptionExperimental && !strict {
				o = new(ExperimentalOption)
				err = o.parseData(b[at+2 : end])
			}
			if t == OptionBindingAuthorizationData && end != len(b) {
				err = errNotLast
			}
			switch {
			case err == nil:
				if opts == nil {
					opts = make(Options, 0, usualOptions)
				}
				opts = append(opts, o)
			case first == nil:
				first = &OptionError{t, at, err}
			}
		}
		at = end
	}
	return opts, first
}

// Append writes m to the end of b, with each option on its alignment, the whole padded to a multiple of 8 octets, and 0
// for a checksum. b is returned as it was with any error.
func Append(b []byte, m Message) ([]byte, error) {
	start := len(b)
	out := append(b, noNextHeader, 0, byte(m.Type()), 0, 0, 0)
	out, err := m.appendBody(out)
	if err != nil {
		return b, err
	}
	if out, err = AppendOptions(out, start, *m.OptionList()); err != nil {
		return b, err
	}
	n, most := len(out)-start, maxLength
	if _, is := m.(*DMIPv6); is {
		most = maxDMIPv6Length
	}
	if n > most {
		return b, fmt.Errorf("mobility header: %d octets, at most %d fit", n, most)
	}
	out[start+1] = byte(n/8 - 1)
	return out, nil
}

// AppendOptions writes opts to the end of b, aligned with respect to b[start], the first octet of their Mobility Header,
// and pads so that it becomes a multiple of 8 octets long. b is returned as it was with any error.
func AppendOptions(b []byte, start int, opts Options) ([]byte, error) {
	out := b
	for i, o := range opts {
		t := o.OptionType()
		x, y := o.align()
		out = appendPadding(out, mod(y-(len(out)-start), x))
		at := len(out)
		out = append(out, byte(t), 0)
		var err error
		if out, err = o.appendData(out); err == nil {
			err = setLength(out, at)
		}
		if t == OptionBindingAuthorizationData && i != len(opts)-1 {
			err = errNotLast
		}
		if err != nil {
			return b, &OptionError{t, -1, err}
		}
	}
	return appendPadding(out, mod(start-len(out), 8)), nil
}

// mod is a modulo m, 0 to m-1 for negative a too.
func mod(a, m int) int { return (a%m + m) % m }

// appendPadding writes n octets, 0 to 7, of padding: one Pad1 or PadN option (RFC 6275 sections 6.2.2, 6.2.3).
func appendPadding(b []byte, n int) []byte {
	switch n {
	case 0:
		return b
	case 1:
		return append(b, byte(OptionPad1))
	}
	b = append(b, byte(OptionPadN), byte(n-2))
	return append(b, make([]byte, n-2)...)
}

// setLength puts the length of the option or sub-option that begins at b[at], and is the last in b, into it.
func setLength(b []byte, at int) error {
	n := len(b) - at - 2
	if n > 255 {
		return fmt.Errorf("%d octets of data, at most 255 fit", n)
	}
	b[at+1] = byte(n)
	return nil
}
