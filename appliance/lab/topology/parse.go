package topology

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Parse reads and validates a lab file; file is its name for errors. Variables that are not set have the first of their
// values.
func Parse(file string, text []byte, settings ...Setting) (*Lab, error) {
	variables, err := Variables(file, text)
	if err != nil {
		return nil, err
	}
	combinations, err := Combinations(variables, settings, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if text, err = substitute(text, combinations[0]); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	lab := &Lab{
		Seed:         1,
		Offload:      "none",
		Settle:       Of(time.Second),
		StartTimeout: Of(20 * time.Second),
		Capture:      Capture{Enabled: true, SnapLength: 256, Limit: 64 << 20},
		Rounds:       1,
		Settings:     combinations[0],
	}
	d := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := d.Decode(lab); err != nil {
		return nil, located(file, text, err)
	}
	lab.complete()
	if errs := lab.validate(); len(errs) > 0 {
		for i := range errs {
			errs[i] = fmt.Errorf("%s: %w", file, errs[i])
		}
		return nil, errors.Join(errs...)
	}
	return lab, nil
}

// quoted is a value as errors about it show it.
var quoted = regexp.MustCompile(`"([^"]+)"`)

// located gives the library's error the file and line.
func located(file string, text []byte, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var errs []error
		for i := range strict.Errors {
			line, _ := strict.Errors[i].Position()
			errs = append(errs, fmt.Errorf("%s:%d: unknown key %s", file, line, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(errs...)
	}
	var at *toml.DecodeError
	if errors.As(err, &at) {
		line, _ := at.Position()
		key := strings.Join(at.Key(), ".")
		if key != "" {
			key += ": "
		}
		return fmt.Errorf("%s:%d: %s%s", file, line, key, strings.TrimPrefix(at.Error(), "toml: "))
	}
	// Errors about a bare value where text is expected have no position; it is where the value is first given to a key.
	if v := quoted.FindStringSubmatch(err.Error()); v != nil {
		at := regexp.MustCompile(`=\s*` + regexp.QuoteMeta(v[1]) + `\b`).FindIndex(text)
		if at != nil {
			return fmt.Errorf("%s:%d: %w", file, 1+bytes.Count(text[:at[0]], []byte("\n")), err)
		}
	}
	return fmt.Errorf("%s: %w", file, err)
}

// complete fills in what the file may leave out.
func (l *Lab) complete() {
	for i := range l.Nodes {
		for j := range l.Nodes[i].Interfaces {
			a := l.Nodes[i].Interfaces[j].Advertise
			if a == nil {
				continue
			}
			if a.Policy == "" {
				a.Policy = FastPolicy
			}
			if a.RouterLifetime.Std() == 0 {
				a.RouterLifetime = Of(30 * time.Minute)
			}
			if a.Valid.Std() == 0 {
				a.Valid = Of(2 * time.Hour)
			}
			if a.Preferred.Std() == 0 {
				a.Preferred = Of(time.Hour)
			}
		}
	}
	for i := range l.Downloads {
		if l.Downloads[i].Port == 0 {
			l.Downloads[i].Port = uint16(8080 + i)
		}
	}
	for i := range l.Probes {
		p := &l.Probes[i]
		if p.Port == 0 {
			p.Port = uint16(9000 + i)
		}
		if p.Spacing.Std() == 0 {
			p.Spacing = Of(time.Millisecond)
		}
		if p.Size == 0 {
			p.Size = 64
		}
	}
	for i := range l.Moves {
		if l.Moves[i].Way == "" {
			l.Moves[i].Way = CarrierWay
		}
	}
	l.completeFlows()
}
