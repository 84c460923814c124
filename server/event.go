package server

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"opencode/agent"
)

const (
	// heartbeat keeps proxies from closing a quiet stream, and finds clients
	// that are gone.
	heartbeat = 10 * time.Second
	// writeTimeout is how long one write to a stream may take.
	writeTimeout = 30 * time.Second
)

// getEvents streams events as they happen. The first tells that the stream
// stands: whatever is published afterwards arrives.
func (s *Server) getEvents(w http.ResponseWriter, r *http.Request) error {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache, no-transform")
	h.Set("X-Accel-Buffering", "no")
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, stop := s.whileValid(r)
	defer stop()
	sub := s.cfg.Agent.Subscribe(passedBy(r).directory)
	defer sub.Close()
	out := http.NewResponseController(w)
	send := func(e agent.Event) bool {
		b, err := json.Marshal(e)
		if err != nil {
			return false
		}
		_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := w.Write([]byte("data: " + string(b) + "\n\n")); err != nil {
			return false
		}
		return out.Flush() == nil
	}
	if !send(s.cfg.Agent.NewEvent("server.connected")) {
		return nil
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			if r.Context().Err() == nil {
				s.dropped(w, out, context.Cause(ctx).Error())
			}
			return nil
		case <-s.stop:
			return nil
		case <-beat.C:
			if !send(s.cfg.Agent.NewEvent("server.heartbeat")) {
				return nil
			}
		case e, ok := <-sub.Events():
			if !ok {
				s.dropped(w, out, sub.Reason())
				return nil
			}
			if !send(e) {
				return nil
			}
		}
	}
}

// dropped tells a client why its stream ends, if it still reads.
func (s *Server) dropped(w http.ResponseWriter, out *http.ResponseController, reason string) {
	e := s.cfg.Agent.NewEvent("server.dropped")
	b, err := json.Marshal(map[string]string{"reason": reason})
	if err != nil {
		return
	}
	e.Properties = b
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	_ = out.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := w.Write([]byte("data: " + string(line) + "\n\n")); err == nil {
		_ = out.Flush()
	}
}
