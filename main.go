// Command kedge keeps IPv6 sessions alive while nodes move.
package main

import (
	"os"

	"kedge/appliance"
)

func main() { os.Exit(appliance.Main(os.Args[1:])) }
