package config

import (
	"reflect"
	"slices"
)

// knownKeys are all keys of a document, for suggestions.
var knownKeys = keysOf(reflect.TypeFor[document]())

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		keys = append(keys, f.Tag.Get("toml"))
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			keys = append(keys, keysOf(inner)...)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
