// Package doctor says what the host lacks for kedge to run, and the exact remedy for where it runs.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"kedge/config"
	"kedge/netstack/kernel"
)

// Place is where a node runs, on which the remedy depends.
type Place string

// The places.
const (
	BareMetal Place = "bare-metal"
	Container Place = "docker"
	Rootless  Place = "rootless"
)

// Here finds out the place of this process.
func Here() Place {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return Container
		}
	}
	if os.Geteuid() != 0 || !initialUserNamespace() {
		return Rootless
	}
	return BareMetal
}

// initialUserNamespace reports whether user 0 here is user 0 of the machine.
func initialUserNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return true
	}
	var inside, outside, count uint64
	n, _ := fmt.Sscan(string(b), &inside, &outside, &count)
	return n == 3 && inside == 0 && outside == 0 && count == 1<<32-1
}

// Grade is how bad a symptom is.
type Grade string

// The grades.
const (
	Good Grade = "ok"
	// Doubtful does not stop a node, but should be known.
	Doubtful Grade = "warning"
	Bad      Grade = "problem"
)

// Symptom is the result of one check.
type Symptom struct {
	Subject string `json:"subject"`
	Grade   Grade  `json:"grade"`
	// Text says what was found.
	Text string `json:"text"`
	// Remedies say what to do in each place; empty for good symptoms.
	Remedies map[Place]string `json:"remedies,omitempty"`
}

// Examine looks at the host, for a node with configuration c; nil looks for whatever any node may need.
func Examine(c *config.Config) []Symptom {
	var interfaces []string
	needs := need{tun: true, clock: true}
	if c != nil {
		for _, l := range c.Links {
			interfaces = append(interfaces, l.Interface)
		}
		needs.tun = c.TUN != nil
		needs.clock = len(c.SecurityAssociations) > 0
		needs.selectors = c.DMIPv6 != nil
		needs.forwarding = c.TUN != nil && (c.TUN.ForwardByHost || len(c.Links) == 0)
		needs.noRaw = !slices.ContainsFunc(c.Links, func(l config.Link) bool { return l.Native })
	}
	return judge(kernel.Examine(interfaces), needs)
}

// need is what a configuration makes necessary, and unnecessary.
type need struct{ tun, clock, selectors, forwarding, noRaw bool }

func judge(findings []kernel.Finding, n need) []Symptom {
	var out []Symptom
	for _, f := range findings {
		if s, ok := symptom(f, n); ok {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b Symptom) int { return weight(b.Grade) - weight(a.Grade) })
	return out
}

func weight(g Grade) int { return map[Grade]int{Bad: 2, Doubtful: 1}[g] }

// symptom judges one finding; false if it does not concern the node.
func symptom(f kernel.Finding, n need) (Symptom, bool) {
	s := Symptom{Subject: string(f.Subject), Grade: Good}
	if f.Interface != "" {
		s.Subject += " " + f.Interface
	}
	good := f.State == kernel.Present
	switch f.Subject {
	case kernel.TUNDevice:
		if !n.tun {
			return s, false
		}
		s.Text = "/dev/net/tun opens"
		if !good {
			s.tun(f)
		}
	case kernel.NetAdmin:
		s.Text = "may configure interfaces, routes and rules (CAP_NET_ADMIN)"
		if !good {
			s.capability("CAP_NET_ADMIN", "NET_ADMIN", "configure interfaces, routes and rules")
		}
	case kernel.Forwarding:
		if !n.forwarding || f.Interface != "" {
			return s, false
		}
		s.Text = "the host forwards IPv6"
		if !good {
			s.Grade = Bad
			s.Text = "the host does not forward IPv6, which what comes out of the tunnels needs"
			key := kernel.Assignment(f.Sysctl, "1")
			s.Remedies = remedies("sysctl -w "+key, "start the container with --sysctl "+key, "sysctl -w "+key+" (inside the namespace)")
		}
	case kernel.NetRaw:
		if n.noRaw {
			return s, false
		}
		s.Text = "may open packet sockets (CAP_NET_RAW)"
		if !good {
			s.capability("CAP_NET_RAW", "NET_RAW", "open packet sockets on its links")
		}
	case kernel.IPv6:
		s.Text = "IPv6 is on"
		if !good {
			s.ipv6(f)
		}
	case kernel.Clock:
		s.Text = "the clock is synchronised"
		if !good {
			s.clock(n)
		}
	case kernel.RouteSelectors:
		if !n.selectors || f.State == kernel.Denied {
			return s, false // what is denied CAP_NET_ADMIN has said
		}
		s.Text = "the kernel's rules select by protocol, port and user"
		if !good {
			s.Grade = Bad
			s.Text = "the kernel's rules cannot select by protocol, port and user, as the rules for non-persistent flows need"
			s.Remedies = remedies("run Linux 4.17 or later", "run a host with Linux 4.17 or later", "run Linux 4.17 or later")
		}
	case kernel.Interface:
		s.Text = "is there"
		if !good {
			s.Grade = Doubtful
			s.Text = "does not exist yet; kedge waits for it"
			s.Remedies = remedies("check the name with: ip link", "attach the container to the network, or use the name inside it", "create it in the namespace that kedge runs in")
		}
	default: // what kedge may write under /proc/sys does not matter: it writes nothing
		return s, false
	}
	return s, true
}

