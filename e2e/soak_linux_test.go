package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

const (
	soakStreams   = 200
	soakTerminals = 50

	// soakBatch is after how many renames the driver looks whether every stream
	// has kept up: one that lets 1,024 events wait is dropped, as documented.
	soakBatch = 32
	// soakPause is the pause between two lines that are typed into a terminal.
	soakPause = 20 * time.Millisecond
	// soakFill is how much each terminal shows at first: as much as the server
	// keeps of it, so that what grows afterwards is a leak.
	soakFill = 2200 << 10
)

// TestSoak lets many clients use the server at once for OPENCODE_TEST_SOAK (a
// minute if unset): no event is lost or out of order, every byte that is typed
// comes back, and when all are gone nothing of them is left in the server.
func TestSoak(t *testing.T) {
	duration := time.Minute
	if set := os.Getenv("OPENCODE_TEST_SOAK"); set != "" {
		var err error
		if duration, err = time.ParseDuration(set); err != nil {
			t.Fatalf("OPENCODE_TEST_SOAK: %v", err)
		}
	}
	// Two servers do the same warm-up, and one of them works on: the goroutines
	// of the other are what the first may have in the end.
	idle := startSoakServer(t)
	newSoak(t, idle, 10, 5).run(t, 300*time.Millisecond)
	warm := settled(t, idle.PID, 0)

	s := startSoakServer(t)
	newSoak(t, s, 10, 5).run(t, 300*time.Millisecond)
	before := settled(t, s.PID, warm.Files)
	load := newSoak(t, s, soakStreams, soakTerminals)
	load.run(t, duration)
	after := settled(t, s.PID, before.Files)

	t.Logf("%v: %d events to each of %d streams, %d kB typed into %d terminals, %d commands", duration, load.events, soakStreams,
		load.typed>>10, soakTerminals, load.commands)
	t.Logf("before %+v, early %+v, late %+v, after %+v", before, load.early, load.late, after)
	if after.Children != 0 {
		t.Errorf("%d child processes are left", after.Children)
	}
	if after.Files > before.Files {
		t.Errorf("%d open files, want %d as before", after.Files, before.Files)
	}
	// What the collector leaves lying varies; what grows with the work does not.
	if limit := load.early.Resident*3/2 + 16<<10; load.late.Resident > limit {
		t.Errorf("%d kB resident in the end, want at most %d: it had %d early on", load.late.Resident, limit, load.early.Resident)
	}
	if got, want := goroutines(t, s), goroutines(t, idle); got > want+2 {
		t.Errorf("%d goroutines in the end, want at most %d as in a server that did next to nothing:\n%s", got, want+2, s.Log())
	}
}

// startSoakServer starts our server with a policy that lets terminals pass,
// and so that a quit signal makes it write its goroutines.
func startSoakServer(t *testing.T) *instance {
	t.Helper()
	binary, dir := serverBinary(t), tempDir(t)
	s := &instance{Project: newProject(t, dir), Env: append(homeEnv(dir), "GOTRACEBACK=all")}
	s.Token = s.createToken(t, "read", "write", "execute")
	policy := filepath.Join(dir, "policy")
	writeFiles(t, policy, map[string]string{"terminals.rego": `package team.terminals

allow contains {"id": "terminals.all", "message": "terminals are what is tested"} if input.prompt.tool == "pty"
`})
	s.start(t, false, binary, "serve", "--port", "0", "--directory", s.Project, "--policy", policy, "--log-level", "error")
	return s
}

