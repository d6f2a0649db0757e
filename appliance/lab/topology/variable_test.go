package topology

import (
	"strings"
	"testing"
)

const variable = `
[[variable]]
name = "cmd-mode"
values = ["relay", "proxy"]
allowed = ["relay", "locator", "proxy"]
[[variable]]
name = "delay"
values = ["20ms"]
figures = ["5ms", "50ms"]
`

func TestCombinations(t *testing.T) {
	variables, err := Variables("x.toml", []byte(variable))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		fixed   []Setting
		figures bool
		want    string
	}{
		{nil, false, "relay 20ms, proxy 20ms"},
		{nil, true, "relay 5ms, relay 50ms, proxy 5ms, proxy 50ms"},
		{[]Setting{{"cmd-mode", "locator"}}, true, "locator 5ms, locator 50ms"},
		{[]Setting{{"cmd-mode", "proxy"}, {"delay", "1s"}}, false, "proxy 1s"},
	} {
		combinations, err := Combinations(variables, c.fixed, c.figures)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, v := range combinations {
			if len(v) != 2 || v[0].Name != "cmd-mode" || v[1].Name != "delay" {
				t.Fatalf("settings %v", v)
			}
			found = append(found, v[0].Value+" "+v[1].Value)
		}
		if got := strings.Join(found, ", "); got != c.want {
			t.Errorf("with %v, figures %v: %s, expected %s", c.fixed, c.figures, got, c.want)
		}
	}
	for _, c := range []struct {
		fixed Setting
		want  string
	}{
		{Setting{"mode", "proxy"}, `no variable "mode"`},
		{Setting{"cmd-mode", "mirror"}, `found "mirror", expected one of relay, locator, proxy`},
	} {
		if _, err := Combinations(variables, []Setting{c.fixed}, false); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, expected %s", c.fixed, err, c.want)
		}
	}
}

// A variable stands for its value anywhere, and errors still name the line.
func TestSubstitution(t *testing.T) {
	text := strings.Replace(sound, `"10ms"`, `"${delay}"`, 1) + variable
	lab, err := Parse("x.toml", []byte(text), Setting{"delay", "7ms"})
	if err != nil {
		t.Fatal(err)
	}
	if d := lab.Wires[0].Delay.Std().String(); d != "7ms" || len(lab.Settings) != 2 || lab.Settings[0].Value != "relay" {
		t.Errorf("delay %s, settings %v", d, lab.Settings)
	}
	for mode, title := range map[string]string{"relay": "r", "locator": "l", "proxy": ""} {
		conditional := "${cmd-mode=relay}title = \"r\"\n${cmd-mode=locator}title = \"l\"\n" + text
		if lab, err := Parse("x.toml", []byte(conditional), Setting{"cmd-mode", mode}); err != nil || lab.Title != title {
			t.Errorf("%s: %v, title %q", mode, err, lab.Title)
		}
	}
	if _, err := Parse("x.toml", []byte(text), Setting{"delay", "soon"}); err == nil || !strings.Contains(err.Error(), `x.toml:23: wire.delay: "soon" is not a duration`) {
		t.Errorf("error %v", err)
	}
	if _, err := Parse("x.toml", []byte(text), Setting{"delay", "1\"\nx = \""}); err == nil || !strings.Contains(err.Error(), "no quotes") {
		t.Errorf("error %v", err)
	}
	if _, err := Parse("x.toml", []byte("[[variable]]\nname = \"a\"\n"+sound)); err == nil || !strings.Contains(err.Error(), "at least one value") {
		t.Errorf("error %v", err)
	}
}

func TestObserveMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{sound + "[observe]\nhost = \"mn\"\ninterface = \"eth9\"\ntransit = \"r\"\n", "observe: there is no interface mn.eth9"},
		{sound + "[observe]\nhost = \"mn\"\ninterface = \"eth0\"\ntransit = \"x\"\n", `observe: transit: there is no node "x"`},
		{strings.Replace(sound, `to = "h"`, "to = \"h\"\nway = \"fly\"", 1), `move 1: way: found "fly"`},
		{strings.Replace(sound, `to = "h"`, "to = \"h\"\nprevious_maar = \"x\"", 1), `move 1: previous_maar: there is no node "x"`},
		{sound + flowTOML("expect = \"reset\"", "after_move = 2"), "after_move: found 2, expected 0 to 1"},
		{strings.Replace(sound, `network = "a" }]`, `network = "a", link_layer_address = "01:00:00:00:00:01" }]`, 1), "is not a unicast address"},
		{strings.Replace(sound, `{ name = "eth1" }`, `{ name = "eth1", link_layer_address = "02:00:00:00:00:01" }`, 1), "for interfaces that no wire ends at"},
	} {
		if _, err := Parse("x.toml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, expected %s", err, c.want)
		}
	}
}
