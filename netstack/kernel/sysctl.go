package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const sysctlRoot = "/proc/sys"

// ReadSysctl returns the value of a sysctl, named by its path below /proc/sys with slashes
// (net/ipv6/conf/eth0.5/accept_ra), without the final newline.
func ReadSysctl(path string) (string, error) {
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("%q is no path below %s", path, sysctlRoot)
	}
	value, err := os.ReadFile(filepath.Join(sysctlRoot, path))
	return strings.TrimSpace(string(value)), err
}

func writeSysctl(path, value string) error {
	// Neither O_CREATE nor O_TRUNC: a sysctl is never made, only written.
	file, err := os.OpenFile(filepath.Join(sysctlRoot, path), os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(value)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return &SysctlError{Path: path, Value: value, ReadOnly: errors.Is(err, unix.EROFS), Err: err}
	}
	return nil
}

// SetSysctl sets a sysctl, named as for ReadSysctl. If it has the value already nothing is changed and the Change is nil.
// It fails with a *SysctlError. Undoing sets the original value again unless somebody else has set a third one.
func (j *Journal) SetSysctl(path, value string) (*Change, error) {
	original, err := ReadSysctl(path)
	if err != nil {
		return nil, &SysctlError{Path: path, Value: value, Err: err}
	}
	if original == value {
		return nil, nil
	}
	return j.do(&sysctlChange{path, original, value}, func() error { return writeSysctl(path, value) })
}

type sysctlChange struct {
	Path     string `json:"path"`
	Original string `json:"original"`
	Value    string `json:"value"`
}

func (c *sysctlChange) undo() error {
	value, err := ReadSysctl(c.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil || value != c.Value {
		return err
	}
	return writeSysctl(c.Path, c.Original)
}

func (c *sysctlChange) String() string {
	return fmt.Sprintf("sysctl %s, was %s", Assignment(c.Path, c.Value), c.Original)
}

// checkIPv6 returns an *IPv6DisabledError if the interface has no IPv6.
func checkIPv6(link string) error {
	if _, err := os.Stat(sysctlRoot + "/net/ipv6"); errors.Is(err, os.ErrNotExist) {
		return &IPv6DisabledError{Interface: link}
	}
	path := "net/ipv6/conf/" + link + "/disable_ipv6"
	switch value, err := ReadSysctl(path); {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s", ErrNoLink, link)
	case err != nil:
		return err
	case value != "0":
		return &IPv6DisabledError{Interface: link, Path: path}
	}
	return nil
}
