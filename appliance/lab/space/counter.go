package space

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// ChallengeACKs is how many TCP segments the namespace's kernel has sent in doubt of a reset's or SYN's sequence number
// (RFC 5961); 0 if it does not say.
func (n *Namespace) ChallengeACKs() int64 {
	var text []byte
	_ = n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/netstat")
		return err
	})
	return netstat(string(text), "TcpExt:", "TCPChallengeACK")
}

// netstat reads a counter from two lines of a group, one of names and one of values.
func netstat(text, group, name string) int64 {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != group {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		if i := slices.Index(names, name); i > 0 && i < len(fields) {
			v, _ := strconv.ParseInt(fields[i], 10, 64)
			return v
		}
	}
	return 0
}
