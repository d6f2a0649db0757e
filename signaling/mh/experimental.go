package mh

import "fmt"

// Experimental is an Experimental Mobility message (RFC 5096 section 3) that is not a DMIPv6. What its Data holds is up to
// the experiment; ParseOptions and AppendOptions read and write mobility options in it.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               |
//	.                            Data                               .
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Experimental struct {
	// Data is the message from after the Checksum field to its end: 2 to 2042 octets, 2 more than a multiple of 8.
	Data []byte
}

// Type is TypeExperimental.
func (*Experimental) Type() Type { return TypeExperimental }

// OptionList is an empty list; what is put into it is lost.
func (*Experimental) OptionList() *Options { return new(Options) }

func (*Experimental) bodyLength() int { return 2 }

func (m *Experimental) appendBody(b []byte) ([]byte, error) {
	if len(m.Data)%8 != 2 {
		return b, fmt.Errorf("experimental message: %d octets of data, want 2 more than a multiple of 8", len(m.Data))
	}
	return append(b, m.Data...), nil
}

func (m *Experimental) parseBody(b []byte) error {
	m.Data = append([]byte(nil), b...)
	return nil
}
