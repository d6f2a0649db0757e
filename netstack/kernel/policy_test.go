package kernel

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const udp, tcp = unix.IPPROTO_UDP, unix.IPPROTO_TCP

func TestPolicyOfSteering(t *testing.T) {
	ports := func(first, last uint16) []Ports { return []Ports{{first, last}} }
	for name, test := range map[string]struct {
		policy []PolicyRule
		want   []string
		left   []int
	}{
		"none":              {nil, nil, nil},
		"everything":        {[]PolicyRule{{NonPersistent: true}}, []string{"rule 101 from interface lo table 254"}, nil},
		"no non-persistent": {[]PolicyRule{{Protocols: []uint8{tcp}}, {}}, nil, nil},
		"ports are TCP's and UDP's": {
			[]PolicyRule{{NonPersistent: true, DestinationPorts: ports(53, 53)}},
			[]string{
				"rule 101 from interface lo protocol 6 destination ports 53-53 table 254",
				"rule 101 from interface lo protocol 17 destination ports 53-53 table 254",
			}, nil,
		},
		"ports of ICMPv6": {[]PolicyRule{{NonPersistent: true, Protocols: []uint8{58}, DestinationPorts: ports(53, 53)}}, nil, nil},
		"order": {
			[]PolicyRule{
				{NonPersistent: true, Protocols: []uint8{udp}, DestinationPorts: ports(53, 53)},
				{NonPersistent: true, Users: []Users{{5, 9}}},
				{Protocols: []uint8{tcp}, Destinations: prefixes("2001:db8:5::/48", "192.0.2.0/24")},
				{NonPersistent: true, Destinations: prefixes("2001:db8::/32")},
				{DestinationPorts: ports(1, 2)},
			},
			[]string{
				"rule 101 from interface lo users 5-9 table 254",
				"rule 101 from interface lo protocol 17 destination ports 53-53 table 254",
				"rule 102 to 2001:db8:5::/48 from interface lo protocol 6 goto 118",
				"rule 103 to 2001:db8::/32 from interface lo table 254",
			}, nil,
		},
		"twice the same": {[]PolicyRule{{NonPersistent: true}, {NonPersistent: true}}, []string{"rule 101 from interface lo table 254"}, nil},
		"fewer conditions first": {
			[]PolicyRule{
				{NonPersistent: true, Protocols: []uint8{udp}, DSCPs: []uint8{46}},
				{NonPersistent: true, Protocols: []uint8{udp}},
			},
			[]string{"rule 101 from interface lo protocol 17 table 254", "rule 101 from interface lo protocol 17 DSCP 46 table 254"}, nil,
		},
		"what cannot be expressed keeps its packets from what follows": {
			[]PolicyRule{
				{Wider: true, Protocols: []uint8{tcp}, DestinationPorts: ports(80, 90)},
				{NonPersistent: true, Protocols: []uint8{udp}},
				{NonPersistent: true, DestinationPorts: ports(90, 99)},
				{NonPersistent: true, DestinationPorts: ports(91, 99), Protocols: []uint8{tcp}},
			},
			[]string{
				"rule 101 from interface lo protocol 17 table 254",
				"rule 101 from interface lo protocol 6 destination ports 91-99 table 254",
			}, []int{2},
		},
		"and a non-persistent one does not": {
			[]PolicyRule{{Wider: true, NonPersistent: true}, {NonPersistent: true, Protocols: []uint8{udp}}},
			[]string{"rule 101 from interface lo protocol 17 table 254"}, []int{0},
		},
		"the last port": {
			[]PolicyRule{
				{Protocols: []uint8{udp}, DestinationPorts: ports(1024, 65535)},
				{NonPersistent: true, DestinationPorts: ports(0, 65534)},
				{NonPersistent: true, Protocols: []uint8{udp}, DestinationPorts: ports(2, 65535)},
			},
			[]string{
				"rule 101 from interface lo protocol 17 destination ports 1024-65534 goto 118",
				"rule 102 from interface lo protocol 6 destination ports 1-65534 table 254",
				"rule 102 from interface lo protocol 17 destination ports 1-65534 table 254",
			}, []int{2},
		},
		"all ports":    {[]PolicyRule{{NonPersistent: true, Protocols: []uint8{udp}, DestinationPorts: ports(0, 65535)}}, []string{"rule 101 from interface lo protocol 17 table 254"}, nil},
		"last port":    {[]PolicyRule{{NonPersistent: true, DestinationPorts: ports(65535, 65535)}}, nil, []int{0}},
		"DSCP 0":       {[]PolicyRule{{NonPersistent: true, DSCPs: []uint8{46, 0}}}, nil, []int{0}},
		"no such DSCP": {[]PolicyRule{{NonPersistent: true, DSCPs: []uint8{64}}}, nil, []int{0}},
		"reversed":     {[]PolicyRule{{NonPersistent: true, SourcePorts: ports(9, 8)}, {NonPersistent: true, Users: []Users{{9, 8}}}}, nil, []int{0, 1}},
		"what sockets get late": {
			[]PolicyRule{
				{SourcePorts: ports(9, 9), Users: []Users{{1, 3}}}, {DSCPs: []uint8{46}, Users: []Users{{4, 5}}},
				{NonPersistent: true, Users: []Users{{3, 3}}}, {NonPersistent: true, Users: []Users{{5, 1<<32 - 1}}},
				{NonPersistent: true, Users: []Users{{6, 1<<32 - 1}}, SourcePorts: ports(7, 9), Protocols: []uint8{udp}},
			},
			[]string{"rule 101 from interface lo protocol 17 source ports 7-9 users 6-4294967294 table 254"}, []int{2, 3},
		},
		"IPv4": {[]PolicyRule{{NonPersistent: true, Destinations: prefixes("192.0.2.0/24")}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := Steering{Home: home, Destinations: prefixes("::/0"), Policy: test.policy}
			var got []string
			for _, r := range s.rules(107) {
				if r.Priority > homePriority && r.Priority < onLinkPriority {
					got = append(got, (&ruleChange{r}).String())
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("rules:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			var left []int
			for _, u := range s.Unexpressed() {
				left = append(left, u.Rule)
				if u.Reason == "" {
					t.Errorf("no reason for rule %d", u.Rule)
				}
			}
			if !slices.Equal(left, test.left) {
				t.Errorf("left out: %v, want %v", left, test.left)
			}
		})
	}
}

func TestPolicyHasSeventeenRuns(t *testing.T) {
	var policy []PolicyRule
	for i := range 30 {
		policy = append(policy, PolicyRule{NonPersistent: i%2 == 1, Users: []Users{{uint32(i), uint32(i)}}})
	}
	s := Steering{Destinations: prefixes("2001:db8::/32"), Policy: policy}
	rules, left := s.express()
	if len(rules) != 16 || rules[15].Priority != 116 || rules[0].Goto != destinationPriority {
		t.Errorf("%d rules, %+v", len(rules), rules)
	}
	if len(left) != 7 || left[0].Rule != 17 {
		t.Errorf("left out: %+v", left)
	}
	wide := PolicyRule{NonPersistent: true}
	for i := range uint16(17) {
		wide.DestinationPorts = append(wide.DestinationPorts, Ports{i + 1, i + 1})
		wide.Users = append(wide.Users, Users{uint32(i), uint32(i)})
	}
	s.Policy = []PolicyRule{wide}
	if rules, left := s.express(); len(rules) != 0 || len(left) != 1 {
		t.Errorf("a rule that is %d: %+v", len(rules), left)
	}
	if rules, left := (Steering{Policy: policy}).express(); len(rules)+len(left) != 0 {
		t.Errorf("rules where nothing is steered: %v", rules)
	}
}

// somePolicy has every kind of condition.
var somePolicy = []PolicyRule{
	{NonPersistent: true, Protocols: []uint8{udp}, DestinationPorts: []Ports{{53, 53}}},
	{NonPersistent: true, Users: []Users{{4242, 4243}}},
	{NonPersistent: true, Protocols: []uint8{udp}, DSCPs: []uint8{46}},
	{NonPersistent: true, Protocols: []uint8{udp}, SourcePorts: []Ports{{7000, 7001}}},
	{Protocols: []uint8{tcp}, DestinationPorts: []Ports{{443, 443}}},
	{NonPersistent: true, Destinations: prefixes("2001:db8:6::/48"), Protocols: []uint8{udp}},
	{NonPersistent: true, Destinations: prefixes("2001:db8:6::/48")},
}

func TestNonPersistentStaysOffTheTUN(t *testing.T) {
	tun, uplink := mobileHost(t)
	network := &netlink.Route{LinkIndex: uplink.link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("2001:db8:7::/64"))}
	if err := netlink.RouteAdd(network); err != nil {
		t.Fatal(err)
	}
	before := state(t)
	j := openJournal(t)
	if _, err := (Steering{TUN: "kt7-tun", Home: home, Destinations: prefixes("::/0"), Policy: somePolicy}).Apply(j); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		program program
		remote  string
		off     bool
	}{
		"DNS":                      {program{protocol: udp}, "[2001:db8:5::1]:53", true},
		"DNS, unconnected":         {program{protocol: udp, idle: true}, "[2001:db8:5::1]:53", true},
		"DNS, bound to the HoA":    {program{protocol: udp, bound: home}, "[2001:db8:5::1]:53", false},
		"other UDP":                {program{protocol: udp}, "[2001:db8:5::1]:54", false},
		"DNS by TCP":               {program{protocol: tcp}, "[2001:db8:5::1]:53", false},
		"HTTP":                     {program{protocol: tcp}, "[2001:db8:5::1]:80", false},
		"a user":                   {program{protocol: tcp, user: 4242}, "[2001:db8:5::1]:80", true},
		"a user, bound to the HoA": {program{protocol: tcp, user: 4242, bound: home}, "[2001:db8:5::1]:80", false},
		"the next user":            {program{protocol: tcp, user: 4244}, "[2001:db8:5::1]:80", false},
		"an earlier rule's, on the uplink's own network": {program{protocol: tcp}, "[2001:db8:7::1]:443", true},
		"a prefix":             {program{protocol: tcp}, "[2001:db8:6::1]:80", true},
		"an earlier rule's":    {program{protocol: tcp}, "[2001:db8:6::1]:443", false},
		"a prefix by UDP":      {program{protocol: udp}, "[2001:db8:6::1]:443", true},
		"DSCP":                 {program{protocol: udp, dscp: 46}, "[2001:db8:5::1]:80", true},
		"other DSCP":           {program{protocol: udp, dscp: 45}, "[2001:db8:5::1]:80", false},
		"a source port":        {program{protocol: udp, port: 7001}, "[2001:db8:5::1]:80", true},
		"the next source port": {program{protocol: udp, port: 7002}, "[2001:db8:5::1]:80", false},
	} {
		// No subtest: it would run in a thread of another namespace.
		device, source := test.program.leaves(t, tun, uplink, test.remote)
		wantDevice, wantSource := "kt7-tun", home
		if test.off {
			wantDevice, wantSource = "kt7-up", uplinkAddress
		}
		if device != wantDevice || source != wantSource {
			t.Errorf("%s: left by %s from %s, want %s and %s", name, device, source, wantDevice, wantSource)
		}
	}
	// What a mobile router forwards is no program's.
	forwarded, err := netlink.RouteGetWithOptions(net.ParseIP("2001:db8:6::1"), &netlink.RouteGetOptions{Iif: "kt7-up", SrcAddr: net.ParseIP("2001:db8:66::1")})
	if err != nil || forwarded[0].LinkIndex != tun.link.Attrs().Index {
		t.Errorf("forwarded: %v, %v; want the TUN", forwarded, err)
	}
	if err := netlink.RouteDel(&netlink.Route{LinkIndex: uplink.link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix("::/0"))}); err != nil {
		t.Fatal(err)
	}
	if device, source := (program{protocol: udp}).leaves(t, tun, uplink, "[2001:db8:5::1]:53"); device != "kt7-tun" || source != home {
		t.Errorf("where the host has no route of its own: left by %s from %s, want the home address", device, source)
	}
	if err := j.Restore(); err != nil {
		t.Fatal(err)
	}
	if after := state(t); after != before {
		t.Errorf("after Restore:\n%s\nbefore:\n%s", after, before)
	}
}

func TestVerdictOnSelectors(t *testing.T) {
	for refusal, want := range map[error]error{
		unix.EINVAL: nil, unix.ENOENT: ErrNoSelectors, unix.EAFNOSUPPORT: ErrNoSelectors, unix.EPERM: unix.EPERM,
	} {
		if got := verdict(refusal); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", refusal, got, want)
		}
	}
}
