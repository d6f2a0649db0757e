package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// compactAt is the length in octets from which a journal is written anew without what has been undone.
const compactAt = 64 << 10

// Journal is a file that names every change that kedge has made to the kernel and not yet undone. It has a JSON object
// a line. The first names the boot and the network namespace that the changes belong to; each other says what is about
// to be changed and what was there before, or that a change has been undone:
//
//	{"boot":"dd010732-…","namespace":4026531840}
//	{"change":1,"sysctl":{"path":"net/ipv6/conf/all/forwarding","original":"0","value":"1"}}
//	{"undone":1}
//
// A line is written before its change is made; nobody waits for the disk, since changes and journal are void together when
// the machine goes down. If kedge dies between the two, undoing finds nothing to undo. A last
// line without its end is a change that was never made.
type Journal struct {
	path string
	lock *os.File // holds the lock on path.lock until it is closed

	mu      sync.Mutex // guards what follows and keeps changes in the journal's order
	file    *os.File   // nil when closed
	size    int
	next    uint64
	pending []*Change // not undone, oldest first
	damage  []error   // what Open could not read, until Restore reports it
}

// Change is one change made to the kernel and how to undo it.
type Change struct {
	journal *Journal
	number  uint64
	undoer  undoer
}

// An undoer undoes a change to the kernel. What is gone already, or is no longer as kedge made it, it leaves alone and
// that is no error.
type undoer interface {
	undo() error
	String() string
}

// line is a line of the file. Number and one of the others are set in a line that names a change.
type line struct {
	Boot      string `json:"boot,omitempty"`
	Namespace uint64 `json:"namespace,omitempty"`

	Number  uint64         `json:"change,omitempty"`
	Sysctl  *sysctlChange  `json:"sysctl,omitempty"`
	Address *addressChange `json:"address,omitempty"`
	Link    *linkChange    `json:"link,omitempty"`
	Route   *routeChange   `json:"route,omitempty"`
	Rule    *ruleChange    `json:"rule,omitempty"`

	TunnelSource *tunnelSourceChange `json:"tunnel_source,omitempty"`

	Undone uint64 `json:"undone,omitempty"`
}

func (l *line) undoer() undoer {
	switch {
	case l.Sysctl != nil:
		return l.Sysctl
	case l.Address != nil:
		return l.Address
	case l.Link != nil:
		return l.Link
	case l.Route != nil:
		return l.Route
	case l.Rule != nil:
		return l.Rule
	case l.TunnelSource != nil:
		return l.TunnelSource
	}
	return nil
}

func lineOf(number uint64, u undoer) line {
	l := line{Number: number}
	switch u := u.(type) {
	case *sysctlChange:
		l.Sysctl = u
	case *addressChange:
		l.Address = u
	case *linkChange:
		l.Link = u
	case *routeChange:
		l.Route = u
	case *ruleChange:
		l.Rule = u
	case *tunnelSourceChange:
		l.TunnelSource = u
	}
	return l
}

