package node

import (
	"fmt"
	"strconv"

	"kedge/appliance/control"
	"kedge/forwarding/flow"
)

// protocolName is how people write an upper-layer protocol.
func protocolName(p uint8) string {
	switch p {
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 33:
		return "dccp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	case 136:
		return "udplite"
	}
	return strconv.Itoa(int(p))
}

func tcpName(s *flow.Snapshot) string {
	if s.Key.Protocol != 6 {
		return ""
	}
	return s.TCP.String()
}

func quote(s string) string { return strconv.Quote(s) }

// flowText names a flow for the trace.
func flowText(f *control.Flow) string {
	return fmt.Sprintf("flow %d, %s [%v]:%d to [%v]:%d", f.Number, f.Protocol, f.Local, f.LocalPort, f.Remote, f.RemotePort)
}
