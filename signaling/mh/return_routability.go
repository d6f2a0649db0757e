package mh

import "encoding/binary"

// Cookie is a home init or care-of init cookie (RFC 6275 section 5.2.5).
type Cookie [8]byte

// KeygenToken is a home or care-of keygen token (RFC 6275 section 5.2.5).
type KeygenToken [8]byte

// HomeTestInit is RFC 6275 section 6.1.3; CareOfTestInit has the same layout.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |           Reserved            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                       Home Init Cookie                        +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HomeTestInit struct {
	Cookie  Cookie
	Options Options
}

// CareOfTestInit is RFC 6275 section 6.1.4, laid out as HomeTestInit.
type CareOfTestInit struct {
	Cookie  Cookie
	Options Options
}

// HomeTest is RFC 6275 section 6.1.5; CareOfTest has the same layout.
//
//	                                +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	                                |       Home Nonce Index        |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                       Home Init Cookie                        +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	+                       Home Keygen Token                       +
//	|                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type HomeTest struct {
	NonceIndex uint16
	Cookie     Cookie
	Token      KeygenToken
	Options    Options
}

// CareOfTest is RFC 6275 section 6.1.6, laid out as HomeTest.
type CareOfTest struct {
	NonceIndex uint16
	Cookie     Cookie
	Token      KeygenToken
	Options    Options
}

// Type is TypeHomeTestInit.
func (*HomeTestInit) Type() Type { return TypeHomeTestInit }

// Type is TypeCareOfTestInit.
func (*CareOfTestInit) Type() Type { return TypeCareOfTestInit }

// Type is TypeHomeTest.
func (*HomeTest) Type() Type { return TypeHomeTest }

// Type is TypeCareOfTest.
func (*CareOfTest) Type() Type { return TypeCareOfTest }

// OptionList is the message's options.
func (m *HomeTestInit) OptionList() *Options { return &m.Options }

// OptionList is the message's options.
func (m *CareOfTestInit) OptionList() *Options { return &m.Options }

// OptionList is the message's options.
func (m *HomeTest) OptionList() *Options { return &m.Options }

// OptionList is the message's options.
func (m *CareOfTest) OptionList() *Options { return &m.Options }

func (*HomeTestInit) bodyLength() int   { return 10 }
func (*CareOfTestInit) bodyLength() int { return 10 }
func (*HomeTest) bodyLength() int       { return 18 }
func (*CareOfTest) bodyLength() int     { return 18 }

func appendTestInit(b []byte, c Cookie) []byte { return append(append(b, 0, 0), c[:]...) }

func (m *HomeTestInit) appendBody(b []byte) ([]byte, error) { return appendTestInit(b, m.Cookie), nil }
func (m *CareOfTestInit) appendBody(b []byte) ([]byte, error) {
	return appendTestInit(b, m.Cookie), nil
}

func (m *HomeTestInit) parseBody(b []byte) error {
	m.Cookie = Cookie(b[2:])
	return nil
}

func (m *CareOfTestInit) parseBody(b []byte) error {
	m.Cookie = Cookie(b[2:])
	return nil
}

func appendTest(b []byte, nonce uint16, c Cookie, t KeygenToken) []byte {
	b = binary.BigEndian.AppendUint16(b, nonce)
	return append(append(b, c[:]...), t[:]...)
}

func (m *HomeTest) appendBody(b []byte) ([]byte, error) {
	return appendTest(b, m.NonceIndex, m.Cookie, m.Token), nil
}

func (m *CareOfTest) appendBody(b []byte) ([]byte, error) {
	return appendTest(b, m.NonceIndex, m.Cookie, m.Token), nil
}

func (m *HomeTest) parseBody(b []byte) error {
	m.NonceIndex, m.Cookie, m.Token = binary.BigEndian.Uint16(b), Cookie(b[2:]), KeygenToken(b[10:])
	return nil
}

func (m *CareOfTest) parseBody(b []byte) error {
	m.NonceIndex, m.Cookie, m.Token = binary.BigEndian.Uint16(b), Cookie(b[2:]), KeygenToken(b[10:])
	return nil
}
