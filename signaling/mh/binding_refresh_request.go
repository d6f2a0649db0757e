package mh

// BindingRefreshRequest is RFC 6275 section 6.1.2.
//
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|          Reserved             |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type BindingRefreshRequest struct {
	Options Options
}

// Type is TypeBindingRefreshRequest.
func (*BindingRefreshRequest) Type() Type { return TypeBindingRefreshRequest }

// OptionList is the message's options.
func (m *BindingRefreshRequest) OptionList() *Options { return &m.Options }

func (*BindingRefreshRequest) bodyLength() int { return 2 }

func (*BindingRefreshRequest) appendBody(b []byte) ([]byte, error) { return append(b, 0, 0), nil }

func (*BindingRefreshRequest) parseBody([]byte) error { return nil }
