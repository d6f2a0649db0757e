package lab

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// However a lab ends, no process and no network namespace of it may be left.
func TestNothingIsLeftBehind(t *testing.T) {
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		// inner says that the lab's inner process is hit, not the one that the user started.
		inner bool
		exit  int
	}{
		{name: "SIGTERM", signal: syscall.SIGTERM, exit: exitInterrupted},
		{name: "SIGINT", signal: syscall.SIGINT, exit: exitInterrupted},
		{name: "SIGKILL", signal: syscall.SIGKILL, exit: -1},
		{name: "SIGKILL of the inner process", signal: syscall.SIGKILL, inner: true, exit: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			needLab(t)
			cmd := exec.Command(os.Args[0], "lab", "testdata/lasting.toml", "-o", t.TempDir())
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cmd.Process.Kill() }()
			lines := bufio.NewScanner(out)
			for lines.Scan() && !strings.Contains(lines.Text(), "download connected") && !strings.Contains(lines.Text(), "download download") {
			}
			inner := childOf(t, cmd.Process.Pid)
			spaces := namespacesUnder(inner)
			if len(spaces) < 2 {
				t.Fatalf("the lab's processes are in %d network namespaces, expected its own and a node's", len(spaces))
			}
			target := cmd.Process.Pid
			if c.inner {
				target = inner
			}
			if err := syscall.Kill(target, c.signal); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.exit {
				t.Errorf("exit status %d, expected %d", got, c.exit)
			}
			var left []string
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if left = processesIn(spaces); len(left) == 0 {
					return
				}
			}
			t.Errorf("processes left in the lab's namespaces: %v", left)
		})
	}
}

func childOf(t *testing.T, parent int) int {
	t.Helper()
	for _, pid := range processes() {
		if parentOf(pid) == parent {
			return pid
		}
	}
	t.Fatal("the lab has no inner process")
	return 0
}

func processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parentOf(pid int) int {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}

// namespacesUnder is the network namespaces of a process and its descendants, of all their threads: the first of the lab's may
// be at work in a node's.
func namespacesUnder(root int) map[string]bool {
	spaces := map[string]bool{}
	under := map[int]bool{root: true}
	for more := true; more; {
		more = false
		for _, pid := range processes() {
			if !under[pid] && under[parentOf(pid)] {
				under[pid], more = true, true
			}
		}
	}
	for pid := range under {
		threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/ns/net"))
		for _, thread := range threads {
			if space, err := os.Readlink(thread); err == nil {
				spaces[space] = true
			}
		}
	}
	return spaces
}

func namespaceOf(pid int) string {
	link, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	return link
}

func processesIn(spaces map[string]bool) (found []string) {
	for _, pid := range processes() {
		if space := namespaceOf(pid); spaces[space] {
			name, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
			found = append(found, strconv.Itoa(pid)+" "+strings.TrimSpace(string(name))+" in "+space)
		}
	}
	return found
}
