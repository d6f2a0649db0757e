package config

import (
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// positions maps each dotted key of a TOML document to its line. The decoder forgets lines once values are decoded, but
// most mistakes show only when values are compared with each other.
type positions map[string]int

// positionsOf walks a document that is known to parse.
func positionsOf(document []byte) positions {
	lines := positions{}
	var p unstable.Parser
	p.Reset(document)
	var table []string
	elements := map[string]int{}
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table:
			table = resolve(keyParts(e), elements)
			lines.note(table, lineOf(&p, e))
		case unstable.ArrayTable:
			parts := keyParts(e)
			parent := resolve(parts[:len(parts)-1], elements)
			name := strings.Join(append(parent, parts[len(parts)-1]), ".")
			index := elements[name]
			elements[name] = index + 1
			table = append(parent, parts[len(parts)-1], strconv.Itoa(index))
			lines.note(table, lineOf(&p, e))
		case unstable.KeyValue:
			lines.value(&p, append(table[:len(table):len(table)], keyParts(e)...), e)
		}
	}
	return lines
}

// value notes a key and, for arrays and inline tables, what stands in it.
func (l positions) value(p *unstable.Parser, path []string, e *unstable.Node) {
	l.note(path, lineOf(p, e))
	l.inside(p, path, e.Value())
}

func (l positions) inside(p *unstable.Parser, path []string, value *unstable.Node) {
	switch value.Kind {
	case unstable.Array:
		children := value.Children()
		for i := 0; children.Next(); i++ {
			child := children.Node()
			at := append(path[:len(path):len(path)], strconv.Itoa(i))
			line := l[strings.Join(path, ".")]
			if child.Raw.Length > 0 {
				line = p.Shape(child.Raw).Start.Line
			}
			l.note(at, line)
			l.inside(p, at, child)
		}
	case unstable.InlineTable:
		children := value.Children()
		for children.Next() {
			child := children.Node()
			l.value(p, append(path[:len(path):len(path)], keyParts(child)...), child)
		}
	}
}

func (l positions) note(path []string, line int) {
	key := strings.Join(path, ".")
	if _, known := l[key]; !known && line > 0 {
		l[key] = line
	}
}

// line is the line of a key or, where it is absent, of the table that should have it; 0 for the top level.
func (l positions) line(key string) int {
	for {
		if line, ok := l[key]; ok {
			return line
		}
		dot := strings.LastIndexByte(key, '.')
		if dot < 0 {
			return 0
		}
		key = key[:dot]
	}
}

func keyParts(e *unstable.Node) []string {
	var parts []string
	for keys := e.Key(); keys.Next(); {
		parts = append(parts, string(keys.Node().Data))
	}
	return parts
}

func lineOf(p *unstable.Parser, e *unstable.Node) int {
	if keys := e.Key(); keys.Next() {
		return p.Shape(keys.Node().Raw).Start.Line
	}
	return 0
}

// resolve puts the current element's number behind each part that names an array of tables.
func resolve(parts []string, elements map[string]int) []string {
	var path []string
	for _, part := range parts {
		path = append(path, part)
		if n, ok := elements[strings.Join(path, ".")]; ok {
			path = append(path, strconv.Itoa(n-1))
		}
	}
	return path
}
