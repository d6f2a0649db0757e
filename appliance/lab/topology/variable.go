package topology

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Variable is a value that is put in for ${NAME} wherever the lab file has that, before the file is read. A line that begins
// with ${NAME=VALUE} is only there if the variable has that value.
type Variable struct {
	Name string `toml:"name"`
	// Values are those that the lab is run with in turn, Figures those of a series of figures. Without Figures they are Values.
	Values  []string `toml:"values"`
	Figures []string `toml:"figures"`
	// Allowed are all that may be set; without it any may.
	Allowed []string `toml:"allowed"`
}

// conditional is a line that depends on a variable.
var conditional = regexp.MustCompile(`(?m)^\$\{[^}=]*=.*$`)

// Setting is a variable's value.
type Setting struct{ Name, Value string }

// Variables reads the variables of a lab file's text and nothing else of it.
func Variables(file string, text []byte) ([]Variable, error) {
	var head struct {
		Variables []Variable `toml:"variable"`
	}
	if err := toml.Unmarshal(conditional.ReplaceAll(text, nil), &head); err != nil {
		return nil, located(file, text, err)
	}
	for i, v := range head.Variables {
		if !nameRE.MatchString(v.Name) || len(v.Values) == 0 {
			return nil, fmt.Errorf("%s: variable %d: found name %q and %d values, expected a name of lower-case letters, digits and hyphens, and at least one value", file, i+1, v.Name, len(v.Values))
		}
	}
	return head.Variables, nil
}

// Combinations are the settings that a lab with variables is run with, one after the other: every value of each variable,
// those of a series if figures is set, or the one that fixed has for it.
func Combinations(variables []Variable, fixed []Setting, figures bool) ([][]Setting, error) {
	for _, f := range fixed {
		i := slices.IndexFunc(variables, func(v Variable) bool { return v.Name == f.Name })
		if i < 0 {
			return nil, fmt.Errorf("this lab has no variable %q", f.Name)
		}
		if a := variables[i].Allowed; len(a) > 0 && !slices.Contains(a, f.Value) {
			return nil, fmt.Errorf("%s: found %q, expected one of %s", f.Name, f.Value, strings.Join(a, ", "))
		}
	}
	out := [][]Setting{nil}
	for _, v := range variables {
		values := v.Values
		if figures && len(v.Figures) > 0 {
			values = v.Figures
		}
		for _, f := range fixed {
			if f.Name == v.Name {
				values = []string{f.Value}
			}
		}
		var more [][]Setting
		for _, before := range out {
			for _, value := range values {
				more = append(more, append(slices.Clone(before), Setting{Name: v.Name, Value: value}))
			}
		}
		out = more
	}
	return out, nil
}

// substitute puts values in. Lines stay where they are, so that errors name them.
func substitute(text []byte, settings []Setting) ([]byte, error) {
	lines := strings.Split(string(text), "\n")
	for _, s := range settings {
		if strings.ContainsAny(s.Value, "\"\\\n\r") {
			return nil, fmt.Errorf("%s: found %q, expected no quotes, backslashes or line breaks", s.Name, s.Value)
		}
		for i, line := range lines {
			if condition, ok := strings.CutPrefix(line, "${"+s.Name+"="); ok {
				value, rest, _ := strings.Cut(condition, "}")
				if line = ""; value == s.Value {
					line = rest
				}
			}
			lines[i] = strings.ReplaceAll(line, "${"+s.Name+"}", s.Value)
		}
	}
	return []byte(strings.Join(lines, "\n")), nil
}
