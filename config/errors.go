package config

import (
	"fmt"
	"strings"
)

// Error is one thing wrong with a configuration file.
type Error struct {
	// File is the path as it was given. Line counts from 1; 0 if the error is about the file as a whole.
	File string
	Line int
	// Key is the dotted key, with array positions from 0: "link.0.gateway". Empty if no key is concerned.
	Key string
	// Expected says what would have been right, Found what is there.
	Expected, Found string
}

// Error is "file:line: key: expected ..., found ...".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, ": %s", e.Key)
	}
	fmt.Fprintf(&b, ": expected %s, found %s", e.Expected, e.Found)
	return b.String()
}

// Errors are all things found wrong with one file, in the order of its lines.
type Errors []*Error

// Error is one error a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives errors.As each of the errors.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, one := range e {
		out[i] = one
	}
	return out
}
