package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/space"
	"kedge/appliance/lab/topology"
)

// ExitError is the exit status of a lab, or of a command in one, that has said all there is to say.
type ExitError struct{ Code int }

// ExitCode is the exit status.
func (e *ExitError) ExitCode() int { return e.Code }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// options of a lab's run.
type options struct {
	output       string
	foreignMoves int
	policy       string
	noCapture    bool
	// set are variables as NAME=VALUE; mode and delay are two of them by flags of their own.
	set         []string
	mode, delay string
	figures     bool
	// fixed are the settings of one run, and part says that it is one of several, whose reports are shown together.
	fixed []topology.Setting
	part  bool
}

// prepare reads a lab, applies the options and makes the output directory.
func prepare(name string, opt options) (*topology.Lab, string, error) {
	lab, err := Open(name, opt.fixed...)
	if err != nil {
		return nil, "", err
	}
	if opt.noCapture {
		lab.Capture.Enabled = false
	}
	if opt.policy != "" {
		if err := setPolicy(lab, topology.Policy(opt.policy)); err != nil {
			return nil, "", err
		}
	}
	if _, err := lab.Steps(opt.foreignMoves); err != nil {
		return nil, "", err
	}
	if err := space.Check(needTUN(lab)); err != nil {
		return nil, "", err
	}
	output, err := outputDirectory(lab, opt)
	return lab, output, err
}

// outputDirectory makes the directory for the reports.
func outputDirectory(lab *topology.Lab, opt options) (string, error) {
	output := opt.output
	if output == "" {
		output = filepath.Join("out", "lab", lab.Name+"-"+time.Now().Format("20060102-150405"))
	}
	output, err := filepath.Abs(output)
	if err != nil {
		return "", err
	}
	return output, os.MkdirAll(output, 0o755)
}

func setPolicy(lab *topology.Lab, policy topology.Policy) error {
	if policy != topology.FastPolicy && policy != topology.RFC4861Policy {
		return fmt.Errorf("--advertise: found %q, expected %s or %s", policy, topology.FastPolicy, topology.RFC4861Policy)
	}
	for i := range lab.Nodes {
		for j := range lab.Nodes[i].Interfaces {
			if a := lab.Nodes[i].Interfaces[j].Advertise; a != nil {
				a.Policy = policy
			}
		}
	}
	return nil
}

// runOuter runs a lab in an inner process and waits for its end.
func runOuter(name string, opt options) error {
	lab, output, err := prepare(name, opt)
	if err != nil {
		return err
	}
	err = launch(output, order{Lab: lab, Part: opt.part, ForeignMoves: opt.foreignMoves})
	if !opt.part {
		fmt.Printf("\nreport, JSON, picture, captures and logs are in %s\n", output)
	}
	return err
}

// launch has an inner process carry an order out, with output as its working directory, and waits for its end.
func launch(output string, o order) error {
	// The inner process dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := space.Isolated(false, "lab", "inner")
	cmd.Dir = output
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	o.Command, o.Rootless = commandLine(), rootless(cmd)
	orders, err := command(cmd, space.StartFavoured, o)
	if err != nil {
		return err
	}
	defer orders.Close()
	go forward(signals, cmd.Process)
	err = cmd.Wait()
	if exit, ok := err.(*exec.ExitError); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return fmt.Errorf("the lab's inner process was ended by %v", status.Signal())
		}
		return &ExitError{Code: exit.ExitCode()}
	}
	return err
}

func rootless(cmd *exec.Cmd) bool { return cmd.SysProcAttr.UidMappings != nil }

func commandLine() string {
	return strings.Join(append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), " ")
}

// command starts an inner process and gives it its order. The file stays open as long as the process shall live.
func command(cmd *exec.Cmd, start func(*exec.Cmd) error, o order, files ...*os.File) (*os.File, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd.ExtraFiles = append([]*os.File{read}, files...)
	if err := start(cmd); err != nil {
		write.Close()
		return nil, space.Explain(err)
	}
	if err := json.NewEncoder(write).Encode(o); err != nil {
		write.Close()
		return nil, err
	}
	return write, nil
}

// forward asks the inner process to end; the second time, or when that takes too long, it kills.
func forward(signals <-chan os.Signal, inner *os.Process) {
	if _, ok := <-signals; !ok {
		return
	}
	fmt.Fprintln(os.Stderr, "ending the lab; once more to kill it")
	_ = inner.Signal(syscall.SIGTERM)
	select {
	case <-signals:
	case <-time.After(30 * time.Second):
	}
	_ = inner.Kill()
}

// upOuter brings a lab up in a process of its own and returns when it is.
func upOuter(name string, opt options) error {
	var err error
	if opt.fixed, err = opt.settings(); err != nil {
		return err
	}
	lab, output, err := prepare(name, opt)
	if err != nil {
		return err
	}
	// The lab outlives this command and must not hold on to what the shell had open, such as the pipe that somebody reads
	// its output from.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return err
	}
	listener, err := listen(lab.Name)
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	listening, err := listener.File()
	if err != nil {
		return err
	}
	defer listening.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close()
	log, err := os.Create(filepath.Join(output, "lab.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := space.Isolated(true, "lab", "inner")
	cmd.Dir = output
	cmd.Stdout, cmd.Stderr = log, log
	orders, err := command(cmd, (*exec.Cmd).Start, order{Lab: lab, Up: true, Command: commandLine(), Rootless: rootless(cmd)}, listening, write)
	write.Close()
	if err != nil {
		os.Remove(socketPath(lab.Name))
		return err
	}
	orders.Close()
	said, _ := io.ReadAll(read)
	if string(said) != readyWord {
		_ = cmd.Wait()
		os.Remove(socketPath(lab.Name))
		return fmt.Errorf("lab %s did not come up: %s, see %s", lab.Name, said, log.Name())
	}
	fmt.Printf("lab %s is up; its nodes:", lab.Name)
	for _, n := range lab.Nodes {
		fmt.Printf(" %s", n.Name)
	}
	fmt.Printf("\n  kedge lab exec %s NODE -- COMMAND   runs a command on a node\n  kedge lab down %s                   ends it\nlogs and captures are in %s\n", lab.Name, lab.Name, output)
	return cmd.Process.Release()
}

// listen makes the lab's socket, unless a lab of that name is up already.
func listen(name string) (*net.UnixListener, error) {
	path := socketPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("lab %s is up already; end it by: kedge lab down %s", name, name)
	}
	// Left behind by a lab that was killed.
	_ = os.Remove(path)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// downOuter ends a lab that is up and waits until it has ended.
func downOuter(name string) error {
	if _, err := ask(name, request{Do: "down"}); err != nil {
		return err
	}
	return os.Remove(socketPath(name))
}
