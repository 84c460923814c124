package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"opencode/agent"
	"opencode/server"
	"opencode/store"
)

// ptyBody is a terminal as clients see it.
type ptyBody struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Command string   `json:"command"`
	Args    []string `json:"args"`
	Cwd     string   `json:"cwd"`
	Status  string   `json:"status"`
	PID     int      `json:"pid"`
}

// pty starts a script on a terminal.
func (r *rig) pty(token, script string) ptyBody {
	r.t.Helper()
	return r.ptyOf(token, map[string]any{"command": "/bin/sh", "args": []string{"-c", script}})
}

func (r *rig) ptyOf(token string, body map[string]any) ptyBody {
	r.t.Helper()
	var p ptyBody
	r.do(http.MethodPost, "/pty", token, string(must(json.Marshal(body))(r.t))).into(r.t, &p)
	return p
}

// alive reports whether a process is there.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// ticket asks for a ticket.
func (r *rig) ticket(token, target string, header http.Header) reply {
	r.t.Helper()
	req := r.request(r.t.Context(), http.MethodPost, target, token, "")
	req.Header.Set("X-Opencode-Ticket", "1")
	maps.Copy(req.Header, header)
	return r.send(req)
}

func (r *rig) mustTicket(token, id string) string {
	r.t.Helper()
	var b struct {
		Ticket    string `json:"ticket"`
		ExpiresIn int    `json:"expires_in"`
	}
	r.ticket(token, "/pty/"+id+"/connect-token", nil).into(r.t, &b)
	if b.ExpiresIn != 60 || len(b.Ticket) != 43 {
		r.t.Fatalf("ticket %+v", b)
	}
	return b.Ticket
}

// socket is a client at a terminal.
type socket struct {
	t       testing.TB
	conn    *websocket.Conn
	text    string
	cursors []int64
	end     error
}

// dial opens a WebSocket, or returns how it was refused.
func (r *rig) dial(token, target string, header http.Header) (*socket, reply) {
	r.t.Helper()
	h := http.Header{}
	maps.Copy(h, header)
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	conn, res, err := websocket.Dial(r.t.Context(), "ws://"+r.addr+target, &websocket.DialOptions{HTTPHeader: h, HTTPClient: r.client}) //nolint:bodyclose // the connection has it, or Dial has read it
	if err != nil {
		if res == nil {
			return nil, reply{err: err}
		}
		b := make([]byte, 4096)
		n, _ := res.Body.Read(b)
		return nil, reply{status: res.StatusCode, header: res.Header, body: string(b[:n])}
	}
	conn.SetReadLimit(1 << 20)
	r.t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t: r.t, conn: conn}, reply{status: res.StatusCode}
}

func (r *rig) connect(token, target string) *socket {
	r.t.Helper()
	s, refused := r.dial(token, target, nil)
	if s == nil {
		r.t.Fatalf("%s: %d %s %v", target, refused.status, refused.body, refused.err)
	}
	return s
}

// read takes one message.
func (s *socket) read() bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, b, err := s.conn.Read(ctx)
	if err != nil {
		s.end = err
		return false
	}
	if kind == websocket.MessageText {
		s.text += string(b)
		return true
	}
	var meta struct {
		Cursor *int64 `json:"cursor"`
	}
	if b[0] != 0 || json.Unmarshal(b[1:], &meta) != nil || meta.Cursor == nil {
		s.t.Fatalf("binary message %q", b)
	}
	s.cursors = append(s.cursors, *meta.Cursor)
	return true
}

func (s *socket) until(want string) {
	s.t.Helper()
	for !strings.Contains(s.text, want) {
		if !s.read() {
			s.t.Fatalf("never: %q; read %q, %v", want, s.text, s.end)
		}
	}
}

