package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"kedge/appliance/lab/report"
	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
)

// order is what the outer process tells the inner one, on file descriptor orderFD. While the outer process lives the
// descriptor stays open; with its end an attached inner process ends too.
type order struct {
	Lab *topology.Lab
	// Part says that others show the report.
	Part         bool
	ForeignMoves int
	// Up keeps the lab up, without traffic, for commands on listenerFD. It says "up" or an error on readyFD.
	Up       bool
	Command  string
	Rootless bool
	// Compare is what to measure of a lab that compares systems.
	Compare *comparisonOrder
}

const (
	orderFD    = 3
	listenerFD = 4
	readyFD    = 5
)

// Exit statuses of a lab besides 0.
const (
	exitFailed      = 1
	exitInterrupted = 130
)

// inner is the first process of a lab's namespaces.
func inner() error {
	// What is for this process is not for the nodes that it starts: one that held readyFD would keep "lab up" waiting.
	for _, fd := range []int{orderFD, listenerFD, readyFD} {
		syscall.CloseOnExec(fd)
	}
	orders := os.NewFile(orderFD, "orders")
	decoder := json.NewDecoder(orders)
	var o order
	if err := decoder.Decode(&o); err != nil {
		return fmt.Errorf("this command is part of kedge lab and not for use by itself: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.Up {
		return keepUp(ctx, o)
	}
	go func() {
		_, _ = io.Copy(io.Discard, orders)
		// The outer process is gone, and nobody waits for a report.
		os.Exit(exitInterrupted)
	}()
	favoured := space.FavourSession()
	if o.Compare != nil {
		return innerComparison(ctx, o, favoured)
	}
	p := newProgress(os.Stdout, term.IsTerminal(int(os.Stdout.Fd())))
	result, events, err := run(ctx, o.Lab, o.ForeignMoves, p)
	if err != nil {
		return err
	}
	result.Command, result.Rootless, result.Favoured = o.Command, o.Rootless, favoured
	if err := errors.Join(save(result), events.save("events.jsonl")); err != nil {
		return err
	}
	if !o.Part {
		if err := result.Text(os.Stdout); err != nil {
			return err
		}
	}
	switch {
	case result.Interrupted:
		return &ExitError{Code: exitInterrupted}
	case !result.Passed():
		return &ExitError{Code: exitFailed}
	}
	return nil
}

// save writes the reports into the working directory.
func save(r *report.Result) error {
	var errs []error
	for name, write := range map[string]func(io.Writer) error{
		"report.txt": r.Text, "report.json": r.JSON, "timeline.svg": r.SVG,
	} {
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		errs = append(errs, write(f), f.Close())
	}
	return errors.Join(errs...)
}

// keepUp brings a lab up and serves commands until it is told to end.
func keepUp(ctx context.Context, o order) error {
	ready := os.NewFile(readyFD, "ready")
	listener, err := net.FileListener(os.NewFile(listenerFD, "listener"))
	var s *session
	if err == nil {
		s, err = start(ctx, o.Lab, newProgress(os.Stdout, false))
	}
	if err != nil {
		fmt.Fprint(ready, err)
		return err
	}
	if _, err := ready.WriteString(readyWord); err != nil {
		return err
	}
	ready.Close()
	s.progress.say("up")
	serve(ctx, listener, s)
	s.stop()
	s.progress.say("down")
	return s.journal.save("events.jsonl")
}

// readyWord is what an inner process says when its lab is up.
const readyWord = "up"
