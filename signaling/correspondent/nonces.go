package correspondent

import (
	"crypto/hmac"
	"crypto/sha1"
	"net/netip"
	"time"

	"kedge/signaling/mh"
	"kedge/signaling/routability"
)

const (
	// nonceInterval is how long a nonce is the current one, from its first use on (RFC 6275 section 5.2.7).
	nonceInterval = 30 * time.Second
	// nonceCount is how many can be valid at once.
	nonceCount = int(routability.MaxNonceLifetime / nonceInterval)
)

// nonce is a nonce and the node key, Kcn, that goes with it: the index tells both (RFC 6275 section 5.2.7). It is made when a
// test message first needs it.
type nonce struct {
	index uint16
	key   [20]byte
	value [8]byte
	first time.Time
}

// nonces are those given out, the current one last. All are valid, but for their age.
type nonces struct {
	random func([]byte)
	next   uint16
	list   []nonce
}

func newNonces(random func([]byte)) nonces {
	// After a restart nobody's index should name a nonce that he does not have: status 138 makes him ask anew, where a wrong
	// authenticator would be met with silence.
	var b [2]byte
	random(b[:])
	return nonces{random: random, next: uint16(b[0])<<8 | uint16(b[1])}
}

// current is the nonce to make tokens with at now.
func (n *nonces) current(now time.Time) *nonce {
	n.expire(now)
	if k := len(n.list); k > 0 && now.Sub(n.list[k-1].first) < nonceInterval {
		return &n.list[k-1]
	}
	if len(n.list) == nonceCount {
		n.list = append(n.list[:0], n.list[1:]...)
	}
	n.list = append(n.list, nonce{index: n.next, first: now})
	n.next++
	c := &n.list[len(n.list)-1]
	n.random(c.key[:])
	n.random(c.value[:])
	return c
}

// find is the nonce with that index; nil if it is not, or no longer, known.
func (n *nonces) find(now time.Time, index uint16) *nonce {
	n.expire(now)
	for i := range n.list {
		if n.list[i].index == index {
			return &n.list[i]
		}
	}
	return nil
}

// expire discards what is older than MAX_NONCE_LIFETIME (RFC 6275 section 5.2.2).
func (n *nonces) expire(now time.Time) {
	old := 0
	for old < len(n.list) && now.Sub(n.list[old].first) > routability.MaxNonceLifetime {
		old++
	}
	if old > 0 {
		clear(n.list[:old])
		n.list = append(n.list[:0], n.list[old:]...)
	}
}

// The octets that tell home from care-of keygen tokens.
const (
	homeToken   = 0
	careOfToken = 1
)

// token is a keygen token (RFC 6275 section 5.2.5):
//
//	First (64, HMAC_SHA1 (Kcn, (address | nonce | kind)))
func (n *nonce) token(address netip.Addr, kind byte) (t mh.KeygenToken) {
	h := hmac.New(sha1.New, n.key[:])
	a := address.As16()
	h.Write(a[:])
	h.Write(n.value[:])
	h.Write([]byte{kind})
	copy(t[:], h.Sum(nil))
	return t
}
