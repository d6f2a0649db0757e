package doctor

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"kedge/netstack/kernel"
)

func TestJudge(t *testing.T) {
	everything := need{tun: true, clock: true}
	tests := []struct {
		name    string
		finding kernel.Finding
		need    need
		grade   Grade
		remedy  map[Place]string
	}{
		{"no device", kernel.Finding{Subject: kernel.TUNDevice, State: kernel.Absent, Err: fs.ErrNotExist}, everything, Bad,
			map[Place]string{BareMetal: "mknod /dev/net/tun", Container: "--device /dev/net/tun", Rootless: "administrator"}},
		{"device denied", kernel.Finding{Subject: kernel.TUNDevice, State: kernel.Denied, Err: fs.ErrPermission}, everything, Bad,
			map[Place]string{BareMetal: "run kedge as root", Container: "--device", Rootless: "chmod 0666"}},
		{"no module", kernel.Finding{Subject: kernel.TUNDevice, State: kernel.Unknown, Err: errors.New("no such device")}, everything, Bad,
			map[Place]string{BareMetal: "modprobe tun"}},
		{"no CAP_NET_ADMIN", kernel.Finding{Subject: kernel.NetAdmin, State: kernel.Denied}, everything, Bad,
			map[Place]string{BareMetal: "AmbientCapabilities=CAP_NET_ADMIN", Container: "--cap-add NET_ADMIN", Rootless: "unshare --user"}},
		{"no CAP_NET_RAW", kernel.Finding{Subject: kernel.NetRaw, State: kernel.Denied}, everything, Bad,
			map[Place]string{Container: "--cap-add NET_RAW"}},
		{"IPv6 off", kernel.Finding{Subject: kernel.IPv6, State: kernel.Absent, Sysctl: "net/ipv6/conf/all/disable_ipv6", Err: errors.New("off")}, everything, Bad,
			map[Place]string{BareMetal: "sysctl -w net.ipv6.conf.all.disable_ipv6=0", Container: "--sysctl net.ipv6.conf.all.disable_ipv6=0"}},
		{"clock", kernel.Finding{Subject: kernel.Clock, State: kernel.Absent}, everything, Doubtful,
			map[Place]string{BareMetal: "timesyncd"}},
		{"clock without keys", kernel.Finding{Subject: kernel.Clock, State: kernel.Absent}, need{}, Good, nil},
		{"interface", kernel.Finding{Subject: kernel.Interface, State: kernel.Absent, Interface: "eth9"}, everything, Doubtful,
			map[Place]string{BareMetal: "ip link"}},
		{"forwarding", kernel.Finding{Subject: kernel.Forwarding, State: kernel.Absent, Sysctl: "net/ipv6/conf/all/forwarding"}, need{forwarding: true}, Bad,
			map[Place]string{BareMetal: "sysctl -w net.ipv6.conf.all.forwarding=1", Container: "--sysctl net.ipv6.conf.all.forwarding=1"}},
		{"good", kernel.Finding{Subject: kernel.NetRaw}, everything, Good, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := judge([]kernel.Finding{tt.finding}, tt.need)
			if len(got) != 1 || got[0].Grade != tt.grade || got[0].Text == "" {
				t.Fatalf("symptoms %+v, want one %s", got, tt.grade)
			}
			if (len(got[0].Remedies) == 3) != (tt.grade != Good) {
				t.Errorf("remedies %q do not cover the places", got[0].Remedies)
			}
			for place, part := range tt.remedy {
				if !strings.Contains(got[0].Remedies[place], part) {
					t.Errorf("remedy for %s is %q, want one with %q", place, got[0].Remedies[place], part)
				}
			}
		})
	}
}

func TestNothingAboutATUNThatIsNotNeeded(t *testing.T) {
	if got := judge([]kernel.Finding{{Subject: kernel.TUNDevice, State: kernel.Absent}}, need{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestNothingAboutWhatIsNotNeeded(t *testing.T) {
	findings := []kernel.Finding{{Subject: kernel.NetRaw, State: kernel.Denied}, {Subject: kernel.Forwarding, State: kernel.Absent}}
	if got := judge(findings, need{noRaw: true}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestProblemsComeFirst(t *testing.T) {
	got := judge([]kernel.Finding{{Subject: kernel.NetRaw}, {Subject: kernel.NetAdmin, State: kernel.Denied}}, need{})
	if len(got) != 2 || got[0].Grade != Bad {
		t.Errorf("%+v", got)
	}
}
