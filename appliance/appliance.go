// Package appliance is a node as a whole: the packages below it wire roles together (node), show them (control, command),
// look for what the host lacks (doctor) and build networks of nodes (lab).
package appliance

import "kedge/appliance/command"

// Main runs one command line, without the program's name, and returns the exit status.
func Main(arguments []string) int { return command.Main(arguments) }
