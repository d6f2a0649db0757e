package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
)

// process is the program of a node, its output in NODE.log of the working directory.
type process struct {
	command *exec.Cmd
	done    chan struct{}

	mu sync.Mutex
	// exit is how it ended; empty while it runs.
	exit     string
	stopping bool
}

// nodeArgs is what makes this program the program of a kedge node.
func nodeArgs(spec *topology.Node) []string {
	if spec.Command != nil || spec.Kind != topology.KedgeKind {
		return spec.Command
	}
	return []string{"kedge", "run", "--config", filepath.Join(space.NodeDirectory, configName)}
}

// selfPath is this program, also where a mount hides its file.
const selfPath = "/proc/self/exe"

// enterCommand runs argv on a node.
func enterCommand(d *node, argv []string) *exec.Cmd {
	args := append([]string{"lab", "enter", d.space.Path(), d.directory, "--"}, argv...)
	cmd := exec.Command(selfPath, args...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	return cmd
}

// start runs the node's program if it has one, for the first time or again. ended is called if it ends before stop.
func (d *node) start(children *space.Children, ended func(how string)) error {
	argv := nodeArgs(d.Node)
	if len(argv) == 0 {
		return nil
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if d.process == nil {
		flags |= os.O_TRUNC
	}
	log, err := os.OpenFile(d.Name+".log", flags, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := enterCommand(d, argv)
	cmd.Stdout, cmd.Stderr = log, log
	p := &process{command: cmd, done: make(chan struct{})}
	if err := children.Start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}); err != nil {
		return fmt.Errorf("node %s: %w", d.Name, err)
	}
	d.process = p
	go func() {
		how := "exit status 0"
		if err := cmd.Wait(); err != nil {
			how = err.Error()
		}
		children.Forget(cmd.Process.Pid)
		p.mu.Lock()
		early := !p.stopping
		if early {
			p.exit = how
		}
		p.mu.Unlock()
		close(p.done)
		if early {
			ended(how)
		}
	}()
	return nil
}

// exited says how the node's program ended before it was told to; empty if it did not.
func (d *node) exited() string {
	if d.process == nil {
		return ""
	}
	d.process.mu.Lock()
	defer d.process.mu.Unlock()
	return d.process.exit
}

// stop ends the program in order, or by force after limit.
func (p *process) stop(limit time.Duration) {
	p.mu.Lock()
	p.stopping = true
	p.mu.Unlock()
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = p.command.Process.Kill()
		<-p.done
	}
}
