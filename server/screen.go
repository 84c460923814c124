package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
)

// errChild means that a connection came from something that the server runs.
var errChild = errors.New("the connection comes from a command that this server runs")

// screen returns a listener whose connections from the port are looked at
// before anything is read of them. That is done by whoever reads a connection,
// so that no other one waits for it.
func (s *Server) screen(l net.Listener) net.Listener {
	if s.cfg.Child == nil {
		return l
	}
	return &screenedListener{l, s}
}

type screenedListener struct {
	net.Listener
	server *Server
}

func (l *screenedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		return &screenedConn{Conn: tcp, refused: sync.OnceValue(func() bool { return l.server.isChild(tcp) })}, nil
	}
	return c, nil
}

type screenedConn struct {
	net.Conn
	refused func() bool
}

func (c *screenedConn) Read(b []byte) (int, error) {
	if c.refused() {
		return 0, errors.Join(errChild, c.Close())
	}
	return c.Conn.Read(b)
}

// isChild reports whether a connection is one to refuse. When that cannot be
// told it is not: it still needs a token, which no child has.
func (s *Server) isChild(c *net.TCPConn) bool {
	child, err := s.cfg.Child(c)
	switch {
	case err != nil:
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "who is at the other end of a connection cannot be told", slog.Any("error", err))
	case child:
		s.cfg.Logger.LogAttrs(context.Background(), slog.LevelWarn, "connection closed: it comes from a command that this server runs", slog.String("remote", c.RemoteAddr().String()))
	}
	return child
}
