package topology

import (
	"fmt"
	"strconv"
	"strings"
)

// BitRate is a rate, written as "20Mbit", "1.5Gbit", "64kbit" or "800bit".
type BitRate struct{ bits float64 }

// PerSecond is the rate in bits per second.
func (r BitRate) PerSecond() float64 { return r.bits }

var bitUnits = []struct {
	suffix string
	factor float64
}{{"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func errorf(format string, a ...any) error { return fmt.Errorf(format, a...) }

// UnmarshalText reads a positive number and a unit; nothing is unlimited.
func (r *BitRate) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		r.bits = 0
		return nil
	}
	for _, u := range bitUnits {
		number, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v > 0 && v <= 1e12) {
			break
		}
		r.bits = v * u.factor
		return nil
	}
	return errorf("%q is not a bit rate such as \"20Mbit\"", text)
}

// MarshalText writes what UnmarshalText reads.
func (r BitRate) MarshalText() ([]byte, error) {
	if r.bits == 0 {
		return nil, nil
	}
	return []byte(strconv.FormatFloat(r.bits, 'f', -1, 64) + "bit"), nil
}

// String writes the rate with the largest unit that leaves a number of at least 1.
func (r BitRate) String() string {
	for _, u := range bitUnits {
		if r.bits >= u.factor {
			return strconv.FormatFloat(r.bits/u.factor, 'g', 4, 64) + " " + u.suffix + "/s"
		}
	}
	return "0 bit/s"
}
