package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/agent/tool"
)

const (
	// maxSockets is how many terminals may be connected to at once.
	maxSockets = 256
	// maxTyped is the most that one message may type into a terminal.
	maxTyped = 1 << 20
	// socketTimeout is how long a message or the answer to a ping may take.
	socketTimeout = 10 * time.Second
	// maxCursor is the largest whole number that every client can count to.
	maxCursor = 1<<53 - 1
)

// errStopping ends a connection when the server does.
var errStopping = errors.New("the server is stopping")

// sockets counts the connections that the HTTP server knows no more.
type sockets struct {
	mu      sync.Mutex
	count   int
	stopped bool
	empty   chan struct{} // closed when the last has ended after the stop
}

func newSockets() *sockets { return &sockets{empty: make(chan struct{})} }

// begin counts a connection. The caller must call end.
func (s *sockets) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return agent.ErrStopped
	case s.count >= maxSockets:
		return fmt.Errorf("%w: %d terminals are connected to", agent.ErrLimit, maxSockets)
	}
	s.count++
	return nil
}

func (s *sockets) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count--; s.count == 0 && s.stopped {
		close(s.empty)
	}
}

// stop lets no more connections begin, and returns a channel that is closed
// when all have ended.
func (s *sockets) stop() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped && s.count == 0 {
		close(s.empty)
	}
	s.stopped = true
	return s.empty
}

// ptyOfConnect returns the terminal whose connection a path names.
func ptyOfConnect(path string) (id string, ok bool) {
	id, ok = strings.CutPrefix(path, "/pty/")
	if !ok {
		return "", false
	}
	id, ok = strings.CutSuffix(id, "/connect")
	return id, ok && id != "" && !strings.Contains(id, "/")
}

// connectPTY connects a WebSocket to a terminal: text both ways, and from the
// server a binary message 0x00 and {"cursor": n} when what was there before has
// been sent. The cursor counts UTF-16 code units since the start.
func (s *Server) connectPTY(w http.ResponseWriter, r *http.Request) error {
	if err := checkUpgrade(r); err != nil {
		return err
	}
	id := chi.URLParam(r, "ptyID")
	term, err := s.cfg.Agent.ConnectPTY(passedBy(r).principal, passedBy(r).directory, id)
	if err != nil {
		return ptyError(id, err)
	}
	if err := s.sockets.begin(); err != nil {
		return err
	}
	defer s.sockets.end()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		// The origin has been checked, as that of every request.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil // it has been answered
	}
	conn.SetReadLimit(maxTyped)
	s.talk(r, conn, term, cursorOf(r.URL.Query().Get("cursor")))
	return nil
}

// checkUpgrade refuses what is no request for a WebSocket, in the form of every
// error.
func checkUpgrade(r *http.Request) error {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-Websocket-Key"))
	upgrade := false
	for _, v := range r.Header.Values("Connection") {
		for token := range strings.SplitSeq(v, ",") {
			upgrade = upgrade || strings.EqualFold(strings.TrimSpace(token), "upgrade")
		}
	}
	if r.Method != http.MethodGet || !r.ProtoAtLeast(1, 1) || !isWebSocket(r) || !upgrade ||
		r.Header.Get("Sec-Websocket-Version") != "13" || err != nil || len(key) != 16 {
		return fmt.Errorf("%w: want a WebSocket of version 13", errBadRequest)
	}
	return nil
}

// cursorOf reads where a client wants to go on: -1 is now, and what is no
// cursor is the start.
func cursorOf(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < tool.FromNow || n > maxCursor {
		return 0
	}
	return n
}

// talk carries what is typed and what is shown until the terminal, the
// connection, the credential or the server ends.
func (s *Server) talk(r *http.Request, conn *websocket.Conn, term *tool.Terminal, cursor int64) {
	valid, stop := s.whileValid(r)
	defer stop()
	ctx, cancel := context.WithCancelCause(valid)
	// A context that ends cuts a connection off without a word, so that those
	// of reads and writes do not end with the one that says why.
	open := context.WithoutCancel(r.Context())
	reader := term.Attach(cursor)
	defer reader.Close()

	var group sync.WaitGroup
	group.Go(func() { cancel(listen(ctx, open, conn, term)) })
	group.Go(func() { cancel(s.watchSocket(ctx, open, conn)) })
	cancel(show(ctx, open, conn, reader))
	code, reason := s.ending(r, context.Cause(ctx))
	_ = conn.Close(code, reason) // the other end may be gone
	_ = conn.CloseNow()
	group.Wait()
}

// listen types what arrives.
func listen(ctx, open context.Context, conn *websocket.Conn, term *tool.Terminal) error {
	for {
		kind, b, err := conn.Read(open)
		if err != nil {
			return err
		}
		if kind == websocket.MessageBinary && !utf8.Valid(b) {
			continue // as upstream has it
		}
		// What is typed at the end is lost, and what is shown is not.
		if err := term.Write(ctx, b); err != nil && !errors.Is(err, tool.ErrEnded) {
			return err
		}
	}
}

// watchSocket ends a connection when the server stops, or when nobody is at its
// other end.
func (s *Server) watchSocket(ctx, open context.Context, conn *websocket.Conn) error {
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stop:
			return errStopping
		case <-beat.C:
			limit, cancel := context.WithTimeout(open, socketTimeout)
			err := conn.Ping(limit)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}

// show sends what the terminal shows. Who reads too slowly is told of the gap,
// and where it goes on.
func show(ctx, open context.Context, conn *websocket.Conn, reader *tool.TerminalReader) error {
	send := func(kind websocket.MessageType, b []byte) error {
		limit, cancel := context.WithTimeout(open, socketTimeout)
		defer cancel()
		return conn.Write(limit, kind, b)
	}
	sendCursor := func(cursor int64) error {
		b, err := json.Marshal(map[string]int64{"cursor": cursor})
		if err != nil {
			return err
		}
		return send(websocket.MessageBinary, append([]byte{0}, b...))
	}
	for {
		if cursor, ok := reader.Replayed(); ok {
			if err := sendCursor(cursor); err != nil {
				return err
			}
		}
		text, err := reader.Next(ctx)
		switch {
		case errors.Is(err, tool.ErrBehind):
			err = send(websocket.MessageText, []byte("\r\n[output skipped: "+err.Error()+"]\r\n"))
			if err == nil {
				err = sendCursor(reader.Cursor())
			}
		case err == nil:
			err = send(websocket.MessageText, []byte(text))
		}
		if err != nil {
			return err
		}
	}
}

// ending says how a connection is closed.
func (s *Server) ending(r *http.Request, cause error) (websocket.StatusCode, string) {
	stopping := errors.Is(cause, errStopping)
	select {
	case <-s.stop:
		stopping = true
	default:
	}
	switch {
	case stopping:
		return websocket.StatusGoingAway, errStopping.Error()
	case errors.Is(cause, errUnauthenticated), !s.stillValid(r):
		return websocket.StatusPolicyViolation, "the token is no longer valid"
	case errors.Is(cause, io.EOF):
		return websocket.StatusNormalClosure, ""
	case errors.Is(cause, tool.ErrNotRead):
		return websocket.StatusTryAgainLater, tool.ErrNotRead.Error()
	}
	return websocket.StatusInternalError, "" // it is gone already
}