// goroutines ends a server by a quit signal and counts its goroutines.
func goroutines(t *testing.T, s *instance) int {
	t.Helper()
	if err := syscall.Kill(s.PID, syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	n := 0
	for line := range strings.Lines(s.Log()) {
		if strings.HasPrefix(line, "goroutine ") {
			n++
		}
	}
	if n == 0 {
		t.Errorf("the server wrote no goroutines:\n%s", s.Log())
	}
	return n
}

// settled returns what the server takes once it has no children and at most so
// many open files; zero is as many as it likes. What does not settle is
// returned as it is.
func settled(t *testing.T, pid, files int) usage {
	t.Helper()
	http.DefaultClient.CloseIdleConnections()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	timeout := time.After(patience)
	for quiet := 0; ; {
		u := usageOf(t, pid)
		if quiet++; u.Children > 0 || files > 0 && u.Files > files {
			quiet = 0
		}
		// Connections are closed a moment after their clients are gone.
		if quiet > 10 {
			return u
		}
		select {
		case <-again.C:
		case <-timeout:
			return u
		}
	}
}

// soak is a load on a server.
type soak struct {
	server             *instance
	client             *http.Client
	streams, terminals int
	// session is the one that is renamed: its titles count.
	session string

	// What the run found.
	events, typed, commands int
	early, late             usage
}

func newSoak(t *testing.T, s *instance, streams, terminals int) *soak {
	t.Helper()
	return &soak{
		server: s, streams: streams, terminals: terminals, session: newSession(t, s, nil),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
}

// sequence is what a stream has seen: how many events, and which.
type sequence struct {
	events int
	digest uint64
}

// run puts the load on the server for a while, and takes it off again.
func (l *soak) run(t *testing.T, duration time.Duration) {
	t.Helper()
	defer l.client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), duration+2*patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)

	ready, passed := make(chan struct{}, l.streams), make(chan int, 8*l.streams)
	sequences := make([]sequence, l.streams)
	for i := range l.streams {
		group.Go(func() (err error) {
			sequences[i], err = l.follow(ctx, i%2 == 1, ready, passed)
			if err != nil {
				return fmt.Errorf("stream %d: %w", i, err)
			}
			return nil
		})
	}
	for range l.streams {
		select {
		case <-ready:
		case <-ctx.Done():
			t.Fatalf("the streams: %v", errors.Join(context.Cause(ctx), group.Wait()))
		}
	}
	over := make(chan struct{})
	typed := make([]int, l.terminals)
	for i := range l.terminals {
		group.Go(func() (err error) {
			if typed[i], err = l.typeInto(ctx, i, over); err != nil {
				return fmt.Errorf("terminal %d: %w", i, err)
			}
			return nil
		})
	}
	commanded := make(chan error, 1)
	go func() { commanded <- l.command(ctx, over) }()
	group.Go(func() error {
		// The last title follows all other events, so that each stream sees all.
		stop := func() error {
			close(over)
			return <-commanded
		}
		return l.rename(ctx, passed, time.After(duration), stop)
	})
	early, late := time.After(duration/4), time.After(duration*95/100)
	for range 2 {
		select {
		case <-early:
			l.early = usageOf(t, l.server.PID)
		case <-late:
			l.late = usageOf(t, l.server.PID)
		case <-ctx.Done():
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, l.server.Log())
	}
	for i, s := range sequences {
		if s != sequences[0] {
			t.Errorf("stream %d saw %+v, stream 0 saw %+v", i, s, sequences[0])
		}
	}
	l.events = sequences[0].events
	for _, n := range typed {
		l.typed += n
	}
}

// soakTitle is the title of the nth rename, and lastTitle that of the last.
func soakTitle(n int) string { return "soak " + strconv.Itoa(n) }

const lastTitle = "soak is over"

