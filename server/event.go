package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"opencode/agent"
	"opencode/policy"
)

const (
	// heartbeat keeps proxies from closing a quiet stream, and finds clients
	// that are gone.
	heartbeat = 10 * time.Second
	// writeTimeout is how long one write to a stream may take.
	writeTimeout = 30 * time.Second
	// verdictLife is how long a stream relies on what policy said about a
	// resource, as long as the policy is the same. The clock that policy sees
	// ticks as often.
	verdictLife = time.Minute
)

// getEvents streams the events of one directory.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	return s.stream(w, r, passedBy(r).directory, func(b *bytes.Buffer, e agent.Event) {
		b.Write(e.Encoded())
	})
}

// getGlobalEvents streams the events of all directories, each with the
// directory in which it happened.
func (s *Server) getGlobalEvents(w http.ResponseWriter, r *http.Request) error {
	return s.stream(w, r, "", func(b *bytes.Buffer, e agent.Event) {
		b.WriteByte('{')
		if e.Directory != "" {
			for _, member := range [...][2]string{{"directory", e.Directory}, {"project", e.Project}} {
				value, err := json.Marshal(member[1])
				if err != nil {
					return // a string, so that this cannot be
				}
				b.WriteString(`"` + member[0] + `":`)
				b.Write(value)
				b.WriteByte(',')
			}
		}
		b.WriteString(`"payload":`)
		b.Write(e.Encoded())
		b.WriteByte('}')
	})
}

// stream sends events as they happen. The first tells that the stream stands:
// whatever is published afterwards arrives, in order, or the stream ends with
// the reason.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, directory string, encode func(*bytes.Buffer, agent.Event)) error {
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, stop := s.whileValid(r)
	defer stop()
	principal := passedBy(r).principal
	sub := s.cfg.Agent.Subscribe(principal, directory)
	defer sub.Close()

	out := http.NewResponseController(w)
	var buf bytes.Buffer
	send := func(events ...agent.Event) bool {
		buf.Reset()
		for _, e := range events {
			buf.WriteString("data: ")
			encode(&buf, e)
			buf.WriteString("\n\n")
		}
		if buf.Len() == 0 {
			return true
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := w.Write(buf.Bytes())
		if buf.Cap() > keptBuffer {
			buf = bytes.Buffer{}
		}
		return err == nil && out.Flush() == nil
	}
	sub.Tell("server.connected", nil)
	shown := s.audience(r)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			if r.Context().Err() == nil {
				send(sub.Farewell(context.Cause(ctx).Error()))
			}
			return nil
		case <-beat.C:
			sub.Tell("server.heartbeat", nil)
		case <-sub.Ready():
			events, ok := sub.Take()
			if !send(shown.filter(ctx, events)...) {
				return nil
			}
			sub.Delivered()
			if !ok {
				send(sub.Farewell(sub.Reason()))
				return nil
			}
		}
	}
}

// keptBuffer is the largest buffer that a stream keeps between two writes.
const keptBuffer = 64 << 10

// audience says what one stream or one list may show: an event about a
// resource, or an entry, is for whoever may read that resource, which is for
// policy to decide.
type audience struct {
	server  *Server
	request *http.Request
	// verdicts are what policy said of each resource.
	verdicts map[string]verdictAt
}

type verdictAt struct {
	shown  bool
	policy string
	until  time.Time
}

// maxVerdicts bounds how many resources a stream remembers.
const maxVerdicts = 1024

func (s *Server) audience(r *http.Request) *audience {
	return &audience{server: s, request: r, verdicts: map[string]verdictAt{}}
}

// filter returns the events that the stream may show.
func (a *audience) filter(ctx context.Context, events []agent.Event) []agent.Event {
	shown := events[:0]
	for _, e := range events {
		if e.Resource == "" || a.mayRead(ctx, e.Resource, e.Directory) {
			shown = append(shown, e)
		}
	}
	return shown
}

// mayReadSession reports whether a session may be shown, in a list as well as
// by itself.
func (a *audience) mayReadSession(ctx context.Context, id, directory string) bool {
	return a.mayRead(ctx, "/session/"+id, directory)
}

func (a *audience) mayRead(ctx context.Context, resource, directory string) bool {
	now := a.server.cfg.Now()
	digest := a.server.cfg.Policy.Digest()
	if v, ok := a.verdicts[resource]; ok && v.policy == digest && now.Before(v.until) {
		return v.shown
	}
	in := policy.FromRequest(now, passedBy(a.request).principal, policy.HTTP{
		Method: http.MethodGet, Path: resource, Route: a.server.Route, Query: url.Values{}, Host: a.request.Host,
		Remote:    remoteOf(a.request),
		Directory: &policy.Directory{Raw: directory, Real: directory, Inside: true},
	})
	d, err := a.server.cfg.Gate.Filter(ctx, in)
	shown := err == nil && d.Effect == policy.Allow
	if len(a.verdicts) >= maxVerdicts {
		clear(a.verdicts)
	}
	if err == nil {
		a.verdicts[resource] = verdictAt{shown: shown, policy: d.Snapshot, until: now.Add(verdictLife)}
	}
	return shown
}

// globalEvent is how an event of all directories is wrapped.
type globalEvent struct {
	Directory string      `json:"directory,omitempty"`
	Project   string      `json:"project,omitempty"`
	Payload   agent.Event `json:"payload"`
}
