package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kedge/appliance/lab/report"
	"kedge/appliance/lab/topology"
)

// comparisonOrder is what an inner process needs to know of a comparison beside its lab.
type comparisonOrder struct {
	Plan report.Plan
	// WireGuard is the path of a wireguard-go program, empty if there is none for the reason NoWireGuard.
	WireGuard, NoWireGuard string
	// Version is kedge's.
	Version string
	// JSON is shown instead of text; Markdown is a file for a document, if not empty.
	JSON     bool
	Markdown string
}

// comparisonOptions are the command line.
type comparisonOptions struct {
	conditions, systems, directions, measures []string
	streams                                   []int
	rounds                                    int
	seconds                                   float64
	wireguard                                 string
	json                                      bool
	markdown                                  string
	output                                    string
	version                                   string
}

// throughputLab is the comparison that comes with kedge.
const throughputLab = "throughput"

func throughputCommand(version string) *cobra.Command {
	opt := comparisonOptions{version: version}
	cmd := &cobra.Command{
		Use: "throughput [FILE.toml]", Short: "Compare kedge with plain forwarding and wireguard-go, interleaved on the same wires", Args: cobra.MaximumNArgs(1),
		Long: `Compare what kedge carries with what plain forwarding and wireguard-go carry on the same namespaces and wires, one system at
a time and in turn: TCP, small datagrams, processor time, round trips. Prints ratios first, beside those it should reach. Exits 0 if
everything was measured.
wireguard-go is built from tests/wireguard of kedge's sources where these and Go are at hand, or given by --wireguard.`,
		Example: "  kedge lab throughput\n  kedge lab throughput --conditions gro --systems plain,kedge-udp --streams 1 --rounds 3\n  kedge lab throughput --markdown table.md",
		RunE: func(_ *cobra.Command, args []string) error {
			name := throughputLab
			if len(args) > 0 {
				name = args[0]
			}
			return compareOuter(name, opt)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&opt.conditions, "conditions", nil, "which of "+strings.Join(topology.Conditions, ", ")+" (default all)")
	f.StringSliceVar(&opt.systems, "systems", nil, "which systems (default all)")
	f.StringSliceVar(&opt.directions, "directions", nil, "up, down or both (default both)")
	f.StringSliceVar(&opt.measures, "measure", nil, "which of "+strings.Join(report.Measures, ", ")+" (default all)")
	f.IntSliceVar(&opt.streams, "streams", []int{1, 4}, "numbers of TCP connections at a time")
	f.IntVar(&opt.rounds, "rounds", 0, "how often everything is measured (default as the lab file says)")
	f.Float64Var(&opt.seconds, "seconds", 2, "length of one measurement")
	f.StringVar(&opt.wireguard, "wireguard", "", "a wireguard-go program that takes the options of tests/wireguard")
	f.BoolVar(&opt.json, "json", false, "print JSON instead of text; progress goes to standard error")
	f.StringVar(&opt.markdown, "markdown", "", "write the tables as Markdown to this file, too")
	f.StringVarP(&opt.output, "output", "o", "", "directory for reports and logs (default out/lab/NAME-TIME)")
	return cmd
}

// compareOuter runs a lab's comparison in an inner process.
func compareOuter(name string, opt comparisonOptions) error {
	lab, err := Open(name)
	if err != nil {
		return err
	}
	if lab.Compare == nil {
		return fmt.Errorf("lab %s has no [compare]; run it by: kedge lab %s", lab.Name, name)
	}
	plan, err := opt.plan(lab)
	if err != nil {
		return err
	}
	lab, output, err := prepare(name, options{output: opt.output, noCapture: true})
	if err != nil {
		return err
	}
	o := comparisonOrder{Plan: plan, Version: opt.version, JSON: opt.json}
	if opt.markdown != "" {
		if o.Markdown, err = filepath.Abs(opt.markdown); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(plan.Systems, func(s string) bool { return lab.Compare.System(s).Requires == topology.NeedWireGuard }) {
		if o.WireGuard, err = wireGuard(opt.wireguard, output); err != nil {
			o.NoWireGuard = err.Error()
		}
	}
	err = launch(output, order{Lab: lab, Compare: &o})
	if !opt.json {
		fmt.Printf("\nreport, JSON, Markdown and logs are in %s\n", output)
	}
	return err
}

// plan checks the command line against the lab.
func (opt comparisonOptions) plan(lab *topology.Lab) (p report.Plan, err error) {
	var systems []string
	for _, s := range lab.Compare.Systems {
		systems = append(systems, s.Name)
	}
	var errs []error
	chosen := func(flag string, from, all []string) []string {
		for _, v := range from {
			if !slices.Contains(all, v) {
				errs = append(errs, fmt.Errorf("--%s: found %q, expected some of %s", flag, v, strings.Join(all, ", ")))
			}
		}
		if len(from) == 0 {
			return all
		}
		return slices.DeleteFunc(slices.Clone(all), func(v string) bool { return !slices.Contains(from, v) })
	}
	p = report.Plan{
		Conditions: chosen("conditions", opt.conditions, topology.Conditions),
		Systems:    chosen("systems", opt.systems, systems),
		Directions: chosen("directions", opt.directions, topology.Directions),
		Measures:   chosen("measure", opt.measures, report.Measures),
		Streams:    opt.streams,
		Rounds:     lab.Rounds,
		Length:     time.Duration(opt.seconds * float64(time.Second)),
	}
	if opt.rounds != 0 {
		p.Rounds = opt.rounds
	}
	if p.Rounds < 1 || p.Rounds > 1000 {
		errs = append(errs, fmt.Errorf("--rounds: found %d, expected 1 to 1000", p.Rounds))
	}
	if !(opt.seconds >= 0.1 && opt.seconds <= 600) {
		errs = append(errs, fmt.Errorf("--seconds: found %v, expected 0.1 to 600", opt.seconds))
	}
	for _, n := range p.Streams {
		if n < 1 || n > 256 {
			errs = append(errs, fmt.Errorf("--streams: found %d, expected 1 to 256", n))
		}
	}
	if len(p.Streams) == 0 {
		errs = append(errs, errors.New("--streams: found none, expected numbers of connections"))
	}
	return p, errors.Join(errs...)
}

// wireGuardSource is the folder of kedge's sources with the program that runs wireguard-go.
var wireGuardSource = filepath.Join("tests", "wireguard")

// wireGuardBuildTime includes fetching the module.
const wireGuardBuildTime = 5 * time.Minute

// wireGuard finds a wireguard-go program: the one given, or one built into the directory output.
func wireGuard(given, output string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", err
		}
		return filepath.Abs(path)
	}
	source, err := findSource()
	if err != nil {
		return "", err
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("there is no Go to build it with, and no --wireguard")
	}
	ctx, cancel := context.WithTimeout(context.Background(), wireGuardBuildTime)
	defer cancel()
	path := filepath.Join(output, "wireguard")
	build := exec.CommandContext(ctx, goCommand, "build", "-o", path, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("building it in %s: %w: %s", source, err, lines[len(lines)-1])
	}
	return path, nil
}

// findSource looks for wireGuardSource in the working directory and those above it.
func findSource() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := directory; ; at = filepath.Dir(at) {
		source := filepath.Join(at, wireGuardSource)
		if _, err := os.Stat(filepath.Join(source, "go.mod")); err == nil {
			return source, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("neither %s nor a folder above it has %s, and there is no --wireguard", directory, wireGuardSource)
		}
	}
}
