package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const secretLength = 32

// secretOf reads the node's secret, with which it makes interface identifiers that stay the same on each network and
// differ between networks (RFC 7217 section 5), or makes one.
func secretOf(stateDirectory string) ([]byte, error) {
	path := filepath.Join(stateDirectory, "secret")
	b, err := os.ReadFile(path)
	if err == nil && len(b) == secretLength {
		return b, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secret for interface identifiers: %w", err)
	}
	b = make([]byte, secretLength)
	rand.Read(b)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("secret for interface identifiers: %w", err)
	}
	return b, nil
}
