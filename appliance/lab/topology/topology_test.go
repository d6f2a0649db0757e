package topology

import (
	"strings"
	"testing"
	"time"
)

const sound = `
[[network]]
name = "a"
[[network]]
name = "b"
[[network]]
name = "h"
home = true
[[node]]
name = "mn"
kind = "host"
interface = [{ name = "eth0", network = "a" }]
[[node]]
name = "r"
kind = "router"
interface = [{ name = "eth0", network = "a", advertise = { prefixes = ["2001:db8::/64"] } }, { name = "eth1" }]
[[node]]
name = "cn"
kind = "host"
interface = [{ name = "eth0" }]
[[wire]]
ends = ["r.eth1", "cn.eth0"]
delay = "10ms"
[[move]]
node = "mn"
interface = "eth0"
to = "h"
[alternate]
node = "mn"
interface = "eth0"
networks = ["a", "b"]
after = "1s"
`

func TestParse(t *testing.T) {
	lab, err := Parse("x.toml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	w := lab.Wires[0]
	if w.Delay.Std() != 10*time.Millisecond || w.Backward() != w.Impairment || !w.Impaired() {
		t.Errorf("wire: %+v", w)
	}
	a := lab.Node("r").Interfaces[0].Advertise
	if a.Policy != FastPolicy || a.RouterLifetime.Std() != 30*time.Minute {
		t.Errorf("advertise without a policy: %+v", a)
	}
	if lab.Offload != "none" || lab.Capture.SnapLength != 256 {
		t.Errorf("defaults: %+v", lab)
	}
}

// flowTOML is a sound flow and echo with one thing replaced.
func flowTOML(old, replacement string) string {
	return strings.Replace(`
[[flow]]
name = "f"
program = "stream"
from = "mn"
to = "cn"
to_address = "2001:db8::2"
rate = "1Mbit"
expect = "reset"
[[echo]]
name = "e"
path = "direct"
from = "mn"
interface = "eth0"
to = "cn"
to_address = "2001:db8::2"
`, old, replacement, 1)
}

func TestFlows(t *testing.T) {
	lab, err := Parse("x.toml", []byte(sound+flowTOML("", "")))
	if err != nil {
		t.Fatal(err)
	}
	f := lab.Flows[0]
	if f.Port == 0 || f.Expect != ResetFate || lab.Echoes[0].Spacing.Std() != 20*time.Millisecond {
		t.Errorf("%+v, %+v", f, lab.Echoes[0])
	}
	if mobile, correspondent := lab.Mobile(f); mobile != "mn" || correspondent != "cn" {
		t.Errorf("mobile end %s, other end %s", mobile, correspondent)
	}
	f.From, f.To = f.To, f.From
	if mobile, correspondent := lab.Mobile(f); mobile != "mn" || correspondent != "cn" {
		t.Errorf("mobile end %s, other end %s of a flow that the correspondent opens", mobile, correspondent)
	}
}

// leaseTOML is a node whose interface has a lease.
func leaseTOML(network, address, router string) string {
	return "[[node]]\nname = \"z\"\nkind = \"host\"\ninterface = [{ name = \"eth0\", network = \"a\", lease = [{ network = \"" + network +
		"\", address = \"" + address + "\", router = \"" + router + "\" }] }]\n"
}

// Where NATs forget nothing moves.
func TestForgetting(t *testing.T) {
	const nat = "[[node]]\nname = \"z\"\nkind = \"router\"\ninterface = [{ name = \"eth0\" }]\nnat = { interface = \"eth0\", timeout = \"4s\" }\n"
	lab, err := Parse("x.toml", []byte(sound+nat+"[[move]]\nnode=\"mn\"\ninterface=\"eth0\"\nway=\"forget\"\nat=[\"z\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := lab.Steps(0)
	if last := steps[len(steps)-1]; err != nil || last.From != "h" && last.From != "a" || last.To != last.From {
		t.Errorf("%+v, %v", steps, err)
	}
}

// Each mistake must be named with the place.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown key", "tilte = \"x\"\n" + sound, "x.toml:1: unknown key tilte"},
		{"unknown key in a table", strings.Replace(sound, "home = true", "hoem = true", 1), "x.toml:8: unknown key network.hoem"},
		{"wrong type", strings.Replace(sound, "\"10ms\"", "10", 1), "x.toml:23:"},
		{"bad duration", strings.Replace(sound, "\"10ms\"", "\"10 minutes\"", 1), "x.toml:23: wire.delay: \"10 minutes\" is not a duration"},
		{"bad address", strings.Replace(sound, "2001:db8::/64", "2001:db8::/640", 1), "x.toml:16:"},
		{"bad rate", sound + "[[download]]\nname=\"d\"\nrate = \"fast\"\n", "is not a bit rate"},
		{"no such network", strings.Replace(sound, "to = \"h\"", "to = \"x\"", 1), "move 1: there is no network \"x\""},
		{"no such interface", strings.Replace(sound, "cn.eth0", "cn.eth9", 1), "there is no interface \"cn.eth9\""},
		{"wire into a network", strings.Replace(sound, "r.eth1", "r.eth0", 1), "r.eth0 is plugged into network \"a\" already"},
		{"loss", strings.Replace(sound, "delay = \"10ms\"", "loss = 1.5", 1), "expected a probability"},
		{"kind", strings.Replace(sound, "\"router\"", "\"switch\"", 1), "expected kedge, router or host"},
		{"host advertises", strings.Replace(sound, "\"router\"", "\"host\"", 1), "only a router advertises"},
		{"kedge without config", strings.Replace(sound, "name = \"mn\"\nkind = \"host\"", "name = \"mn\"\nkind = \"kedge\"", 1), "needs config"},
		{"two of a name", strings.Replace(sound, "name = \"b\"", "name = \"a\"", 1), "two of name \"a\""},
		{"long name", strings.Replace(sound, "name = \"mn\"", "name = \"mobile-node-1\"", 1), "longer than"},
		{"file name", sound + "[[node]]\nname=\"z\"\nkind=\"host\"\nfiles={\"../x\"=\"\"}\n", "not a plain file name"},
		{"offload", "offload = \"some\"\n" + sound, "expected none, receive or full"},
		{"download without rate", sound + "[[download]]\nname=\"d\"\nfrom=\"cn\"\nto=\"mn\"\nfrom_address=\"::1\"\nto_address=\"::1\"\n", "rate is missing"},
		{"flow program", sound + flowTOML("program = \"stream\"", "program = \"chat\""), "flow f: program: found \"chat\", expected stream, exchanges or datagrams"},
		{"flow rate", sound + flowTOML("rate = \"1Mbit\"", ""), "flow f: rate is missing"},
		{"flow node", sound + flowTOML("to = \"cn\"", "to = \"nc\""), "flow f: to: there is no node \"nc\""},
		{"flow address", sound + flowTOML("to_address = \"2001:db8::2\"", ""), "flow f: to_address must be"},
		{"flow fate", sound + flowTOML("\"reset\"", "\"dies\""), "expected survives or reset"},
		{"exchanges reset", sound + flowTOML("\"stream\"", "\"exchanges\""), "flow f: expect: exchanges cannot be reset"},
		{"echo path", sound + flowTOML("\"direct\"", "\"scenic\""), "echo e: path: found \"scenic\""},
		{"echo source", sound + flowTOML("interface = \"eth0\"", ""), "echo e: one of from_address and interface"},
		{"await", sound + "[[await]]\nnode = \"mn\"\n", "await 1: directory: found 0"},
		{"silence", sound + "[[await]]\nnode = \"mn\"\nsilence = \"1s\"\nfrom = \"nc\"\n", "await 1: from: there is no node \"nc\""},
		{"silence without addresses", sound + "[[await]]\nnode = \"mn\"\nsilence = \"1s\"\nfrom = \"cn\"\n", "await 1: address and from_address must be"},
		{"nat of a host", sound + "[[node]]\nname=\"z\"\nkind=\"host\"\nnat={interface=\"eth0\"}\n", "nat: only a router translates addresses"},
		{"nat without interface", sound + "[[node]]\nname=\"z\"\nkind=\"router\"\nnat={interface=\"eth0\"}\n", "node z: nat: there is no interface \"eth0\""},
		{"lease", sound + leaseTOML("x", "10.0.0.2/24", "10.0.0.1"), "lease: there is no network \"x\""},
		{"lease's router", sound + leaseTOML("a", "10.0.0.2/24", "10.0.1.1"), "expected a router within the address's prefix"},
		{"forgetting nowhere", sound + "[[move]]\nnode=\"mn\"\ninterface=\"eth0\"\nway=\"forget\"\n", "at: found nothing"},
		{"forgetting and moving", sound + "[[move]]\nnode=\"mn\"\ninterface=\"eth0\"\nto=\"b\"\nway=\"forget\"\nat=[\"r\"]\n", "to: nothing moves"},
		{"forgetting at a router", sound + "[[move]]\nnode=\"mn\"\ninterface=\"eth0\"\nway=\"forget\"\nat=[\"r\"]\n", "at: there is no NAT \"r\""},
		{"moving at a router", sound + "[[move]]\nnode=\"mn\"\ninterface=\"eth0\"\nto=\"b\"\nat=[\"r\"]\n", "at: only for the way forget"},
		{"no nodes", "", "at least one [[node]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse("x.toml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.toml") {
				t.Errorf("error %v, expected it to name x.toml and %q", err, c.want)
			}
		})
	}
}

