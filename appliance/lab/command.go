// Package lab is `kedge lab`: networks of real kedge nodes, routers and hosts in network namespaces, with real kernel TCP
// and UDP through them, a mobile node that moves, and a report of what each flow saw.
//
// A lab is a TOML file (package topology). The command starts itself again as an inner process in fresh mount, network
// and process namespaces, and without root in a user namespace, by package space. The inner process builds the network,
// starts captures (package capture), router advertisements (package advertise), impaired wires (package wire) and the
// nodes, runs the traffic (package traffic) and the moves, measures (package measure) and reports (package report).
// Nothing needs to be cleaned up: with the inner process the kernel removes everything.
package lab

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"kedge/appliance/lab/space"
)

// Command is `lab` with its sub-commands, to be added to the root command of a program of that version. The program starts itself with
// "lab inner" and "lab enter" as first arguments. Errors that wrap *ExitError carry an exit status and need not be shown.
func Command(version string) *cobra.Command {
	var opt options
	cmd := &cobra.Command{
		Use:   "lab NAME|FILE.toml",
		Short: "Run a network of kedge nodes with real traffic on this machine",
		Long: `Run a network of kedge nodes in network namespaces, with real TCP and UDP traffic, as a lab file describes it:
its topology, impairments, traffic, moves, and what must hold at the end. Exits 0 only if that holds.
Needs root, or user namespaces and a /dev/net/tun that the user may open. Leaves nothing behind but its reports.`,
		Example: "  kedge lab handoff\n  kedge lab handoff --moves 20\n  kedge lab throughput\n  kedge lab maar --cmd-mode relay\n  kedge lab maar --figures\n  kedge lab ./mine.toml",
		Args:    cobra.ExactArgs(1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return Names(), cobra.ShellCompDirectiveDefault
		},
		RunE: func(_ *cobra.Command, args []string) error { return runAll(args[0], opt) },
	}
	cmd.Flags().IntVar(&opt.foreignMoves, "moves", 0, "go on moving until there were so many moves between foreign links")
	cmd.Flags().BoolVar(&opt.figures, "figures", false, "run with every value that the lab file has for a series of figures")
	cmd.AddCommand(listCommand(), throughputCommand(version), upCommand(&opt), downCommand(), execCommand(), moveCommand(), innerCommand(), enterCommandLine())
	runFlags(cmd, &opt)
	return cmd
}

func runFlags(cmd *cobra.Command, opt *options) {
	cmd.Flags().StringVarP(&opt.output, "output", "o", "", "directory for report, captures and logs (default out/lab/NAME-TIME)")
	cmd.Flags().StringVar(&opt.policy, "advertise", "", "how often routers advertise, fast or rfc4861 (default as the lab file says)")
	cmd.Flags().StringArrayVar(&opt.set, "set", nil, "a variable of the lab file, NAME=VALUE (default: the lab runs once with each of its values)")
	cmd.Flags().StringVar(&opt.mode, "cmd-mode", "", "the same as --set cmd-mode=MODE: relay, locator or proxy")
	cmd.Flags().StringVar(&opt.delay, "cmd-delay", "", "the same as --set cmd-delay=DELAY: one way, to the central mobility database")
	cmd.Flags().BoolVar(&opt.noCapture, "no-capture", false, "write no pcapng files")
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the labs that come with kedge, and those that are up", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range Names() {
				lab, err := Open(name)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-14s %s\n", name, lab.Title)
			}
			for _, name := range upNames() {
				fmt.Fprintf(cmd.OutOrStdout(), "up: %s\n", name)
			}
			return nil
		},
	}
}

func upCommand(opt *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "up NAME|FILE.toml", Short: "Bring a lab's network up and keep it for exploring, without traffic", Args: cobra.ExactArgs(1),
		Long: `Bring a lab's network up and keep it for exploring, without traffic, until "kedge lab down NAME".
Labs that are up are found by a socket in /run/kedge/labs, without root in $XDG_RUNTIME_DIR/kedge/labs, or in the
directory that the environment variable KEDGE_LABS names.`,
		RunE: func(_ *cobra.Command, args []string) error { return upOuter(args[0], *opt) },
	}
	runFlags(cmd, opt)
	return cmd
}

func downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down NAME", Short: "End a lab that is up", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return downOuter(args[0]) },
	}
}

func execCommand() *cobra.Command {
	return &cobra.Command{
		Use: "exec NAME NODE -- COMMAND...", Short: "Run a command on a node of a lab that is up", Args: cobra.MinimumNArgs(3),
		Example: "  kedge lab exec handoff mn -- ping -c 3 2001:db8:c::2\n  kedge lab exec handoff ha -- kedge bindings",
		RunE: func(_ *cobra.Command, args []string) error {
			answer, err := ask(args[0], request{Do: "exec", Node: args[1], Arguments: args[2:], Environment: os.Environ()}, os.Stdin, os.Stdout, os.Stderr)
			if err == nil && answer.Exit != 0 {
				return &ExitError{Code: answer.Exit}
			}
			return err
		},
	}
}

func moveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "move NAME NODE INTERFACE NETWORK", Short: "Plug an interface of a lab that is up into another network", Args: cobra.ExactArgs(4),
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := ask(args[0], request{Do: "move", Node: args[1], Interface: args[2], To: args[3]})
			return err
		},
	}
}

func innerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "inner", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return inner() },
	}
}

func enterCommandLine() *cobra.Command {
	return &cobra.Command{
		Use: "enter NETNS DIRECTORY -- COMMAND...", Hidden: true, Args: cobra.MinimumNArgs(3),
		RunE: func(_ *cobra.Command, args []string) error { return space.Enter(args[0], args[1], args[2:]) },
	}
}
