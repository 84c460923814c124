package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"opencode/policy"
)

// client calls a server of the same user on the same machine, through its
// local socket. It needs no token: the server knows who is at the other end.
type client struct {
	http *http.Client
}

// clientFlags say which server to call.
type clientFlags struct{ server string }

func (f *clientFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.server, "server", "", "the `PORT` of the server, if several are running")
}

const socketSuffix = ".sock"

// socketPath is where a server that listens on a port has its local socket.
func socketPath(dir, port string) string { return filepath.Join(dir, port+socketSuffix) }

// connect finds the server to call.
func (f *clientFlags) connect(ctx context.Context) (*client, error) {
	dir, err := runtimeDir()
	if err != nil {
		return nil, err
	}
	var names []string
	if f.server != "" {
		names = []string{f.server + socketSuffix}
	} else if names, err = socketNames(dir); err != nil {
		return nil, err
	}
	var alive []string
	for _, name := range names {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, name))
		if err != nil {
			continue
		}
		_ = conn.Close()
		alive = append(alive, name)
	}
	switch len(alive) {
	case 0:
		return nil, withHint(errors.New("no server of this user is running on this machine"), "`opencode serve` starts one")
	case 1:
		return newClient(filepath.Join(dir, alive[0])), nil
	}
	for i, name := range alive {
		alive[i] = strings.TrimSuffix(name, socketSuffix)
	}
	return nil, withHint(fmt.Errorf("several servers are running, on the ports %s", strings.Join(alive, ", ")), "choose one with --server PORT")
}

func socketNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("local sockets: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), socketSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func newClient(socket string) *client {
	return &client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
}

// remoteError is an error that the server answered with.
type remoteError struct {
	status int
	name   string
	text   string
}

func (e *remoteError) Error() string { return e.text }

// Is makes a refusal of the server a denial, for the exit code.
func (e *remoteError) Is(target error) bool {
	return target == policy.ErrDenied && e.status == http.StatusForbidden
}

// call makes one request and reads its answer into out.
func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, reader)
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("the server did not answer: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return fmt.Errorf("the server's answer broke off: %w", err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return serverError(resp.StatusCode, b)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("the server's answer is not what is wanted: %w", err)
	}
	return nil
}

func serverError(status int, b []byte) error {
	var body struct {
		Name string `json:"name"`
		Data struct {
			Message string `json:"message"`
		} `json:"data"`
	}
	if err := json.Unmarshal(b, &body); err != nil || body.Data.Message == "" {
		return fmt.Errorf("the server answered %d", status)
	}
	err := &remoteError{status: status, name: body.Name, text: body.Data.Message}
	if status == http.StatusUnauthorized {
		return withHint(err, "a command that the agent runs is not its user: it cannot use the local socket")
	}
	return err
}

// jsonFlag adds --json.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print as JSON")
}
