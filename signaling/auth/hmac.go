package auth

import (
	"crypto/sha1"
	"crypto/sha256"
	"net/netip"
)

const (
	// blockSize is that of both hash functions in octets.
	blockSize = 64
	// shortHeader is how many octets of a Mobility Header are hashed without allocating.
	shortHeader = 352
)

// The checksum's place in the Mobility Header (RFC 6275 section 6.1.1).
const checksumOffset, checksumEnd = 4, 6

// hmac is HMAC(key, careOf | home | header with a checksum of 0), as long as the hash. It is RFC 2104 section 2 written
// out: crypto/hmac allocates seven times a message, which takes longer than the hashing.
func (a Algorithm) hmac(key Key, careOf, home netip.Addr, header []byte) (mac [sha256.Size]byte, size int) {
	var room [blockSize + 2*16 + shortHeader]byte
	var padded [blockSize]byte
	if len(key) > blockSize {
		long, n := a.hash(key)
		copy(padded[:], long[:n])
	} else {
		copy(padded[:], key)
	}
	for i, k := range padded {
		room[i] = k ^ 0x36
	}
	inner := room[:blockSize]
	for _, address := range [...]netip.Addr{careOf, home} {
		octets := address.As16()
		inner = append(inner, octets[:]...)
	}
	inner = append(append(append(inner, header[:checksumOffset]...), 0, 0), header[checksumEnd:]...)
	mac, size = a.hash(inner)
	for i, k := range padded {
		room[i] = k ^ 0x5c
	}
	return a.hash(append(room[:blockSize], mac[:size]...))
}

// hash is the algorithm's hash function.
func (a Algorithm) hash(b []byte) (sum [sha256.Size]byte, size int) {
	if a == HMACSHA1 {
		short := sha1.Sum(b)
		return sum, copy(sum[:], short[:])
	}
	return sha256.Sum256(b), sha256.Size
}
