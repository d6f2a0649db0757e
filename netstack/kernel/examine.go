package kernel

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Subject is what a Finding is about.
type Subject string

// The subjects that Examine looks at.
const (
	// TUNDevice is /dev/net/tun.
	TUNDevice Subject = "tun-device"
	// NetAdmin and NetRaw are the capabilities CAP_NET_ADMIN and CAP_NET_RAW.
	NetAdmin Subject = "cap-net-admin"
	NetRaw   Subject = "cap-net-raw"
	// IPv6 is whether the kernel has it, or an interface.
	IPv6 Subject = "ipv6"
	// WritableSysctls is whether /proc/sys can be written.
	WritableSysctls Subject = "sysctl-writable"
	// Clock is whether the host's clock is synchronised.
	Clock Subject = "clock"
	// Forwarding is whether the host forwards IPv6.
	Forwarding Subject = "forwarding"
	// RouteSelectors is whether the kernel's rules select by protocol, port and user, as a Policy needs.
	RouteSelectors Subject = "route-selectors"
	// Interface is whether one exists.
	Interface Subject = "interface"
)

// State is the outcome of looking at a subject.
type State uint8

// The states.
const (
	// Present is as kedge would have it. For Forwarding it means on.
	Present State = iota
	// Absent is missing, off or unsynchronised.
	Absent
	// Denied is there but not permitted to this process.
	Denied
	// ReadOnly is mounted read-only.
	ReadOnly
	// Unknown could not be found out.
	Unknown
)

// String returns the state's name in English.
func (s State) String() string {
	names := [...]string{"present", "absent", "denied", "read-only", "unknown"}
	if int(s) < len(names) {
		return names[s]
	}
	return "invalid"
}

// Finding is what was found about a subject. It judges nothing: a home agent on one Ethernet interface needs no TUN device.
type Finding struct {
	Subject Subject
	State   State
	// Interface is the one concerned, for IPv6, Forwarding and Interface; empty for the host.
	Interface string
	// Sysctl is the path below /proc/sys that decides, with slashes; empty if none does.
	Sysctl string
	// Err is why, where there is more to say.
	Err error
}

// Examine looks at everything that kedge may need of the host, and at these interfaces. It changes nothing.
func Examine(interfaces []string) []Finding {
	findings := []Finding{
		ExamineTUN(),
		ExamineNetAdmin(),
		ExamineNetRaw(),
		ExamineIPv6("all"),
		ExamineSysctls(),
		ExamineClock(),
		ExamineForwarding("all"),
		ExamineRouteSelectors(),
	}
	for _, name := range interfaces {
		f := Finding{Subject: Interface, Interface: name}
		if _, err := linkByName(name); err != nil {
			f.State, f.Err = stateOf(err), err
			findings = append(findings, f)
			continue
		}
		findings = append(findings, f, ExamineIPv6(name), ExamineForwarding(name))
	}
	return findings
}

// ExamineTUN opens /dev/net/tun; it makes no device.
func ExamineTUN() Finding {
	f := Finding{Subject: TUNDevice}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		f.State, f.Err = stateOf(err), err
		return f
	}
	unix.Close(fd)
	return f
}

// ExamineNetAdmin looks for CAP_NET_ADMIN among the effective capabilities of the calling thread.
func ExamineNetAdmin() Finding { return examineCapability(NetAdmin, unix.CAP_NET_ADMIN) }

// ExamineNetRaw looks for CAP_NET_RAW among the effective capabilities of the calling thread.
func ExamineNetRaw() Finding { return examineCapability(NetRaw, unix.CAP_NET_RAW) }

func examineCapability(subject Subject, capability uint) Finding {
	f := Finding{Subject: subject, State: Denied}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		f.State, f.Err = Unknown, err
		return f
	}
	if data[capability/32].Effective&(1<<(capability%32)) != 0 {
		f.State = Present
	}
	return f
}

// ExamineIPv6 looks at an interface, or at "all" or "default".
func ExamineIPv6(name string) Finding {
	f := Finding{Subject: IPv6}
	if name != "all" && name != "default" {
		f.Interface = name
	}
	var disabled *IPv6DisabledError
	switch err := checkIPv6(name); {
	case err == nil:
		f.Sysctl = "net/ipv6/conf/" + name + "/disable_ipv6"
	case errors.As(err, &disabled):
		f.State, f.Sysctl, f.Err = Absent, disabled.Path, err
	default:
		f.State, f.Err = stateOf(err), err
	}
	return f
}

// ExamineSysctls looks whether /proc/sys/net can be written; it writes nothing.
func ExamineSysctls() Finding {
	f := Finding{Subject: WritableSysctls, Sysctl: "net/ipv6/conf/all/forwarding"}
	file, err := os.OpenFile(sysctlRoot+"/"+f.Sysctl, os.O_WRONLY, 0)
	if err != nil {
		f.State, f.Err = stateOf(err), err
		return f
	}
	file.Close()
	return f
}

// ExamineClock asks whether the kernel takes its clock for synchronised (STA_UNSYNC of adjtimex(2)). Timestamps of
// RFC 4285 need clocks that agree; a clock may be right though nobody has told the kernel.
func ExamineClock() Finding {
	f := Finding{Subject: Clock}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		f.State, f.Err = Unknown, err
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		f.State = Absent
		f.Err = fmt.Errorf("maximum error %d microseconds", t.Maxerror)
	}
	return f
}

// ExamineForwarding looks whether an interface, or "all", forwards IPv6.
func ExamineForwarding(name string) Finding {
	f := Finding{Subject: Forwarding, Sysctl: "net/ipv6/conf/" + name + "/forwarding"}
	if name != "all" {
		f.Interface = name
	}
	value, err := ReadSysctl(f.Sysctl)
	switch {
	case err != nil:
		f.State, f.Err = stateOf(err), err
	case strings.TrimSpace(value) == "0":
		f.State = Absent
	}
	return f
}

// ExamineRouteSelectors asks the kernel to delete a rule that there is not, which needs CAP_NET_ADMIN.
func ExamineRouteSelectors() Finding {
	f := Finding{Subject: RouteSelectors}
	if err := supportsSelectors(); err != nil {
		f.State, f.Err = stateOf(err), err
	}
	return f
}

func stateOf(err error) State {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, ErrNoLink), errors.Is(err, ErrNoSelectors),
		errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return Absent
	case errors.Is(err, unix.EROFS):
		return ReadOnly
	case errors.Is(err, os.ErrPermission):
		return Denied
	}
	return Unknown
}