func remedies(bare, container, rootless string) map[Place]string {
	return map[Place]string{BareMetal: bare, Container: container, Rootless: rootless}
}

func (s *Symptom) tun(f kernel.Finding) {
	s.Grade = Bad
	switch {
	case errors.Is(f.Err, fs.ErrNotExist):
		s.Text = "/dev/net/tun does not exist"
		s.Remedies = remedies(
			"mkdir -p /dev/net && mknod /dev/net/tun c 10 200 && chmod 0666 /dev/net/tun (and modprobe tun if it then says \"no such device\")",
			"start the container with --device /dev/net/tun",
			"the machine's administrator must make /dev/net/tun: mknod /dev/net/tun c 10 200 && chmod 0666 /dev/net/tun")
	case f.State == kernel.Denied:
		s.Text = "/dev/net/tun may not be opened by this user"
		s.Remedies = remedies(
			"run kedge as root, or: chmod 0666 /dev/net/tun (the device checks CAP_NET_ADMIN itself)",
			"start the container with --device /dev/net/tun and a user that may open it",
			"the machine's administrator must: chmod 0666 /dev/net/tun (the device checks CAP_NET_ADMIN itself)")
	default:
		s.Text = fmt.Sprintf("/dev/net/tun does not open: %v", f.Err)
		s.Remedies = remedies("modprobe tun", "load the module on the machine that runs the container: modprobe tun", "the machine's administrator must: modprobe tun")
	}
}

func (s *Symptom) capability(name, docker, what string) {
	s.Grade = Bad
	s.Text = fmt.Sprintf("may not %s (%s is missing)", what, name)
	s.Remedies = remedies(
		fmt.Sprintf("run kedge as root, or in its systemd unit: AmbientCapabilities=%s", name),
		"start the container with --cap-add "+docker,
		"run it in a user and network namespace of your own: unshare --user --map-root-user --net --mount kedge run ...")
}

func (s *Symptom) ipv6(f kernel.Finding) {
	s.Grade = Bad
	s.Text = fmt.Sprintf("no IPv6: %v", f.Err)
	if f.Sysctl == "" {
		s.Text = "the kernel has no IPv6"
		all := "boot the kernel without ipv6.disable=1"
		s.Remedies = remedies(all, all+" (the machine that runs the container)", all)
		return
	}
	key := kernel.Assignment(f.Sysctl, "0")
	s.Remedies = remedies("sysctl -w "+key, "start the container with --sysctl "+key, "sysctl -w "+key+" (inside the namespace)")
}

func (s *Symptom) clock(n need) {
	s.Text = "the kernel does not know its clock to be synchronised; authentication needs clocks that agree within the security association's timestamp_window"
	if s.Grade = Doubtful; !n.clock {
		s.Grade = Good
		s.Text = "the kernel does not know its clock to be synchronised; nothing here needs it"
		return
	}
	ntp := "run an NTP client: systemctl enable --now systemd-timesyncd"
	s.Remedies = remedies(ntp, ntp+" (on the machine that runs the container)", "ask the machine's administrator for an NTP client")
}
