package peer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"opencode/agent/peer"
)

// TestMain makes the test program adopt its orphans, as the server does, and
// is also the children that the tests need.
func TestMain(m *testing.M) {
	if what := os.Getenv("PEER_TEST_CHILD"); what != "" {
		if err := child(what, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func child(what, socket string) error {
	ctx := context.Background()
	switch what {
	case "connect": // connect and stay until the other end closes
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, conn)
		return err
	case "connect tcp":
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", socket)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, conn)
		return err
	case "leave": // connect, say so and end
		if _, err := new(net.Dialer).DialContext(ctx, "unix", socket); err != nil {
			return err
		}
		return nil
	case "serve": // say who connected
		l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
		if err != nil {
			return err
		}
		fmt.Println("listening")
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		p, err := peer.Check(conn.(*net.UnixConn))
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(p)
	}
	return fmt.Errorf("unknown: %q", what)
}

// as returns a command that runs this test program as a child. The shell text
// starts it, as "$0" "$1".
func as(t *testing.T, what, socket, shell string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", shell, os.Args[0], socket)
	cmd.Env = append(os.Environ(), "PEER_TEST_CHILD="+what)
	cmd.Stderr = os.Stderr
	return cmd
}

func listen(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.UnixListener), socket
}

func accept(t *testing.T, l *net.UnixListener) *net.UnixConn {
	t.Helper()
	conn, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func checkPeer(t *testing.T, conn *net.UnixConn) peer.Peer {
	t.Helper()
	p, err := peer.Check(conn)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOwnProcessIsADescendant(t *testing.T) {
	t.Parallel()
	l, socket := listen(t)
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := checkPeer(t, accept(t, l))
	want := peer.Peer{UID: os.Geteuid(), PID: os.Getpid(), SameUser: true, Descendant: true}
	if diff := cmp.Diff(want, got); diff != "" || got.Local() {
		t.Errorf("Check, local %v: (-want +got)\n%s", got.Local(), diff)
	}
}

func TestDescendants(t *testing.T) {
	t.Parallel()
	for name, shell := range map[string]string{
		"child":                  `exec "$0" "$1"`,
		"grandchild":             `"$0" "$1"; true`,
		"session of its own":     `setsid -w "$0" "$1"`,
		"daemon":                 `(setsid "$0" "$1" &)`,
		"daemon of a daemon":     `(setsid sh -c '(setsid "$0" "$1" &)' "$0" "$1" &)`,
		"daemon, no environment": `(setsid env -i PEER_TEST_CHILD=connect "$0" "$1" &)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, socket := listen(t)
			cmd := as(t, "connect", socket, shell)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			conn := accept(t, l)
			if strings.HasPrefix(name, "daemon") {
				if err := cmd.Wait(); err != nil { // only the daemon is left
					t.Fatal(err)
				}
			}
			got := checkPeer(t, conn)
			if !got.SameUser || !got.Descendant || got.Local() || got.PID == os.Getpid() {
				t.Errorf("Check = %+v, want a descendant", got)
			}
			_ = conn.Close() // lets the peer end
			if strings.HasPrefix(name, "daemon") {
				if _, err := unix.Wait4(got.PID, nil, 0, nil); err != nil {
					t.Errorf("the daemon was not ours: %v", err)
				}
			} else if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOneThatIsGoneIsADescendant is about a process that connected and ended
// before it was looked at, reaped or not.
func TestOneThatIsGoneIsADescendant(t *testing.T) {
	t.Parallel()
	l, socket := listen(t)
	if err := as(t, "leave", socket, `exec "$0" "$1"`).Run(); err != nil {
		t.Fatal(err)
	}
	if got := checkPeer(t, accept(t, l)); !got.Descendant || got.Local() {
		t.Errorf("Check = %+v, want a descendant", got)
	}
}

// TestParentIsLocal has the server in a child, from which the test does not
// descend.
func TestParentIsLocal(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := as(t, "serve", socket, `exec "$0" "$1"`)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var ready string
	if _, err := fmt.Fscanln(out, &ready); err != nil || ready != "listening" {
		t.Fatalf("child said %q, %v", ready, err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var got peer.Peer
	if err := json.NewDecoder(out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	want := peer.Peer{UID: os.Geteuid(), PID: os.Getpid(), SameUser: true}
	if diff := cmp.Diff(want, got); diff != "" || !got.Local() {
		t.Errorf("Check, local %v: (-want +got)\n%s", got.Local(), diff)
	}
}

func TestErrorsAreNotLocal(t *testing.T) {
	t.Parallel()
	l, socket := listen(t)
	client, err := new(net.Dialer).DialContext(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	conn := accept(t, l)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*net.UnixConn{nil, conn} {
		if p, err := peer.Check(c); err == nil || !p.Descendant || p.SameUser || p.Local() {
			t.Errorf("Check = %+v, %v, want an error and nobody", p, err)
		}
	}
	if (peer.Peer{}).Local() {
		t.Error("the zero Peer is local")
	}
}
