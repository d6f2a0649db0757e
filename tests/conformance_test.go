package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const conformance = "../docs/conformance.md"

var (
	named = regexp.MustCompile("`([a-z0-9]+\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")
	rfc   = regexp.MustCompile(`\.TestRFC`)
)

// TestConformance keeps docs/conformance.md true: each row names a test, each test that it names exists, and each test that is
// named after an RFC has its place there.
func TestConformance(t *testing.T) {
	document, err := os.ReadFile(conformance)
	if err != nil {
		t.Fatal(err)
	}
	tests := testsOfTheTree(t)
	listed := map[string]bool{}
	for i, line := range strings.Split(string(document), "\n") {
		names := named.FindAllStringSubmatch(line, -1)
		for _, n := range names {
			listed[n[1]] = true
			if !tests[n[1]] {
				t.Errorf("%s:%d: there is no test %s", conformance, i+1, n[1])
			}
		}
		if !isRow(line) {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%s:%d: %d cells, want section, requirement, package and test", conformance, i+1, len(cells))
			continue
		}
		if !named.MatchString(cells[3]) {
			t.Errorf("%s:%d: a requirement without a test: %s", conformance, i+1, strings.TrimSpace(cells[1]))
		}
		for _, p := range strings.Split(cells[2], ",") {
			if info, err := os.Stat(filepath.Join("..", strings.TrimSpace(p))); err != nil || !info.IsDir() {
				t.Errorf("%s:%d: there is no package %s", conformance, i+1, strings.TrimSpace(p))
			}
		}
	}
	var missing []string
	for name := range tests {
		if rfc.MatchString(name) && !listed[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	for _, name := range missing {
		t.Errorf("%s does not list %s", conformance, name)
	}
}

// isRow tells the rows of tables from their heads and rules.
func isRow(line string) bool {
	return strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "|--") && !strings.HasSuffix(line, "| Test |")
}

// testsOfTheTree are the names of all test functions, as package.TestName. A package is named by its folder, which has to be
// the only one of that name that holds tests.
func testsOfTheTree(t *testing.T) map[string]bool {
	t.Helper()
	tests, folders := map[string]bool{}, map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		folder := filepath.Dir(path)
		name := filepath.Base(folder)
		if other, known := folders[name]; known && other != folder {
			t.Errorf("tests of %s and of %s have the same name in %s", folder, other, conformance)
		}
		folders[name] = folder
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && (strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz")) {
				tests[name+"."+f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
