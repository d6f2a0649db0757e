package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Listen makes the unix socket. One that a dead process left is replaced; one that answers is an error.
func Listen(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return nil, fmt.Errorf("control socket %s: another kedge answers there; give this node a control.socket of its own", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	// The socket commands the node: its owner and group may use it, others may not.
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// Serve answers until ctx ends.
func Serve(ctx context.Context, l net.Listener, n Node) error {
	s := &http.Server{Handler: Handler(n), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("control API: %w", err)
	}
	return nil
}

// Handler is the API of a node.
func Handler(n Node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.Status(r.Context())
		answer(w, s, err)
	})
	mux.HandleFunc("GET /v1/bindings", func(w http.ResponseWriter, r *http.Request) {
		b, err := n.Bindings(r.Context())
		answer(w, b, err)
	})
	mux.HandleFunc("DELETE /v1/bindings/{home}", func(w http.ResponseWriter, r *http.Request) {
		home, err := netip.ParseAddr(r.PathValue("home"))
		if err != nil {
			http.Error(w, "expected a home address: "+err.Error(), http.StatusBadRequest)
			return
		}
		removed, err := n.RemoveBinding(r.Context(), home)
		if err == nil && !removed {
			http.Error(w, "no binding for "+home.String(), http.StatusNotFound)
			return
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("GET /v1/flows", func(w http.ResponseWriter, r *http.Request) {
		if limit, ok := limitOf(w, r); ok {
			f, err := n.Flows(r.Context(), limit)
			answer(w, f, err)
		}
	})
	mux.HandleFunc("GET /v1/sessions", func(w http.ResponseWriter, r *http.Request) {
		if limit, ok := limitOf(w, r); ok {
			s, err := n.Sessions(r.Context(), limit)
			answer(w, s, err)
		}
	})
	mux.HandleFunc("DELETE /v1/sessions/{mn}", func(w http.ResponseWriter, r *http.Request) {
		removed, err := n.RemoveSession(r.Context(), r.PathValue("mn"))
		if err == nil && !removed {
			http.Error(w, "no session of "+r.PathValue("mn"), http.StatusNotFound)
			return
		}
		answer(w, struct{}{}, err)
	})
	mux.HandleFunc("GET /v1/mobile-nodes", func(w http.ResponseWriter, r *http.Request) {
		m, err := n.MobileNodes(r.Context())
		answer(w, m, err)
	})
	mux.HandleFunc("GET /v1/flows/{number}", func(w http.ResponseWriter, r *http.Request) {
		if number, ok := flowNumber(w, r); ok {
			f, err := n.Flow(r.Context(), number)
			answer(w, f, err)
		}
	})
	mux.HandleFunc("POST /v1/flows/{number}/path", func(w http.ResponseWriter, r *http.Request) {
		if number, ok := flowNumber(w, r); ok {
			answer(w, struct{}{}, n.SwitchFlow(r.Context(), number, r.FormValue("mode"), r.FormValue("uplink")))
		}
	})
	mux.HandleFunc("GET /v1/anchors", func(w http.ResponseWriter, r *http.Request) {
		a, err := n.Anchors(r.Context())
		answer(w, a, err)
	})
	mux.HandleFunc("GET /v1/directory", func(w http.ResponseWriter, r *http.Request) {
		d, err := n.Directory(r.Context())
		answer(w, d, err)
	})
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.Status(r.Context())
		switch {
		case err != nil:
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case !s.Healthy:
			http.Error(w, s.Reason, http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ok")
		}
	})
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		events(w, r, n.Trace())
	})
	return mux
}

// defaultLimit is how many flows or sessions are listed unless a limit is given.
const defaultLimit = 1000

func limitOf(w http.ResponseWriter, r *http.Request) (int, bool) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return defaultLimit, true
	}
	limit, err := strconv.Atoi(text)
	if err != nil || limit < 1 {
		http.Error(w, "expected a limit of 1 or more", http.StatusBadRequest)
		return 0, false
	}
	return limit, true
}

func flowNumber(w http.ResponseWriter, r *http.Request) (uint64, bool) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		http.Error(w, "expected the number of a flow, found "+strconv.Quote(r.PathValue("number")), http.StatusBadRequest)
	}
	return number, err == nil
}

func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, ErrNoFlow), errors.Is(err, ErrNotThisRole):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // an error here is the client's going away
}

func events(w http.ResponseWriter, r *http.Request, t *Trace) {
	past, future, stop := t.Follow()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	flush := http.NewResponseController(w)
	for _, e := range past {
		if writeEvent(w, e) != nil {
			return
		}
	}
	if r.URL.Query().Get("follow") == "" {
		return
	}
	for {
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case e := <-future:
			if writeEvent(w, e) != nil {
				return
			}
		}
	}
}

func writeEvent(w http.ResponseWriter, e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.Number, b)
	return err
}