// DamageError says that a line of a journal cannot be read. What it changed, if it was a change, stays changed.
type DamageError struct {
	Path string
	Line int
	Err  error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s:%d: damaged journal line: %v", e.Path, e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *DamageError) Unwrap() error { return e.Err }

// Open opens the journal at path, making it and its directory if need be, and keeps every other process from opening it
// until Close or the end of the process. Left-overs of an earlier process are undone by Restore, which is to be called
// before anything is changed. Changes of an earlier boot or of another network namespace are gone with it and forgotten.
// A damaged journal opens; Restore then undoes what can be read and reports the rest.
func Open(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("journal lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
		return nil, fmt.Errorf("journal lock %s.lock: %w", path, err)
	}
	j := &Journal{path: path, lock: lock, next: 1}
	err = j.load()
	if err == nil {
		err = j.rewrite()
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return j, nil
}

// load reads what an earlier process left.
func (j *Journal) load() error {
	content, err := os.ReadFile(j.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	here, err := identity()
	if err != nil {
		return err
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	for i, text := range lines {
		if !bytes.HasSuffix(text, []byte("\n")) {
			break
		}
		var l line
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&l); err != nil {
			j.damage = append(j.damage, &DamageError{j.path, i + 1, err})
			continue
		}
		switch undoer := l.undoer(); {
		case l.Boot != "":
			if l != here {
				j.pending, j.damage = nil, nil
				return nil
			}
		case l.Undone != 0:
			j.pending = slices.DeleteFunc(j.pending, func(c *Change) bool { return c.number == l.Undone })
		case l.Number != 0 && undoer != nil:
			j.pending = append(j.pending, &Change{j, l.Number, undoer})
			j.next = max(j.next, l.Number+1)
		default:
			j.damage = append(j.damage, &DamageError{j.path, i + 1, errors.New("neither a change nor its undoing")})
		}
	}
	return nil
}

// identity is the first line of a journal of this boot and network namespace.
func identity() (line, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return line{}, fmt.Errorf("journal: which boot this is: %w", err)
	}
	var status unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &status); err != nil {
		return line{}, fmt.Errorf("journal: which network namespace this is: %w", err)
	}
	return line{Boot: strings.TrimSpace(string(boot)), Namespace: status.Ino}, nil
}

// rewrite replaces the file by one that has the pending changes only.
func (j *Journal) rewrite() error {
	here, err := identity()
	if err != nil {
		return err
	}
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	lines := []line{here}
	for _, c := range j.pending {
		lines = append(lines, lineOf(c.number, c.undoer))
	}
	for _, l := range lines {
		if err := encoder.Encode(l); err != nil {
			return fmt.Errorf("journal: %w", err)
		}
	}
	file, err := os.OpenFile(j.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if _, err = file.Write(content.Bytes()); err == nil {
		err = os.Rename(j.path+".new", j.path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), file.Close())
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size = file, content.Len()
	return nil
}

func (j *Journal) append(l line) error {
	if j.file == nil {
		return fmt.Errorf("journal %s: %w", j.path, os.ErrClosed)
	}
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	text = append(text, '\n')
	if _, err := j.file.Write(text); err != nil {
		// Half a line may be in the file; the next would continue it.
		return errors.Join(fmt.Errorf("journal: %w", err), j.rewrite())
	}
	j.size += len(text)
	return nil
}

// do journals a change and makes it. A change that fails has not been made.
func (j *Journal) do(u undoer, change func() error) (*Change, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := &Change{j, j.next, u}
	if err := j.append(lineOf(c.number, u)); err != nil {
		return nil, err
	}
	j.next++
	if err := change(); err != nil {
		return nil, errors.Join(err, j.append(line{Undone: c.number}))
	}
	j.pending = append(j.pending, c)
	return c, nil
}

// Undo undoes the change. Undoing a nil Change, one undone already, or one whose object is gone, does nothing. After an
// error it is still in the journal.
func (c *Change) Undo() error {
	if c == nil {
		return nil
	}
	c.journal.mu.Lock()
	defer c.journal.mu.Unlock()
	return c.journal.undo(c)
}

func (j *Journal) undo(c *Change) error {
	i := slices.Index(j.pending, c)
	if i < 0 {
		return nil
	}
	if err := c.undoer.undo(); err != nil {
		return fmt.Errorf("undo %s: %w", c.undoer, err)
	}
	j.pending = slices.Delete(j.pending, i, i+1)
	if err := j.append(line{Undone: c.number}); err != nil {
		return err
	}
	if j.size >= compactAt {
		return j.rewrite()
	}
	return nil
}

// Restore undoes everything that the journal names, newest first, whoever did it. What is gone already or has been
// changed since by others is left alone. It goes on after an error; what could not be undone stays in the journal, and
// the errors are returned joined. Lines that could not be read are reported as DamageError once, and forgotten.
func (j *Journal) Restore() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	failures := j.damage
	j.damage = nil
	for _, c := range slices.Backward(slices.Clone(j.pending)) {
		if err := j.undo(c); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// Pending describes, oldest first, the changes that Restore would undo.
func (j *Journal) Pending() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var texts []string
	for _, c := range j.pending {
		texts = append(texts, c.undoer.String())
	}
	return texts
}

// Close closes the journal and lets others open it. It undoes nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	err := errors.Join(j.file.Close(), j.lock.Close())
	j.file = nil
	return err
}
