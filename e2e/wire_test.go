package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. It is far from what
// that takes, for machines that are busy.
const patience = 30 * time.Second

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request as [instance.request] does, changed by the functions,
// and may do so from any goroutine.
func send(ctx context.Context, s *instance, method, path string, body any, change ...func(*http.Request)) (answer, error) {
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, reader)
	if err != nil {
		return answer{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Opencode-Directory", url.PathEscape(s.Project))
	req.SetBasicAuth("opencode", s.Token)
	for _, f := range change {
		f(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	got := answer{status: res.StatusCode, header: res.Header}
	got.body, err = io.ReadAll(res.Body)
	return got, err
}

// mustSend is send for a request that is answered, whatever the answer.
func mustSend(t *testing.T, s *instance, method, path string, body any, change ...func(*http.Request)) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := send(ctx, s, method, path, body, change...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// withHeader sets a header, and Host too.
func withHeader(name, value string) func(*http.Request) {
	return func(r *http.Request) {
		if name == "Host" {
			r.Host = value
			return
		}
		r.Header.Set(name, value)
	}
}

// withoutCredentials sends what anybody could.
func withoutCredentials(r *http.Request) { r.Header.Del("Authorization") }

// maxEvent is the longest event that a stream is read with.
const maxEvent = 4 << 20

// readEvents calls the function with the data of each event until the stream
// ends or the function returns an error. What is no event is an error.
func readEvents(stream io.Reader, each func(data []byte) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, maxEvent)
	for inside := false; lines.Scan(); {
		line := lines.Bytes()
		switch data, ok := bytes.CutPrefix(line, []byte("data: ")); {
		case len(line) == 0 && inside:
			inside = false
		case ok && !inside:
			inside = true
			if err := each(data); err != nil {
				return err
			}
		default:
			return fmt.Errorf("event stream: unexpected line %q", line)
		}
	}
	return lines.Err()
}

// question is a permission that is asked for.
type question struct {
	ID, SessionID, Permission string
	Patterns                  []string
}

// streamEvent is an event of /event, as far as these tests look at it.
type streamEvent struct {
	ID, Type   string
	Properties json.RawMessage
}

// eventStream is an open /event.
type eventStream struct {
	events <-chan streamEvent
}

// openEvents opens /event and waits until what happens arrives there. It ends
// with the test.
func openEvents(t *testing.T, s *instance) *eventStream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/event?directory="+url.QueryEscape(s.Project), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("opencode", s.Token)
	events := make(chan streamEvent, 1024)
	ended := make(chan error, 1)
	go func() {
		defer close(events)
		ended <- follow(req, func(e streamEvent) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("GET /event: %v", err)
		}
	})
	stream := &eventStream{events: events}
	stream.until(t, "server.connected")
	return stream
}

// follow reads a stream of events to its end.
func follow(req *http.Request, each func(streamEvent) error) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return readEvents(res.Body, func(data []byte) error {
		var e streamEvent
		if err := json.Unmarshal(data, &e); err != nil {
			return err
		}
		return each(e)
	})
}

// until waits for the next event of the type.
func (s *eventStream) until(t *testing.T, name string) streamEvent {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				t.Fatalf("the stream ended before %s", name)
			}
			if e.Type == name {
				return e
			}
		case <-timeout:
			t.Fatalf("no %s within %v", name, patience)
		}
	}
}

// asked waits for the next question.
func (s *eventStream) asked(t *testing.T) question {
	t.Helper()
	var q question
	e := s.until(t, "permission.asked")
	if err := json.Unmarshal(e.Properties, &q); err != nil {
		t.Fatalf("permission.asked: %v in %s", err, e.Properties)
	}
	return q
}

// act is something that may be asked about before it is answered.
type act func(context.Context) (answer, error)

// start begins an act, whose answer arrives on the channel.
func (a act) start(ctx context.Context) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		got, err := a(ctx)
		done <- outcome{got, err}
	}()
	return done
}

type outcome struct {
	answer
	err error
}

// during does an act and gives the reply to whatever is asked meanwhile. It
// returns the answer of the act, and what was asked.
func during(t *testing.T, s *instance, reply string, a act) (answer, []question) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream := openEvents(t, s)
	done := a.start(ctx)
	var asked []question
	for {
		select {
		case got := <-done:
			if got.err != nil {
				t.Fatalf("after the questions %v: %v\n%s", asked, got.err, s.Log())
			}
			return got.answer, asked
		case e, ok := <-stream.events:
			if !ok {
				t.Fatal("the stream ended")
			}
			if e.Type != "permission.asked" {
				continue
			}
			var q question
			if err := json.Unmarshal(e.Properties, &q); err != nil {
				t.Fatalf("permission.asked: %v in %s", err, e.Properties)
			}
			asked = append(asked, q)
			if got := mustSend(t, s, http.MethodPost, "/permission/"+q.ID+"/reply", map[string]string{"reply": reply}); got.status != http.StatusOK {
				t.Fatalf("reply to %+v = %d %s", q, got.status, got.body)
			}
		}
	}
}

// questions returns what waits for an answer.
func questions(t *testing.T, s *instance) []question {
	t.Helper()
	return call[[]question](t, s, http.MethodGet, "/permission", nil)
}

// newSession makes a session and returns its id. The members add to its body.
func newSession(t *testing.T, s *instance, members map[string]any) string {
	t.Helper()
	if members == nil {
		members = map[string]any{}
	}
	return call[struct{ ID string }](t, s, http.MethodPost, "/session", members).ID
}

// toolState is how a call of a tool ended.
type toolState struct {
	Status, Output, Error string
}

// lastTool returns the state of the last call of a tool in a session.
func lastTool(t *testing.T, s *instance, sessionID string) toolState {
	t.Helper()
	var last toolState
	messages := call[[]struct {
		Parts []struct {
			Type  string
			State toolState
		}
	}](t, s, http.MethodGet, "/session/"+sessionID+"/message", nil)
	for _, m := range messages {
		for _, p := range m.Parts {
			if p.Type == "tool" {
				last = p.State
			}
		}
	}
	return last
}

// shell is the act of a person that runs a command in a session.
func shell(s *instance, sessionID, command string) act {
	return func(ctx context.Context) (answer, error) {
		return send(ctx, s, http.MethodPost, "/session/"+sessionID+"/shell", map[string]string{"agent": "build", "command": command})
	}
}

// prompt is the act of a person that has the scripted model call tools, one
// after the other.
func prompt(s *instance, sessionID string, calls ...string) act {
	return func(ctx context.Context) (answer, error) {
		return send(ctx, s, http.MethodPost, "/session/"+sessionID+"/message", map[string]any{
			"parts": []any{map[string]string{"type": "text", "text": strings.Join(calls, "\n")}},
		})
	}
}

// toolCall is a call for [prompt].
func toolCall(name string, arguments map[string]string) string {
	encoded, err := json.Marshal(arguments)
	if err != nil {
		panic(errors.Join(errors.New("a map of strings cannot be encoded"), err))
	}
	return "TOOL " + name + " " + string(encoded)
}

// bashCall is the call of bash for [prompt].
func bashCall(command string) string {
	return toolCall("bash", map[string]string{"command": command, "description": "a test"})
}
