package command

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"kedge/appliance/node"
	"kedge/config"
)

func runCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "run",
		Short: "Run a node until SIGINT or SIGTERM",
		Args:  cobra.NoArgs,
	}
	path := configFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		loaded, err := loadConfig(c, *path)
		if err != nil {
			return err
		}
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.GOMAXPROCS(runtime.NumCPU() + readers)
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(collectAt)
		}
		log := newLogger(loaded.Log)
		for _, w := range loaded.Warnings {
			log.Warn(w)
		}
		if err := node.Run(c.Context(), loaded, log); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	return c
}

// readers is how many processors Go gets beyond those that there are. Goroutines that wait in the kernel for packets keep theirs:
// without some to spare, Go's monitor takes it from them each time, all through a transfer, and threads queue for it when packets
// come, which cost a fifth of the throughput.
const readers = 2

// collectAt is how much the heap may grow, in percent of what lives, before it is collected. An anchor's is bindings, which
// live long, and packets allocate nothing: collecting twice as often as Go does by itself costs little, and a million bindings
// fit 1 GiB.
const collectAt = 50

func newLogger(l config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		level = slog.LevelInfo // config.Load has checked it
	}
	options := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options))
}
