package space

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Masquerade makes the node a NAT: what leaves by an interface over IPv4 has the interface's address, and a port at random.
// A UDP mapping that nobody has used for the timeout is forgotten; 0 leaves the kernel's own times.
func (n *Namespace) Masquerade(iface string, timeout time.Duration) error {
	path, err := exec.LookPath("nft")
	if err != nil {
		return fmt.Errorf("node %s is a NAT: the command nft is needed, of the package nftables: %w", n.Name, err)
	}
	rules := fmt.Sprintf("table ip lab {\nchain nat {\ntype nat hook postrouting priority srcnat\noifname %q masquerade fully-random\n}\n}\n", iface)
	nft := exec.Command(path, "-f", "-")
	nft.Stdin = strings.NewReader(rules)
	var out []byte
	if err := n.Do(func() (err error) {
		out, err = nft.CombinedOutput()
		return err
	}); err != nil {
		return fmt.Errorf("node %s: the kernel cannot be made a NAT by nftables: %w: %s", n.Name, err, strings.TrimSpace(string(out)))
	}
	if timeout == 0 {
		return nil
	}
	for _, which := range []string{"timeout", "timeout_stream"} {
		if err := n.Sysctl("net.netfilter.nf_conntrack_udp_"+which, fmt.Sprint(int((timeout+time.Second-1)/time.Second))); err != nil {
			return err
		}
	}
	return nil
}

// ForgetMappings has a NAT lose all that it knows, as one that was restarted.
func (n *Namespace) ForgetMappings() error {
	err := n.Do(func() error {
		h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer h.Close()
		return h.ConntrackTableFlush(netlink.ConntrackTable)
	})
	if err != nil {
		return fmt.Errorf("node %s: forgetting mappings: %w", n.Name, err)
	}
	return nil
}
