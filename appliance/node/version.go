package node

import "runtime/debug"

// version is set by the linker in builds made by the Makefile.
var version string

// Version is the version of this binary: what the Makefile said, else the commit it was built from, else "unknown".
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return "unknown"
}
