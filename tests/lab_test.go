package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kedge/appliance/lab/space"
)

// needLab skips a test that runs a lab where that takes too long, or the machine cannot.
func needLab(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute of sessions and moves")
	}
	if err := space.Check(true); err != nil {
		t.Skip(err)
	}
}

// program is kedge, built once for all tests.
var program struct {
	sync.Once
	directory, path string
	err             error
}

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(program.directory)
	os.Exit(code)
}

func kedge(t *testing.T) string {
	t.Helper()
	program.Do(func() {
		if program.directory, program.err = os.MkdirTemp("", "kedge"); program.err != nil {
			return
		}
		program.path = filepath.Join(program.directory, "kedge")
		build := exec.Command("go", "build", "-o", program.path, ".")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			program.err = errors.Join(err, errors.New(string(out)))
		}
	})
	if program.err != nil {
		t.Fatal(program.err)
	}
	return program.path
}

// runLab runs a lab, reads its report, and returns what it printed.
func runLab(t *testing.T, report any, arguments ...string) []byte {
	t.Helper()
	output := t.TempDir()
	arguments = append(append([]string{"lab"}, arguments...), "--no-capture", "-o", output)
	out, err := exec.Command(kedge(t), arguments...).CombinedOutput()
	b, readErr := os.ReadFile(filepath.Join(output, "report.json"))
	if readErr != nil {
		t.Fatalf("no report: %v, %v\n%s", readErr, err, out)
	}
	if err := json.Unmarshal(b, report); err != nil {
		t.Fatal(err)
	}
	return out
}

// labReport is what reports have in common.
type labReport struct {
	Failure string `json:"failure"`
	Flows   []struct {
		Name    string `json:"name"`
		Holder  string `json:"address_held_by"`
		Outcome string `json:"outcome"`
	} `json:"flows"`
	Expectations []struct {
		Name     string `json:"name"`
		Passed   bool   `json:"passed"`
		Found    string `json:"found"`
		Expected string `json:"expected"`
	} `json:"expectations"`
}

// unmet lists the expectations that do not hold. A time that was merely too long counts as met if late says so: it is this
// machine's.
func (r *labReport) unmet(late bool) (wrong []string) {
	for _, e := range r.Expectations {
		if late && strings.HasSuffix(e.Found, " ms") && strings.HasPrefix(e.Expected, "at most ") {
			continue
		}
		if !e.Passed {
			wrong = append(wrong, fmt.Sprintf("%s: %s, expected %s", e.Name, e.Found, e.Expected))
		}
	}
	return wrong
}

// twice tries a lab again where the machine may have been too busy the first time.
func twice(t *testing.T, try func() (wrong []string, out []byte)) {
	t.Helper()
	wrong, _ := try()
	if len(wrong) == 0 {
		return
	}
	t.Logf("once more, since %s", strings.Join(wrong, "; "))
	if wrong, out := try(); len(wrong) > 0 {
		t.Errorf("%s\n%s", strings.Join(wrong, "\n"), out)
	}
}
