package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kedge/appliance/lab/topology"
)

// request is what a command asks of a lab that is up: one JSON object, for exec with the descriptors of standard input,
// output and error beside it (SCM_RIGHTS). The lab answers with one response and closes the connection. A connection that
// the asker closes before ends what it asked for.
type request struct {
	// Do is exec, move or down.
	Do          string
	Node        string
	Arguments   []string `json:",omitempty"`
	Environment []string `json:",omitempty"`
	Interface   string   `json:",omitempty"`
	To          string   `json:",omitempty"`
}

type response struct {
	Error string `json:",omitempty"`
	// Exit is the exit status of an executed command.
	Exit int
}

// maxRequest is the length of the longest request in octets.
const maxRequest = 64 << 10

// stateVariable names the environment variable that says where labs that are up are found, for those who share a machine.
const stateVariable = "KEDGE_LABS"

// stateDirectory has a socket for each lab that is up.
func stateDirectory() string {
	if dir := os.Getenv(stateVariable); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/run/kedge/labs"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "kedge", "labs")
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("kedge-%d", os.Getuid()), "labs")
}

func socketPath(name string) string { return filepath.Join(stateDirectory(), name+".sock") }

// upNames lists the labs that are up.
func upNames() []string {
	paths, _ := filepath.Glob(filepath.Join(stateDirectory(), "*.sock"))
	var names []string
	for _, p := range paths {
		if c, err := net.Dial("unix", p); err == nil {
			c.Close()
			names = append(names, strings.TrimSuffix(filepath.Base(p), ".sock"))
		}
	}
	sort.Strings(names)
	return names
}

// ask sends a request to a lab that is up and waits for its answer.
func ask(name string, r request, files ...*os.File) (response, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socketPath(name), Net: "unix"})
	if err != nil {
		return response{}, fmt.Errorf("lab %s is not up; bring it up by: kedge lab up %s", name, name)
	}
	defer c.Close()
	text, err := json.Marshal(r)
	if err != nil {
		return response{}, err
	}
	if len(text) > maxRequest {
		return response{}, errors.New("the command is too long")
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	if _, _, err := c.WriteMsgUnix(text, unix.UnixRights(fds...), nil); err != nil {
		return response{}, err
	}
	var answer response
	if err := json.NewDecoder(c).Decode(&answer); err != nil {
		return response{}, fmt.Errorf("lab %s ended", name)
	}
	// The lab closes the connection when what was asked for is over: for down, when it has ended.
	_, _ = io.Copy(io.Discard, c)
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// serve answers requests until ctx ends or one of them asks for the end.
func serve(ctx context.Context, listener net.Listener, s *session) {
	ctx, down := context.WithCancel(ctx)
	defer down()
	var answering sync.WaitGroup
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			answering.Go(func() {
				if s.answer(ctx, c.(*net.UnixConn), down) {
					s.lasting = c
					return
				}
				c.Close()
			})
		}
	}()
	<-ctx.Done()
	listener.Close()
	answering.Wait()
}

// answer reports whether the connection shall last until the process ends.
func (s *session) answer(ctx context.Context, c *net.UnixConn, down func()) (lasting bool) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	r, files, err := receive(c)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		// Also those who only look whether the lab is up.
		return false
	}
	_ = c.SetReadDeadline(time.Time{})
	var answer response
	switch r.Do {
	case "down":
		defer down()
		lasting = true
	case "move":
		_, _, err = s.network.move(topology.Move{Node: r.Node, Interface: r.Interface, To: r.To})
	case "exec":
		answer.Exit, err = s.execute(ctx, c, r, files)
	default:
		err = fmt.Errorf("a lab cannot %q", r.Do)
	}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(c).Encode(answer)
	return lasting
}

// receive reads a request and the files that came with it.
func receive(c *net.UnixConn) (r request, files []*os.File, err error) {
	text, control := make([]byte, maxRequest), make([]byte, unix.CmsgSpace(8*4))
	n, controlLength, _, _, err := c.ReadMsgUnix(text, control)
	if err != nil {
		return r, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLength])
	if err != nil {
		return r, nil, err
	}
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return r, files, json.Unmarshal(text[:n], &r)
}

// execute runs a command on a node. It ends with the asker's connection.
func (s *session) execute(ctx context.Context, c *net.UnixConn, r request, files []*os.File) (int, error) {
	d := s.network.nodes[r.Node]
	if d == nil {
		var names []string
		for _, n := range s.lab.Nodes {
			names = append(names, n.Name)
		}
		return 0, fmt.Errorf("there is no node %q; there are %s", r.Node, strings.Join(names, ", "))
	}
	if len(files) != 3 || len(r.Arguments) == 0 {
		return 0, errors.New("exec needs a command and three files")
	}
	cmd := enterCommand(d, r.Arguments)
	cmd.Env = r.Environment
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.children.Start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}); err != nil {
		return 0, err
	}
	pid := cmd.Process.Pid
	ended := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		_, _ = c.Read(make([]byte, 1))
		close(gone)
	}()
	go func() {
		select {
		case <-ended:
			return
		case <-gone:
		case <-ctx.Done():
		}
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}()
	err := cmd.Wait()
	close(ended)
	s.children.Forget(pid)
	if cmd.ProcessState == nil {
		return 0, err
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
