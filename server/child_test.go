package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/agent/peer"
	"opencode/server"
)

// childSocket names the variable that makes the test program a child which
// calls the socket that the variable names.
const childSocket = "SERVER_TEST_SOCKET"

// child asks for the sessions over a socket without a token, and prints the
// status.
func child(socket string) int {
	status, err := getOver(context.Background(), socket)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Printf("status=%d\n", status)
	return 0
}

func getOver(ctx context.Context, socket string) (int, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/session", http.NoBody)
	if err != nil {
		return 0, err
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if closeErr := res.Body.Close(); err == nil {
		err = closeErr
	}
	return res.StatusCode, err
}

// TestAgentCannotApproveItself has commands of the agent call the server's own
// socket, which lets the user in without a token. They have the user's id, and
// still are not the user.
func TestAgentCannotApproveItself(t *testing.T) {
	t.Parallel()
	program := must(os.ReadFile(must(os.Executable())(t)))(t)
	for name, c := range map[string]struct {
		peer func(*net.UnixConn) bool
		want string
	}{
		"as the program checks it": {func(conn *net.UnixConn) bool {
			p, err := peer.Check(conn)
			return err == nil && p.SameUser && !p.Descendant
		}, "status=401"},
		"without a check": {nil, "status=401"},
		// This is the hole that the check closes.
		"by the user's id alone": {func(conn *net.UnixConn) bool {
			p, err := peer.Check(conn)
			return err == nil && p.SameUser
		}, "status=200"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The sandbox would keep them from the socket before it comes to that.
			unheld := map[string]string{"data.json": `{"opencode": {"config": {"sandbox": {"mode": "off"}}}}`}
			r := serve(t, options{team: unheld, change: func(s *server.Config) { s.Peer = c.peer }})
			id := r.session()
			// A program outside the project would be asked about, and so would one
			// with another name there.
			if err := os.WriteFile(filepath.Join(r.dir, "child"), program, 0o700); err != nil {
				t.Fatal(err)
			}
			run := childSocket + "=" + r.socket + " ./child"
			for _, command := range []string{run, run + "; true", "(" + run + ")", "sh -c '" + run + "; true'"} {
				got := r.shell(id, r.full, command)
				if got.status != http.StatusOK || !strings.Contains(got.body, c.want) {
					t.Errorf("%s: %d %s, want it to get %s", command, got.status, got.body, c.want)
				}
			}
			if status, err := getOver(t.Context(), r.socket); err != nil || fmt.Sprint("status=", status) != c.want {
				t.Errorf("the server itself: %d, error %v, want %s", status, err, c.want)
			}
		})
	}
}

// TestCommandsSeeNoCredential looks for what the server was started with in the
// environment of a command.
func TestCommandsSeeNoCredential(t *testing.T) {
	r := serve(t, options{})
	for name, value := range map[string]string{
		"OPENCODE_SERVER_PASSWORD": "hunter2", "OPENCODE_TOKEN": r.full, "OPENCODE_CONFIG": "/c", "OPENCODE_CALL_ID": "call_of_the_server",
		"MY_VARIABLE": "Bearer " + r.full, "LANG": r.full, "EDITOR": "x --token=" + r.read,
	} {
		t.Setenv(name, value)
	}
	got := r.shell(r.session(), r.full, "env")
	var m message
	got.into(t, &m)
	output := fmt.Sprint(m.Parts[0]["state"].(map[string]any)["output"])
	call := fmt.Sprint(m.Parts[0]["callID"])
	if !strings.Contains(output, "PATH=") || strings.Count(output, "OPENCODE_") != 1 || !strings.Contains(output, "OPENCODE_CALL_ID="+call+"\n") {
		t.Errorf("environment\n%s, want the call's id as the only variable of ours", output)
	}
	for _, secret := range []string{"hunter2", r.full, r.read, "call_of_the_server"} {
		if strings.Contains(output, secret) {
			t.Errorf("environment\n%s holds %q", output, secret)
		}
	}
	// Nor does anything that a client sees.
	if b := must(json.Marshal(r.messages(fmt.Sprint(m.Info["sessionID"]))))(t); strings.Contains(string(b), r.full) {
		t.Error("the messages hold a token")
	}
}
