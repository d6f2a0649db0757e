package lab

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/spf13/cobra"
)

// TestMain lets the test binary be what the lab starts: an inner process, and nodes that are entered.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "lab" {
		root := &cobra.Command{Use: "kedge", SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(Command("of a test"))
		err := root.Execute()
		var exit *ExitError
		switch {
		case err == nil:
			os.Exit(0)
		case errors.As(err, &exit):
			os.Exit(exit.Code)
		}
		fmt.Fprintln(os.Stderr, "kedge:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
