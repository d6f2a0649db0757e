package command

import (
	"fmt"

	"github.com/spf13/cobra"

	"kedge/appliance/doctor"
	"kedge/config"
)

func doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this host lacks to run kedge, and the remedy",
		Long:  "Look at the host for what a node needs and print the exact remedy for what is missing.\nWith --config only what that configuration needs is looked for. Nothing is changed.",
		Args:  cobra.NoArgs,
	}
	path := c.Flags().StringP("config", "c", "", "configuration file of the node to be run")
	place := c.Flags().String("for", string(doctor.Here()), "print remedies for bare-metal, docker or rootless")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		var loaded *config.Config
		if *path != "" {
			var err error
			if loaded, err = loadConfig(c, *path); err != nil {
				return err
			}
		}
		switch doctor.Place(*place) {
		case doctor.BareMetal, doctor.Container, doctor.Rootless:
		default:
			return fmt.Errorf("--for: expected bare-metal, docker or rootless, found %q", *place)
		}
		symptoms := doctor.Examine(loaded)
		bad := false
		for _, s := range symptoms {
			bad = bad || s.Grade == doctor.Bad
		}
		if *asJSON {
			if err := printJSON(c.OutOrStdout(), symptoms); err != nil {
				return err
			}
		} else {
			for _, s := range symptoms {
				fmt.Fprintf(c.OutOrStdout(), "%-8s %s: %s\n", s.Grade, s.Subject, s.Text)
				if remedy := s.Remedies[doctor.Place(*place)]; remedy != "" {
					fmt.Fprintf(c.OutOrStdout(), "         %s: %s\n", *place, remedy)
				}
			}
		}
		if bad {
			return errSaid
		}
		return nil
	}
	return c
}
