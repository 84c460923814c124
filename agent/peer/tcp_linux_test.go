package peer_test

import (
	"context"
	"net"
	"testing"

	"opencode/agent/peer"
)

func listenTCP(t *testing.T, network, address string) *net.TCPListener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

// TestChildAtTheOtherEndOfTCP tells children from this program itself, on each
// kind of address, also as IPv4 seen by a listener for both.
func TestChildAtTheOtherEndOfTCP(t *testing.T) {
	t.Parallel()
	for name, shell := range map[string]string{
		"child":      `exec "$0" "$1"`,
		"grandchild": `"$0" "$1"; true`,
		"daemon":     `(setsid "$0" "$1" &)`,
	} {
		for _, address := range [][2]string{{"tcp4", "127.0.0.1"}, {"tcp6", "::1"}, {"tcp", "::"}} {
			t.Run(name+" "+address[1], func(t *testing.T) {
				t.Parallel()
				l := listenTCP(t, address[0], net.JoinHostPort(address[1], "0"))
				target := l.Addr().String()
				if address[1] == "::" {
					_, port, err := net.SplitHostPort(target)
					if err != nil {
						t.Fatal(err)
					}
					target = net.JoinHostPort("127.0.0.1", port)
				}
				cmd := as(t, "connect tcp", target, shell)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				conn := acceptTCP(t, l)
				if name == "daemon" {
					if err := cmd.Wait(); err != nil { // only the daemon is left
						t.Fatal(err)
					}
				}
				if isChild, err := peer.Child(conn); err != nil || !isChild {
					t.Errorf("Child = %v, %v of a child", isChild, err)
				}
				// This program itself, while it has a child.
				own, err := new(net.Dialer).DialContext(t.Context(), "tcp", target)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = own.Close() }()
				if isChild, err := peer.Child(acceptTCP(t, l)); err != nil || isChild {
					t.Errorf("Child = %v, %v of this program", isChild, err)
				}
				_ = conn.Close() // lets the child end
				if name != "daemon" {
					if err := cmd.Wait(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

func acceptTCP(t *testing.T, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestChildOfNothing(t *testing.T) {
	t.Parallel()
	l := listenTCP(t, "tcp", "127.0.0.1:0")
	client, err := new(net.Dialer).DialContext(context.Background(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if isChild, err := peer.Child(acceptTCP(t, l)); err != nil || isChild {
		t.Errorf("Child = %v, %v of this program", isChild, err)
	}
	if isChild, err := peer.Child(nil); err == nil || isChild {
		t.Errorf("Child(nil) = %v, %v", isChild, err)
	}
}
