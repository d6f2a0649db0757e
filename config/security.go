package config

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"
)

const (
	// lowestSPI is the first that RFC 4285 section 5 leaves to operators; 0 to 255 are reserved.
	lowestSPI = 256
	// shortestKey is half the output of SHA-256: a shorter key would be the weakest part.
	shortestKey = 16
	longestKey  = 1024
)

func (r *reader) securityAssociations(in []documentSecurityAssociation) map[uint32]SecurityAssociation {
	out := map[uint32]SecurityAssociation{}
	for i := range in {
		d, key := &in[i], fmt.Sprintf("security_association.%d", i)
		a := SecurityAssociation{
			SPI:             uint32(r.number(key+".spi", &d.SPI, 0, lowestSPI, 1<<32-1)),
			Algorithm:       Algorithm(r.oneOf(key+".algorithm", text(d.Algorithm, string(HMACSHA256)), string(HMACSHA256), string(HMACSHA1))),
			TimestampWindow: r.duration(key+".timestamp_window", d.TimestampWindow, 7*time.Second, 4*time.Second, time.Hour),
			Key:             r.key(key+".key_file", d.KeyFile),
		}
		if _, again := out[a.SPI]; again {
			r.wrong(key+".spi", "each SPI once", "%d again", a.SPI)
		}
		out[a.SPI] = a
	}
	return out
}

// key reads a key file: the key in hexadecimal, white space around it allowed.
func (r *reader) key(key, name string) []byte {
	if name == "" {
		r.wrong(key, "the path of a file that holds the key in hexadecimal", "none")
		return nil
	}
	path := r.path(name)
	info, err := os.Stat(path)
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		r.wrong(key, "a readable key file", "%s: %s", path, cause(err))
		return nil
	}
	k, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) < shortestKey || len(k) > longestKey {
		// The contents are a secret, even when malformed.
		r.wrong(key, fmt.Sprintf("a file of %d to %d hexadecimal digits", 2*shortestKey, 2*longestKey), "%s, which holds something else", path)
		return nil
	}
	if info.Mode().Perm()&0o004 != 0 {
		r.warn(key, "%s is readable by everybody on this host; chmod 600 it", path)
	}
	return k
}

// association checks a role's choice of a security association, or its plain words that there is none.
func (r *reader) association(section string, spi *int64, unauthenticated bool, c *Config) uint32 {
	key := section + ".spi"
	switch {
	case spi == nil && !unauthenticated:
		r.wrong(key, "the spi of a [[security_association]] (or allow_unauthenticated_signaling = true, which lets anybody take over the home address)", "none")
		return 0
	case spi == nil:
		return 0
	case unauthenticated:
		r.wrong(section+".allow_unauthenticated_signaling", "either spi or allow_unauthenticated_signaling = true", "both")
	}
	if _, known := c.SecurityAssociations[uint32(*spi)]; !known || *spi != int64(uint32(*spi)) {
		r.wrong(key, "the spi of a [[security_association]] in this file", "%d", *spi)
	}
	return uint32(*spi)
}
