package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kedge/appliance/lab/measure"
)

// controlSocket is where a kedge node of a lab has its control API, in its directory.
const controlSocket = "control.sock"

// journal collects the events of all kedge nodes.
type journal struct {
	mu     sync.Mutex
	events []measure.Event
}

func (j *journal) add(e measure.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

func (j *journal) all() []measure.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]measure.Event(nil), j.events...)
}

// save writes the events as JSON, one a line.
func (j *journal) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	for _, event := range j.all() {
		if err := e.Encode(event); err != nil {
			f.Close()
			return err
		}
	}
	if err := w.Flush(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// follow reads a node's event stream until ctx ends, connecting anew when the node is not there or goes away.
func (j *journal) follow(ctx context.Context, d *node) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", filepath.Join(d.directory, controlSocket))
		},
	}}
	seen := map[string]bool{}
	for ctx.Err() == nil {
		_ = j.stream(ctx, client, d.Name, seen)
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stream reads server-sent events until the connection ends. The node first repeats what it has told before, which seen
// holds.
func (j *journal) stream(ctx context.Context, client *http.Client, node string, seen map[string]bool) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://kedge/v1/events?follow=1", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("events of node %s: %s", node, response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok || seen[text] {
			continue
		}
		seen[text] = true
		var e measure.Event
		if json.Unmarshal([]byte(text), &e) == nil {
			e.Node = node
			j.add(e)
		}
	}
	return lines.Err()
}