func TestSteps(t *testing.T) {
	lab, err := Parse("x.toml", []byte(sound))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := lab.Steps(3)
	if err != nil {
		t.Fatal(err)
	}
	var path []string
	foreign := 0
	for _, s := range steps {
		path = append(path, s.From+">"+s.To)
		if s.Class == ForeignMove {
			foreign++
		}
	}
	if got := strings.Join(path, " "); got != "a>h h>a a>b b>a a>b" || foreign != 3 {
		t.Errorf("moves %s, %d foreign", got, foreign)
	}
	// The third move is the first added one, and follows one from the home link.
	for i, least := range map[int]time.Duration{2: 2750 * time.Millisecond, 3: 750 * time.Millisecond, 4: 750 * time.Millisecond} {
		if w := steps[i].After.Std(); w < least || w > least+500*time.Millisecond {
			t.Errorf("move %d waits %v, expected %v to half a second more", i+1, w, least)
		}
	}
	again, _ := lab.Steps(3)
	if again[2].After != steps[2].After {
		t.Error("the same seed gives other waits")
	}
	lab.Alternate.Networks = []string{"h", "a"}
	if _, err := lab.Steps(3); err == nil {
		t.Error("an alternation that never moves between foreign links is no error")
	}
	lab.Alternate = nil
	if _, err := lab.Steps(3); err == nil {
		t.Error("more moves than listed, and none to take them from, is no error")
	}
}

func TestBitRate(t *testing.T) {
	for text, want := range map[string]float64{"20Mbit": 20e6, "1.5Gbit": 1.5e9, "64kbit": 64e3, "9bit": 9} {
		var r, back BitRate
		if err := r.UnmarshalText([]byte(text)); err != nil || r.PerSecond() != want {
			t.Errorf("%s reads as %v, %v", text, r, err)
		}
		if b, _ := r.MarshalText(); back.UnmarshalText(b) != nil || back != r {
			t.Errorf("%s does not survive a round trip: %v", text, back)
		}
	}
	for _, text := range []string{"20", "-1Mbit", "0bit", "NaNbit", "xMbit", "Mbit"} {
		if err := new(BitRate).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q reads as a bit rate", text)
		}
	}
}
