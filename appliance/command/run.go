package command

import (
	"context"
	"errors"
	"log/slog"
	"os"

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