// follow reads a stream to the last title, and checks that every title before
// it came, each in its turn. It tells when the stream stands and when it has
// passed a batch.
func (l *soak) follow(ctx context.Context, global bool, ready chan<- struct{}, passed chan<- int) (sequence, error) {
	path := "/event?directory=" + url.QueryEscape(l.server.Project)
	if global {
		path = "/global/event"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server.URL+path, http.NoBody)
	if err != nil {
		return sequence{}, err
	}
	req.SetBasicAuth("opencode", l.server.Token)
	res, err := l.client.Do(req)
	if err != nil {
		return sequence{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return sequence{}, fmt.Errorf("GET %s = %d", path, res.StatusCode)
	}
	var seen sequence
	digest := fnv.New64a()
	last, next := "", 0
	err = readEvents(res.Body, func(data []byte) error {
		e, err := parseSoakEvent(data, global)
		if err != nil {
			return err
		}
		switch e.Type {
		// A stream's own events are in no order with those of all.
		case "server.connected":
			ready <- struct{}{}
			return nil
		case "server.heartbeat":
			return nil
		case "server.dropped":
			return fmt.Errorf("dropped: %s", data)
		}
		if e.ID <= last {
			return fmt.Errorf("event %s comes after %s", e.ID, last)
		}
		last = e.ID
		seen.events++
		_, _ = io.WriteString(digest, e.ID)
		title := e.Properties.Info.Title
		if e.Type != "session.updated" || e.Properties.Info.ID != l.session {
			return nil
		}
		if title == lastTitle {
			return io.EOF
		}
		if title != soakTitle(next) {
			return fmt.Errorf("title %q, want %q", title, soakTitle(next))
		}
		if next++; next%soakBatch == 0 {
			passed <- next / soakBatch
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		return seen, fmt.Errorf("ended after %d events: %w", seen.events, errors.Join(io.ErrUnexpectedEOF, err))
	}
	seen.digest = digest.Sum64()
	return seen, nil
}

// soakEvent is an event as far as the soak test looks at it.
type soakEvent struct {
	ID, Type   string
	Properties struct {
		Info struct{ ID, Title string }
	}
}

func parseSoakEvent(data []byte, global bool) (soakEvent, error) {
	if !global {
		var e soakEvent
		return e, json.Unmarshal(data, &e)
	}
	var wrapped struct{ Payload soakEvent }
	err := json.Unmarshal(data, &wrapped)
	return wrapped.Payload, err
}

// rename gives the session one title after the other until it is time, stops
// the others, and gives the last title.
func (l *soak) rename(ctx context.Context, passed <-chan int, enough <-chan time.Time, stop func() error) error {
	count := map[int]int{}
	for n := 0; ; n++ {
		// The batch before the last one has to have passed everywhere.
		for batch := n/soakBatch - 1; n%soakBatch == 0 && batch > 0 && count[batch] < l.streams; {
			select {
			case b := <-passed:
				count[b]++
			case <-ctx.Done():
				return errors.Join(context.Cause(ctx), stop())
			}
		}
		select {
		case <-enough:
			if err := stop(); err != nil {
				return err
			}
			return l.retitle(ctx, lastTitle)
		default:
		}
		if err := l.retitle(ctx, soakTitle(n)); err != nil {
			return errors.Join(err, stop())
		}
	}
}

func (l *soak) retitle(ctx context.Context, title string) error {
	got, err := send(ctx, l.server, http.MethodPatch, "/session/"+l.session, map[string]string{"title": title})
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("%d %s", got.status, got.body)
	}
	if err != nil {
		return fmt.Errorf("title %q: %w", title, err)
	}
	return nil
}

// command runs one command after the other in a session of its own.
func (l *soak) command(ctx context.Context, over <-chan struct{}) error {
	got, err := send(ctx, l.server, http.MethodPost, "/session", map[string]string{})
	if err != nil {
		return err
	}
	var session struct{ ID string }
	if err := json.Unmarshal(got.body, &session); err != nil {
		return err
	}
	for n := 0; ; n++ {
		select {
		case <-over:
			l.commands = n
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		want := "soaked " + strconv.Itoa(n)
		got, err := shell(l.server, session.ID, "echo "+want)(ctx)
		if err == nil && (got.status != http.StatusOK || !strings.Contains(string(got.body), want)) {
			err = fmt.Errorf("%d %s", got.status, got.body)
		}
		if err != nil {
			return fmt.Errorf("command %d: %w", n, err)
		}
	}
}

// typeInto types into a terminal of its own until it is over, and checks that
// every byte comes back. It returns how many did.
func (l *soak) typeInto(ctx context.Context, i int, over <-chan struct{}) (typed int, err error) {
	got, err := send(ctx, l.server, http.MethodPost, "/pty", map[string]any{
		"command": "/bin/sh", "args": []string{"-c", "stty raw -echo; head -c " + strconv.Itoa(soakFill) + " /dev/zero | tr '\\0' x; echo ready; exec cat"},
	})
	if err != nil {
		return 0, err
	}
	var pty struct{ ID string }
	if err := json.Unmarshal(got.body, &pty); err != nil || got.status != http.StatusOK {
		return 0, fmt.Errorf("POST /pty = %d %s: %w", got.status, got.body, err)
	}
	conn, status, err := dialTerminal(ctx, l.server, pty.ID, url.Values{"directory": {l.server.Project}, "cursor": {"0"}}, basicHeader(l.server))
	if err != nil {
		return 0, fmt.Errorf("connect = %d: %w", status, err)
	}
	// A client may leave before its terminal or after it.
	leave := sync.OnceFunc(func() { _ = conn.Close(websocket.StatusNormalClosure, "") })
	defer leave()
	conn.SetReadLimit(1 << 20)
	if err := filled(ctx, conn); err != nil {
		return 0, err
	}
	pause := time.NewTicker(soakPause)
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return typed, ctx.Err()
		case <-over:
			if i%2 == 0 {
				leave()
			}
			return typed, l.removeTerminal(ctx, pty.ID)
		}
		// Characters of each length, so that a frame must not cut one in two.
		line := fmt.Sprintf("%d.%d %s\n", i, n, strings.Repeat("aé漢😀", 8+n%64))
		if err := conn.Write(ctx, websocket.MessageText, []byte(line)); err != nil {
			return typed, err
		}
		if err := echoed(ctx, conn, line); err != nil {
			return typed, fmt.Errorf("line %d: %w", n, err)
		}
		typed += len(line)
	}
}

func (l *soak) removeTerminal(ctx context.Context, id string) error {
	got, err := send(ctx, l.server, http.MethodDelete, "/pty/"+id, nil)
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("%d %s", got.status, got.body)
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// filled reads what a terminal shows before it is ready.
func filled(ctx context.Context, conn *websocket.Conn) error {
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("not ready: %w", err)
		}
		if kind == websocket.MessageText && strings.HasSuffix(string(data), "ready\n") {
			return nil
		}
	}
}

// echoed reads from a terminal until what was typed is back, and nothing else.
func echoed(ctx context.Context, conn *websocket.Conn, want string) error {
	for rest := want; rest != ""; {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return fmt.Errorf("%q missing of %q: %w", rest, want, err)
		}
		if kind == websocket.MessageBinary {
			continue // the cursor
		}
		var ok bool
		if rest, ok = strings.CutPrefix(rest, string(data)); !ok {
			return fmt.Errorf("%q came, want the start of %q", data, rest)
		}
	}
	return nil
}
