package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration file, changing nothing",
		Args:  cobra.NoArgs,
	}
	path := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := loadConfig(c, *path)
		if err != nil {
			return err
		}
		for _, w := range loaded.Warnings {
			fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
		}
		roles := make([]string, len(loaded.Roles))
		for i, r := range loaded.Roles {
			roles[i] = string(r)
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: valid, for a %s\n", *path, strings.Join(roles, " and "))
		return nil
	}
	return c
}
