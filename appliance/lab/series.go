package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
)

// settings are the values that the command line gives variables.
func (opt options) settings() (out []topology.Setting, err error) {
	for _, text := range opt.set {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("--set: found %q, expected NAME=VALUE", text)
		}
		out = append(out, topology.Setting{Name: name, Value: value})
	}
	for _, v := range []topology.Setting{{Name: "cmd-mode", Value: opt.mode}, {Name: "cmd-delay", Value: opt.delay}} {
		if v.Value != "" {
			out = append(out, v)
		}
	}
	return out, nil
}

// runAll runs a lab with each combination of what its variables have.
func runAll(name string, opt options) error {
	fixed, err := opt.settings()
	if err != nil {
		return err
	}
	variables, err := variablesOf(name)
	if err != nil {
		return err
	}
	combinations, err := topology.Combinations(variables, fixed, opt.figures)
	if err != nil {
		return err
	}
	lab, err := Open(name, combinations[0]...)
	if err != nil {
		return err
	}
	if lab.Compare != nil {
		return fmt.Errorf("lab %s compares systems; run it by: kedge lab throughput %s", lab.Name, name)
	}
	if len(combinations) == 1 {
		opt.fixed = combinations[0]
		return runOuter(name, opt)
	}
	output, err := outputDirectory(lab, opt)
	if err != nil {
		return err
	}
	series := report.Series{Title: lab.Name + ": " + lab.Title, Command: commandLine()}
	interrupted := false
	for i, settings := range combinations {
		var values []string
		for _, v := range settings {
			values = append(values, v.Value)
		}
		one := opt
		one.fixed, one.part = settings, true
		one.output = filepath.Join(output, strings.Join(values, "-"))
		fmt.Printf("run %d of %d: %s\n", i+1, len(combinations), describeSettings(settings))
		failure := runOuter(name, one)
		if exit := (*ExitError)(nil); failure != nil && !errors.As(failure, &exit) {
			return failure
		} else if exit != nil && exit.Code == exitInterrupted {
			interrupted = true
			break
		}
		run := report.Run{Settings: settings, Directory: one.output}
		text, err := os.ReadFile(filepath.Join(one.output, "report.json"))
		if err == nil {
			err = run.Read(text)
		}
		if err != nil {
			return errors.Join(failure, fmt.Errorf("run with %s: %w", describeSettings(settings), err))
		}
		series.Runs = append(series.Runs, run)
	}
	if interrupted {
		return &ExitError{Code: exitInterrupted}
	}
	fmt.Println()
	if err := errors.Join(series.Text(os.Stdout), saveSeries(series, output)); err != nil {
		return err
	}
	fmt.Printf("\nthe reports of all runs are in %s, and in a directory for each with JSON, picture, captures and logs\n", filepath.Join(output, "report.txt"))
	if !series.Passed() {
		return &ExitError{Code: exitFailed}
	}
	return nil
}

func describeSettings(settings []topology.Setting) string {
	var out []string
	for _, v := range settings {
		out = append(out, v.Name+" "+v.Value)
	}
	return strings.Join(out, ", ")
}

// saveSeries writes the comparison with the runs' own reports behind it, and all of their documents.
func saveSeries(s report.Series, output string) error {
	var errs []error
	for name, write := range map[string]func(io.Writer) error{
		"report.json": s.JSON,
		"report.txt": func(w io.Writer) error {
			if err := s.Text(w); err != nil {
				return err
			}
			for _, run := range s.Runs {
				text, err := os.ReadFile(filepath.Join(run.Directory, "report.txt"))
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(w, "\n\n######## %s ########\n\n%s", describeSettings(run.Settings), text); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		f, err := os.Create(filepath.Join(output, name))
		if err != nil {
			return err
		}
		errs = append(errs, write(f), f.Close())
	}
	return errors.Join(errs...)
}
