package config

import (
	"os"
	"strings"
	"testing"
)

func TestEveryKeyIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range knownKeys {
		if !strings.Contains(string(b), key) {
			t.Errorf("docs/configuration.md does not mention %s", key)
		}
	}
}
