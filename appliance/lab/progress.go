package lab

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person what goes on: a line for each thing that happened, and on a terminal a last line that changes.
type progress struct {
	w        io.Writer
	terminal bool
	began    time.Time

	mu   sync.Mutex
	live bool
}

func newProgress(w io.Writer, terminal bool) *progress {
	return &progress{w: w, terminal: terminal, began: time.Now()}
}

// say prints a line with the time since the beginning.
func (p *progress) say(format string, a ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, "%7.2fs  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, a...))
}

// show replaces the last line of a terminal.
func (p *progress) show(format string, a ...any) {
	if !p.terminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.w, "%7.2fs  %s", time.Since(p.began).Seconds(), fmt.Sprintf(format, a...))
	p.live = true
}

// done ends the changing line.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	if p.live {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.live = false
	}
}
