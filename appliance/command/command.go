// Package command is the command line: each command in a file of its own. Commands that look at a running node use its
// control API; only run and lab change anything on the host.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"kedge/appliance/control"
	"kedge/appliance/lab"
	"kedge/appliance/node"
	"kedge/config"
)

// DefaultConfig is the configuration file of commands that are given none.
const DefaultConfig = "/etc/kedge/kedge.toml"

// errSaid ends a command with status 1 whose output has said why already.
var errSaid = errors.New("")

// Main runs one command and returns the exit status.
func Main(arguments []string) int {
	// A terminal that hangs up ends a node in good order too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := newRoot()
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var status interface{ ExitCode() int }
	if errors.As(err, &status) {
		return status.ExitCode()
	}
	if err != errSaid {
		fmt.Fprintf(os.Stderr, "kedge: %v\n", err)
	}
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "kedge",
		Short: "Mobile IPv6 in user space: sessions stay up while nodes move",
		Long: `kedge keeps IPv6 sessions alive while nodes move. One binary is, by the role in
its configuration file, a mobile node, home agent or correspondent node (Mobile
IPv6), an anchor for single service flows (DMIPv6), or a mobility anchor and
access router or central mobility database for hosts that run no mobility
software (RFC 8885).

See it work:            kedge lab handoff
Run a node:             kedge run --config /etc/kedge/kedge.toml
Look at a running one:  kedge status`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(runCommand(), checkCommand(), statusCommand(), bindingsCommand(), eventsCommand(), flowsCommand(), anchorsCommand(), directoryCommand(), mobileNodesCommand(), sessionsCommand(), doctorCommand(), lab.Command(node.Version()), versionCommand())
	node := &cobra.Group{ID: "node", Title: "Commands:"}
	network := &cobra.Group{ID: "network", Title: "Programs of test networks:"}
	root.AddGroup(node, network)
	for _, c := range root.Commands() {
		c.GroupID = node.ID
	}
	root.SetHelpCommandGroupID(node.ID)
	root.SetCompletionCommandGroupID(node.ID)
	for _, c := range []*cobra.Command{advertiseCommand(), echoCommand(), pingCommand()} {
		c.GroupID = network.ID
		root.AddCommand(c)
	}
	return root
}

// loadConfig reads a configuration file. What is wrong with it goes to standard error, and the error is errSaid then.
func loadConfig(c *cobra.Command, path string) (*config.Config, error) {
	loaded, err := config.Load(path)
	if err != nil {
		fmt.Fprintln(c.ErrOrStderr(), err)
		return nil, errSaid
	}
	return loaded, nil
}

// configFlag is the --config of a command.
func configFlag(c *cobra.Command) *string {
	return c.Flags().StringP("config", "c", DefaultConfig, "configuration file")
}

// socketFlag is the --socket of a command that looks at a running node.
func socketFlag(c *cobra.Command) *string {
	return c.Flags().StringP("socket", "s", config.DefaultSocket, "control socket of the node")
}

func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON")
}

// printJSON prints v indented.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// looking is a command without arguments that shows something of a running node.
func looking(use, short string, show func(c *cobra.Command, client *control.Client, asJSON bool) error) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	socket, asJSON := socketFlag(c), jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return show(c, control.NewClient(*socket), *asJSON) }
	return c
}
