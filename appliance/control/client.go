package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Client talks to the node behind one control socket.
type Client struct {
	path string
	http http.Client
}

// NewClient makes a client for the socket at path; it connects with each call.
func NewClient(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}}
}

// Status asks for the node's status.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, "GET", "/v1/status", &s)
}

// Bindings asks for the node's bindings.
func (c *Client) Bindings(ctx context.Context) (b []Binding, err error) {
	return b, c.call(ctx, "GET", "/v1/bindings", &b)
}

// RemoveBinding removes the binding of a home address.
func (c *Client) RemoveBinding(ctx context.Context, home netip.Addr) error {
	return c.call(ctx, "DELETE", "/v1/bindings/"+home.String(), nil)
}

// Flows asks for at most limit flows, the youngest first.
func (c *Client) Flows(ctx context.Context, limit int) (f []Flow, err error) {
	return f, c.call(ctx, "GET", fmt.Sprintf("/v1/flows?limit=%d", limit), &f)
}

// Flow asks for one flow and why it has its address.
func (c *Client) Flow(ctx context.Context, number uint64) (f Flow, err error) {
	return f, c.call(ctx, "GET", fmt.Sprintf("/v1/flows/%d", number), &f)
}

// SwitchFlow moves a live flow to another communication mode or uplink; empty leaves it.
func (c *Client) SwitchFlow(ctx context.Context, number uint64, mode, uplink string) error {
	q := url.Values{"mode": {mode}, "uplink": {uplink}}
	return c.call(ctx, "POST", fmt.Sprintf("/v1/flows/%d/path?%s", number, q.Encode()), nil)
}

// Anchors asks for the addresses that a mobile node holds of Distributed Home-Proxies.
func (c *Client) Anchors(ctx context.Context) (a []Anchor, err error) {
	return a, c.call(ctx, "GET", "/v1/anchors", &a)
}

// Directory asks for a home agent's directory of Distributed Home-Proxies.
func (c *Client) Directory(ctx context.Context) (p []Proxy, err error) {
	return p, c.call(ctx, "GET", "/v1/directory", &p)
}

// MobileNodes asks for the mobile nodes of a MAAR.
func (c *Client) MobileNodes(ctx context.Context) (m []AccessMobileNode, err error) {
	return m, c.call(ctx, "GET", "/v1/mobile-nodes", &m)
}

// Sessions asks for at most limit sessions of a central mobility database.
func (c *Client) Sessions(ctx context.Context, limit int) (s []MobilitySession, err error) {
	return s, c.call(ctx, "GET", fmt.Sprintf("/v1/sessions?limit=%d", limit), &s)
}

// RemoveSession ends a mobile node's session.
func (c *Client) RemoveSession(ctx context.Context, mobileNode string) error {
	return c.call(ctx, "DELETE", "/v1/sessions/"+url.PathEscape(mobileNode), nil)
}

// Events hands the remembered events to each and, if follow is set, those to come, until ctx ends or each fails.
func (c *Client) Events(ctx context.Context, follow bool, each func(Event) error) error {
	path := "/v1/events"
	if follow {
		path += "?follow=1"
	}
	r, err := c.do(ctx, "GET", path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data: "))
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal(data, &e); err != nil {
			return fmt.Errorf("event: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return lines.Err()
}

func (c *Client) call(ctx context.Context, method, path string, into any) error {
	r, err := c.do(ctx, method, path)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		return fmt.Errorf("control API %s: %w", path, err)
	}
	return nil
}

func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://kedge"+path, nil)
	if err != nil {
		return nil, err
	}
	r, err := c.http.Do(q)
	if err != nil {
		return nil, c.explain(err)
	}
	if r.StatusCode != http.StatusOK {
		defer r.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(r.Body, 4096))
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return r, nil
}

func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no kedge runs behind %s (start one with kedge run, or name its socket with --socket)", c.path)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("no permission for %s: use the user or group that runs kedge", c.path)
	}
	return fmt.Errorf("control API at %s: %w", c.path, err)
}
