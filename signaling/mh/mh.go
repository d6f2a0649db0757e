// Package mh is the codec of the Mobility Header (RFC 6275 section 6.1): every message, every mobility option, and the
// Home Address option and type 2 routing header that go with them. It knows octets only: it sends nothing and decides
// nothing. What it returns never shares memory with what it was given.
package mh

// Protocol is the next header value of the Mobility Header.
const Protocol = 135

// Type is the MH Type field (RFC 6275 section 6.1.1).
type Type uint8

// The message types.
const (
	TypeBindingRefreshRequest  Type = 0  // RFC 6275 section 6.1.2
	TypeHomeTestInit           Type = 1  // 6.1.3
	TypeCareOfTestInit         Type = 2  // 6.1.4
	TypeHomeTest               Type = 3  // 6.1.5
	TypeCareOfTest             Type = 4  // 6.1.6
	TypeBindingUpdate          Type = 5  // 6.1.7
	TypeBindingAcknowledgement Type = 6  // 6.1.8
	TypeBindingError           Type = 7  // 6.1.9
	TypeExperimental           Type = 11 // RFC 5096
	TypeHeartbeat              Type = 13 // RFC 5847
	TypeBindingRevocation      Type = 16 // RFC 5846
)

// Message is one decoded message: a pointer to one of the message types of this package.
type Message interface {
	// Type is the message's MH Type.
	Type() Type
	// OptionList is the message's mobility options, for reading and for changing. Experimental has none that this
	// package knows of; its list is always empty.
	OptionList() *Options
	// appendBody writes what stands between the Checksum field and the options.
	appendBody(b []byte) ([]byte, error)
	// parseBody reads what appendBody writes, from b of at least bodyLength octets.
	parseBody(b []byte) error
	// bodyLength is how many octets appendBody writes.
	bodyLength() int
}

// Option is one decoded mobility option: a pointer to one of the option types of this package, or *UnknownOption.
type Option interface {
	// OptionType is the option's type (RFC 6275 section 6.2.1).
	OptionType() OptionType
	// align is the option's alignment requirement xn+y; 1 and 0 if none.
	align() (x, y int)
	// appendData writes the option's data, without type and length.
	appendData(b []byte) ([]byte, error)
	// parseData reads what appendData writes.
	parseData(d []byte) error
}

// Options are a message's mobility options in order. Padding is neither kept nor written by hand: Pad1 and PadN come and
// go with alignment.
type Options []Option

// Find returns the first option of type O.
func Find[O Option](opts Options) (o O, ok bool) {
	for _, v := range opts {
		if t, is := v.(O); is {
			return t, true
		}
	}
	return o, false
}

// FindAll returns all options of type O in order.
func FindAll[O Option](opts Options) []O {
	var all []O
	for _, v := range opts {
		if t, is := v.(O); is {
			all = append(all, t)
		}
	}
	return all
}