func (s *socket) typed(text string) {
	s.t.Helper()
	if err := s.conn.Write(s.t.Context(), websocket.MessageText, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// closed reads to the end, and checks how it ended.
func (s *socket) closed(code websocket.StatusCode, reason string) {
	s.t.Helper()
	for s.read() {
		continue
	}
	var end websocket.CloseError
	if !errors.As(s.end, &end) || end.Code != code || end.Reason != reason {
		s.t.Errorf("the connection ended with %v, want %d %q", s.end, code, reason)
	}
}

func TestPTYLife(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	events := r.events(r.full, "")
	p := r.pty(r.full, "echo up; read x; exit 7")
	checkShape(t, "Pty", p)
	if p.Command != "/bin/sh" || p.Cwd != r.dir || p.Status != "running" || p.Title != "Terminal "+p.ID[len(p.ID)-4:] || !alive(p.PID) {
		t.Errorf("POST /pty = %+v", p)
	}
	wantShape := func(kind string, schema string, properties any) {
		t.Helper()
		raw := json.RawMessage{}
		events.until(kind, &raw)
		checkShape(t, schema, map[string]any{"id": "evt_1", "type": kind, "properties": raw})
		if err := json.Unmarshal(raw, properties); err != nil {
			t.Fatal(err)
		}
	}
	var seen struct{ Info ptyBody }
	if wantShape("pty.created", "EventPtyCreated", &seen); seen.Info.ID != p.ID {
		t.Errorf("pty.created: %+v", seen)
	}
	var list []ptyBody
	r.do(http.MethodGet, "/pty", r.full, "").into(t, &list)
	if len(list) != 1 || list[0].ID != p.ID {
		t.Errorf("GET /pty = %+v", list)
	}
	var one ptyBody
	r.do(http.MethodPut, "/pty/"+p.ID, r.full, `{"title":"T","size":{"rows":33,"cols":99}}`).into(t, &one)
	if one.Title != "T" {
		t.Errorf("PUT /pty = %+v", one)
	}
	if wantShape("pty.updated", "EventPtyUpdated", &seen); seen.Info.Title != "T" {
		t.Errorf("pty.updated: %+v", seen)
	}
	r.do(http.MethodGet, "/pty/"+p.ID, r.full, "").into(t, &one)
	for _, body := range []string{`{"size":{"rows":0,"cols":1}}`, `{"size":{"rows":1,"cols":99999}}`, `{"size":{"rows":1.5,"cols":1}}`, `{"x":1}`} {
		if got := r.do(http.MethodPut, "/pty/"+p.ID, r.full, body); got.status != http.StatusBadRequest {
			t.Errorf("PUT %s = %d %s", body, got.status, got.body)
		}
	}

	s := r.connect(r.full, "/pty/"+p.ID+"/connect")
	s.until("up\r\n")
	s.typed("\r")
	s.closed(websocket.StatusNormalClosure, "")
	var exited struct {
		ID       string
		ExitCode int
	}
	if wantShape("pty.exited", "EventPtyExited", &exited); exited.ID != p.ID || exited.ExitCode != 7 {
		t.Errorf("pty.exited: %+v", exited)
	}
	got := r.do(http.MethodGet, "/pty/"+p.ID, r.full, "")
	if e := got.failure(t); got.status != http.StatusNotFound || e.Tag != "PtyNotFoundError" || e.PtyID != p.ID || e.Message == "" {
		t.Errorf("after the end: %d %s", got.status, got.body)
	}

	p = r.pty(r.full, "read x")
	s = r.connect(r.full, "/pty/"+p.ID+"/connect")
	var gone bool
	r.do(http.MethodDelete, "/pty/"+p.ID, r.full, "").into(t, &gone)
	if !gone || alive(p.PID) {
		t.Errorf("DELETE = %v, the process lives: %v", gone, alive(p.PID))
	}
	s.closed(websocket.StatusNormalClosure, "")
	var deleted struct{ ID string }
	if wantShape("pty.deleted", "EventPtyDeleted", &deleted); deleted.ID != p.ID {
		t.Errorf("pty.deleted: %+v", deleted)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
		body := ""
		if method == http.MethodPut {
			body = `{}`
		}
		if got := r.do(method, "/pty/"+p.ID, r.full, body); got.status != http.StatusNotFound {
			t.Errorf("%s after the end: %d", method, got.status)
		}
	}
}

func TestPTYShell(t *testing.T) {
	t.Setenv("SHELL", "/bin/sh")
	t.Setenv("PS1", "")
	r := serve(t, options{})
	var p ptyBody
	r.do(http.MethodPost, "/pty", r.full, "").into(t, &p)
	if p.Command != "/bin/sh" || len(p.Args) != 1 || p.Args[0] != "-l" {
		t.Errorf("the user's shell: %+v", p)
	}
	s := r.connect(r.full, "/pty/"+p.ID+"/connect?cursor=-1")
	// No prompt follows: what comes after the last line would be counted by one of
	// the connections below and not by the other.
	s.typed("stty size; echo é😀$((20+22)); exec cat\n")
	s.until("é😀42\r\n")
	s.until("24 80")
	again := r.connect(r.full, "/pty/"+p.ID+"/connect?cursor=0")
	for len(again.cursors) == 0 && again.read() {
		continue
	}
	units := int64(0)
	for _, c := range again.text {
		if units++; c > 0xffff {
			units++
		}
	}
	if again.cursors[0] != units || !strings.Contains(again.text, "é😀42") {
		t.Errorf("replay of %d units %q: cursor %d", units, again.text, again.cursors[0])
	}
	from := r.connect(r.full, fmt.Sprintf("/pty/%s/connect?cursor=%d", p.ID, units))
	for len(from.cursors) == 0 && from.read() {
		continue
	}
	if from.text != "" {
		t.Errorf("replay from the end: %q", from.text)
	}
	var shells []map[string]any
	r.do(http.MethodGet, "/pty/shells", r.full, "").into(t, &shells)
	if len(shells) == 0 || shells[0]["path"] == "" || shells[0]["acceptable"] == nil {
		t.Errorf("shells %v", shells)
	}
}

func TestPTYRefused(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for _, c := range []struct {
		name, body string
		status     int
		says       string
	}{
		{"banned", `{"command":"curl","args":["x"]}`, http.StatusForbidden, "bash.banned_command"},
		{"banned behind a shell", `{"command":"sh","args":["-c","wget x"]}`, http.StatusForbidden, "bash.banned_command"},
		{"outside", `{"cwd":"/etc"}`, http.StatusForbidden, "path.outside"},
		{"climbs out", `{"cwd":"../../../../../../../etc"}`, http.StatusForbidden, "path.outside"},
		{"PATH", `{"env":{"PATH":"."}}`, http.StatusBadRequest, "PATH"},
		{"LD_PRELOAD", `{"env":{"LD_PRELOAD":"x"}}`, http.StatusBadRequest, "LD_PRELOAD"},
		{"no program", `{"command":"./no-such-program"}`, http.StatusBadRequest, "no such file"},
		{"no session", `{"sessionID":"ses_none"}`, http.StatusNotFound, "ses_none"},
		{"unknown member", `{"x":1}`, http.StatusBadRequest, "unknown field"},
	} {
		got := r.do(http.MethodPost, "/pty", r.full, c.body)
		if got.status != c.status || !strings.Contains(got.body, c.says) {
			t.Errorf("%s: %d %s, want %d and %q", c.name, got.status, got.body, c.status, c.says)
		}
	}
	got := r.do(http.MethodPost, "/pty?directory=/etc", r.full, `{}`)
	if got.status != http.StatusForbidden {
		t.Errorf("a directory of no project: %d", got.status)
	}
	var list []ptyBody
	if r.do(http.MethodGet, "/pty", r.full, "").into(t, &list); len(list) != 0 {
		t.Errorf("terminals %v", list)
	}
}

// TestPTYQuestion answers the question of a terminal, which belongs to no
// session, by both routes.
func TestPTYQuestion(t *testing.T) {
	t.Parallel()
	r := serve(t, options{team: map[string]string{
		"team.rego": "package team.t\n\nimport data.opencode.config\n\nask contains {\"id\": \"t.ask\", \"message\": \"may it\", \"always\": [\"x\"]} if {\n\tinput.prompt.tool == \"pty\"\n\tis_object(config.routes)\n}\n",
	}})
	for _, c := range []struct {
		reply  string
		older  bool
		status int
	}{{"once", false, http.StatusOK}, {"always", true, http.StatusOK}, {"reject", false, http.StatusForbidden}, {"reject", true, http.StatusForbidden}} {
		events := r.events(r.full, "")
		done := make(chan reply, 1)
		req := r.request(t.Context(), http.MethodPost, "/pty", r.full, `{"command":"/bin/sh","args":["-c","read x"]}`)
		go func() { done <- r.send(req) }()
		asked := events.asked()
		if !strings.HasPrefix(asked.SessionID, "ses_") || asked.Permission != "pty" || asked.Patterns[0] != "/bin/sh -c read x" || len(asked.Always) != 0 || asked.Tool != nil {
			t.Errorf("question %+v", asked)
		}
		var waiting []agent.Permission
		if r.do(http.MethodGet, "/permission", r.full, "").into(t, &waiting); len(waiting) != 1 {
			t.Errorf("questions %+v", waiting)
		}
		target, body := "/permission/"+asked.ID+"/reply", `{"reply":"`+c.reply+`"}`
		if c.older {
			target, body = "/session/"+asked.SessionID+"/permissions/"+asked.ID, `{"response":"`+c.reply+`"}`
		}
		if got := r.do(http.MethodPost, target, r.full, body); got.status != http.StatusOK {
			t.Fatalf("answer: %d %s", got.status, got.body)
		}
		got := await(t, "an answer", done)
		if got.status != c.status {
			t.Errorf("%s: %d %s, want %d", c.reply, got.status, got.body, c.status)
		}
		events.until("permission.replied", nil)
	}
	records := must(r.db.Decisions(t.Context(), store.DecisionFilter{Limit: 100}))(t)
	answers := 0
	for _, d := range records {
		if d.Kind == "answer" {
			answers++
		}
	}
	if answers != 4 {
		t.Errorf("%d answers are recorded, want 4", answers)
	}
}

func TestPTYTeamDenies(t *testing.T) {
	t.Parallel()
	r := serve(t, options{team: map[string]string{
		"data.json": `{"opencode":{"config":{"pty":{"interactive":"deny"}}}}`,
		"team.rego": "package team.t\n\ndeny contains {\"id\": \"t.no\", \"message\": \"no\"} if {\n\tinput.request.method == \"GET\"\n\tinput.request.route == \"/pty/{ptyID}\"\n\tinput.principal.name != \"full\"\n}\n",
	}})
	if got := r.do(http.MethodPost, "/pty", r.full, `{"command":"bash"}`); got.status != http.StatusForbidden || !strings.Contains(got.body, "pty.interactive") {
		t.Errorf("a shell: %d %s", got.status, got.body)
	}
	other := r.token("other", "read", "write", "execute")
	p := r.pty(r.full, "read x")
	var list []ptyBody
	if r.do(http.MethodGet, "/pty", other, "").into(t, &list); len(list) != 0 {
		t.Errorf("others see %v", list)
	}
	if r.do(http.MethodGet, "/pty", r.full, "").into(t, &list); len(list) != 1 || list[0].ID != p.ID {
		t.Errorf("who made it sees %v", list)
	}
}

func TestPTYTicket(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	r := serve(t, options{now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }, change: func(c *server.Config) {
		c.Origins = []string{"https://ide.example"}
	}})
	p, q := r.pty(r.full, "echo up; read x"), r.pty(r.full, "read x")
	connect := "/pty/" + p.ID + "/connect?ticket="
	page := http.Header{"Origin": {"https://ide.example"}}

	got := r.do(http.MethodPost, "/pty/"+p.ID+"/connect-token", r.full, "")
	if e := got.failure(t); got.status != http.StatusForbidden || e.Tag != "PtyForbiddenError" {
		t.Errorf("without the header: %d %s", got.status, got.body)
	}
	if got := r.ticket(r.full, "/pty/"+p.ID+"/connect-token", http.Header{"Origin": {"https://evil.example"}}); got.status != http.StatusForbidden {
		t.Errorf("from another page: %d", got.status)
	}
	if got := r.ticket(r.full, "/pty/pty_none/connect-token", nil); got.status != http.StatusNotFound {
		t.Errorf("of no terminal: %d", got.status)
	}
	other := r.token("other", "read", "write", "execute")
	if got := r.ticket(other, "/pty/"+p.ID+"/connect-token", nil); got.status != http.StatusNotFound {
		t.Errorf("of the terminal of somebody else: %d", got.status)
	}

	good := r.mustTicket(r.full, p.ID)
	s, refused := r.dial("", connect+good, page)
	if s == nil {
		t.Fatalf("a good ticket: %+v", refused)
	}
	s.until("up")
	s, _ = r.dial(r.full, connect+r.mustTicket(r.full, p.ID)+"&directory="+url.QueryEscape(r.dir), page)
	if s == nil {
		t.Error("a ticket with the token of the same principal is refused")
	}

	sub := filepath.Join(r.dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	late := r.mustTicket(r.full, p.ID)
	ahead.Store(int64(agent.TicketLife))
	bodies := map[string]bool{}
	for _, c := range []struct{ name, token, target string }{
		{"used", "", connect + good},
		{"expired", "", connect + late},
		{"none", "", connect + "none"},
		{"of another terminal", "", "/pty/" + q.ID + "/connect?ticket=" + r.mustTicket(r.full, p.ID)},
		{"of no terminal", "", "/pty/pty_none/connect?ticket=" + r.mustTicket(r.full, p.ID)},
		{"no terminal, no ticket", "", "/pty/pty_none/connect?ticket=x"},
		{"another directory", "", connect + r.mustTicket(r.full, p.ID) + "&directory=" + url.QueryEscape(sub)},
		{"no directory", "", connect + r.mustTicket(r.full, p.ID) + "&directory=/none"},
		{"beside another token", other, connect + r.mustTicket(r.full, p.ID)},
		{"two", "", connect + r.mustTicket(r.full, p.ID) + "&ticket=" + r.mustTicket(r.full, p.ID)},
	} {
		s, refused := r.dial(c.token, c.target, page)
		if s != nil || refused.status != http.StatusUnauthorized {
			t.Errorf("ticket %s: %+v, want 401", c.name, refused)
		}
		bodies[refused.body] = true
		// Whatever came of it, it is used up.
		if ticket := must(url.Parse(c.target))(t).Query().Get("ticket"); len(ticket) == 43 {
			if s, refused := r.dial("", connect+ticket, page); s != nil || refused.status != http.StatusUnauthorized {
				t.Errorf("ticket %s once more: %+v, want 401", c.name, refused)
			}
		}
	}
	if len(bodies) != 1 {
		t.Errorf("the refusals differ: %v", bodies)
	}

	// A ticket is no token for anything else.
	if got := r.do(http.MethodGet, "/pty?ticket="+r.mustTicket(r.full, p.ID), "", ""); got.status != http.StatusUnauthorized {
		t.Errorf("a ticket elsewhere: %d", got.status)
	}
	plain := r.mustTicket(r.full, p.ID)
	if got := r.do(http.MethodGet, connect+plain, "", ""); got.status != http.StatusUnauthorized {
		t.Errorf("a ticket without a WebSocket: %d", got.status)
	}
	if s, _ := r.dial("", connect+plain, http.Header{"Origin": {"https://evil.example"}}); s != nil {
		t.Error("a ticket from another page is taken")
	}
	if s, refused := r.dial("", connect+plain, page); s == nil {
		t.Errorf("a ticket that nobody has looked at: %+v", refused)
	}
	for _, ticket := range []string{good, late, plain} {
		if strings.Contains(r.log.String(), ticket) {
			t.Error("a ticket is logged")
		}
	}
}

// TestPTYIsItsMakers connects to terminals of others.
func TestPTYIsItsMakers(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	p := r.pty(r.full, "read x")
	other := r.token("other", "read", "write", "execute")
	if s, refused := r.dial(other, "/pty/"+p.ID+"/connect", nil); s != nil || refused.status != http.StatusNotFound {
		t.Errorf("another principal: %+v, want 404", refused)
	}
	for _, token := range []string{"", r.read, r.write, r.none} {
		for _, id := range []string{p.ID, "pty_none"} {
			want := http.StatusForbidden
			if token == "" {
				want = http.StatusUnauthorized
			}
			if s, refused := r.dial(token, "/pty/"+id+"/connect", nil); s != nil || refused.status != want {
				t.Errorf("%s: %+v, want %d", id, refused, want)
			}
		}
	}
	if got := r.do(http.MethodGet, "/pty/"+p.ID+"/connect", r.full, ""); got.status != http.StatusBadRequest {
		t.Errorf("no WebSocket: %d", got.status)
	}
	if s := r.connect("", "/pty/"+p.ID+"/connect?auth_token="+r.full); s == nil {
		t.Error("the token in the query is refused")
	}
}

// TestPTYDiesWithItsToken deletes a token with an idle terminal and one that is
// connected to.
func TestPTYDiesWithItsToken(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	r := serve(t, options{now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	short := r.expiringToken("short", time.Now().Add(time.Hour), "read", "write", "execute")
	deleted := r.token("deleted", "read", "write", "execute")
	idle, used, kept := r.pty(deleted, "read x"), r.pty(deleted, "echo up; read x"), r.pty(r.full, "read x")
	expiring := r.pty(short, "read x")
	ticket := r.mustTicket(deleted, used.ID)
	s, ticketed := r.connect(deleted, "/pty/"+used.ID+"/connect"), r.connect("", "/pty/"+used.ID+"/connect?ticket="+r.mustTicket(deleted, used.ID))
	if _, err := r.tokens.DeleteToken(t.Context(), "deleted"); err != nil {
		t.Fatal(err)
	}
	if s, refused := r.dial("", "/pty/"+used.ID+"/connect?ticket="+ticket, nil); s != nil || refused.status != http.StatusUnauthorized {
		t.Errorf("a ticket of a deleted token: %+v", refused)
	}
	s.closed(websocket.StatusPolicyViolation, "the token is no longer valid")
	ticketed.closed(websocket.StatusPolicyViolation, "the token is no longer valid")
	eventually(t, "the terminals of the deleted token are gone", func() bool { return !alive(idle.PID) && !alive(used.PID) })
	ahead.Store(int64(2 * time.Hour))
	eventually(t, "the terminal of the expired token is gone", func() bool { return !alive(expiring.PID) })
	if !alive(kept.PID) {
		t.Error("another terminal is gone as well")
	}
}

func TestPTYDiesWithItsSession(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	parent := r.session()
	var child struct{ ID string }
	r.do(http.MethodPost, "/session", r.full, `{"parentID":"`+parent+`"}`).into(t, &child)
	p := r.ptyOf(r.full, map[string]any{"command": "/bin/sh", "args": []string{"-c", "trap '' TERM HUP; read x"}, "sessionID": child.ID})
	free := r.pty(r.full, "read x")
	if got := r.do(http.MethodDelete, "/session/"+parent, r.full, ""); got.status != http.StatusOK {
		t.Fatalf("DELETE: %d %s", got.status, got.body)
	}
	if alive(p.PID) || !alive(free.PID) {
		t.Errorf("lives: %v, the other: %v", alive(p.PID), alive(free.PID))
	}
}

func TestPTYStopsWithTheServer(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	p := r.pty(r.full, "trap '' TERM HUP; (sleep 1000 &); echo up; read x")
	s := r.connect(r.full, "/pty/"+p.ID+"/connect")
	s.until("up")
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.closed(websocket.StatusGoingAway, "the server is stopping")
	}()
	r.shutdown()
	await(t, "the end of the connection", done)
	if alive(p.PID) {
		t.Error("the terminal lives on")
	}
}

func TestPTYLimit(t *testing.T) {
	t.Parallel()
	r := serve(t, options{})
	for range 64 {
		r.ptyOf(r.full, map[string]any{"command": "cat"})
	}
	got := r.do(http.MethodPost, "/pty", r.full, `{"command":"cat"}`)
	if e := got.failure(t); got.status != http.StatusTooManyRequests || !strings.Contains(e.Data.Message, "64 terminals") {
		t.Errorf("one more: %d %s", got.status, got.body)
	}
}

// TestPTYQuestionEnds ends what waits for an answer: with its session, its
// token, its caller and the server.
func TestPTYQuestionEnds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		end    func(r *rig, session string, leave context.CancelFunc)
		status int
	}{
		{"session", func(r *rig, session string, _ context.CancelFunc) {
			r.do(http.MethodDelete, "/session/"+session, r.full, "")
		}, http.StatusForbidden},
		{"token", func(r *rig, _ string, _ context.CancelFunc) {
			if _, err := r.tokens.DeleteToken(r.t.Context(), "waiting"); err != nil {
				r.t.Error(err)
			}
		}, http.StatusUnauthorized},
		{"caller", func(_ *rig, _ string, leave context.CancelFunc) { leave() }, 0},
		{"server", func(r *rig, _ string, _ context.CancelFunc) { r.stop() }, http.StatusForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := serve(t, options{team: map[string]string{"data.json": `{"opencode":{"config":{"pty":{"interactive":"ask"}}}}`}})
			session, waiting := r.session(), r.token("waiting", "read", "write", "execute")
			events := r.events(r.full, "")
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			done := make(chan reply, 1)
			req := r.request(ctx, http.MethodPost, "/pty", waiting, `{"command":"/bin/sh","sessionID":"`+session+`"}`)
			go func() { done <- r.send(req) }()
			if asked := events.asked(); asked.SessionID != session || len(asked.Always) != 1 {
				t.Errorf("question %+v", asked)
			}
			c.end(r, session, leave)
			if got := await(t, "the end of the request", done); got.status != c.status {
				t.Errorf("%d %s, want %d", got.status, got.body, c.status)
			}
			eventually(t, "no question is left", func() bool { return len(r.agent.Permissions("")) == 0 })
			if list := r.agent.PTYs(""); len(list) != 0 {
				t.Errorf("terminals %v", list)
			}
		})
	}
}
