package server_test

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	"opencode/server"
)

// TestChildrenAreTurnedAway has connections come from a command for a while.
func TestChildrenAreTurnedAway(t *testing.T) {
	t.Parallel()
	var children atomic.Bool
	r := serve(t, options{change: func(c *server.Config) {
		c.Child = func(*net.TCPConn) (bool, error) { return children.Load(), nil }
	}})
	if got := r.do(http.MethodGet, "/global/health", r.full, ""); got.status != http.StatusOK {
		t.Fatalf("health = %d %s, %v", got.status, got.body, got.err)
	}
	r.client.CloseIdleConnections()
	children.Store(true)
	if got := r.do(http.MethodGet, "/global/health", r.full, ""); got.err == nil {
		t.Errorf("a child got an answer: %d %s", got.status, got.body)
	}
	children.Store(false)
	if got := r.do(http.MethodGet, "/global/health", r.full, ""); got.status != http.StatusOK {
		t.Errorf("health = %d %s, %v", got.status, got.body, got.err)
	}
}
