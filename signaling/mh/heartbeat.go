package mh

import "encoding/binary"

// Heartbeat is RFC 5847 section 3.3.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |          Reserved         |U|R|
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Sequence Number                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Heartbeat struct {
	// Unsolicited (U) marks a response that nobody asked for; Response (R) tells responses from requests.
	Unsolicited, Response bool
	Sequence              uint32
	Options               Options
}

// Type is TypeHeartbeat.
func (*Heartbeat) Type() Type { return TypeHeartbeat }

// OptionList is the message's options.
func (m *Heartbeat) OptionList() *Options { return &m.Options }

func (*Heartbeat) bodyLength() int { return 6 }

func (m *Heartbeat) appendBody(b []byte) ([]byte, error) {
	var flags byte
	if m.Unsolicited {
		flags |= 2
	}
	if m.Response {
		flags |= 1
	}
	return binary.BigEndian.AppendUint32(append(b, 0, flags), m.Sequence), nil
}

func (m *Heartbeat) parseBody(b []byte) error {
	m.Unsolicited, m.Response = b[1]&2 != 0, b[1]&1 != 0
	m.Sequence = binary.BigEndian.Uint32(b[2:])
	return nil
}

// RestartCounter is the Restart Counter option (RFC 5847 section 3.4), aligned 4n+2.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |   Type = 28   |   Length = 4  |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|                        Restart Counter                        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type RestartCounter struct{ Counter uint32 }

// OptionType is OptionRestartCounter.
func (*RestartCounter) OptionType() OptionType { return OptionRestartCounter }

func (*RestartCounter) align() (x, y int) { return 4, 2 }

func (o *RestartCounter) appendData(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(b, o.Counter), nil
}

func (o *RestartCounter) parseData(d []byte) error {
	if len(d) != 4 {
		return errDataLength
	}
	o.Counter = binary.BigEndian.Uint32(d)
	return nil
}
