package agent

import (
	"encoding/json"
	"sync"
)

// Event is something that happened, as subscribers see it.
type Event struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Properties json.RawMessage `json:"properties"`
	// SessionID and Directory say where it happened.
	SessionID string `json:"-"`
	Directory string `json:"-"`
}

// backlog is how many events may wait for a subscriber. One that lets more
// wait is dropped, so that it costs a bounded amount of memory and learns that
// it has missed something.
const backlog = 1024

// hub hands events to subscribers.
type hub struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	closed bool
}

func newHub() *hub { return &hub{subs: map[*Subscription]struct{}{}} }

// Subscription receives events until it is closed.
type Subscription struct {
	hub       *hub
	directory string
	events    chan Event
	reason    string // why it ended; written before events is closed
}

// Events returns the channel of events. It is closed when the subscription
// ends.
func (s *Subscription) Events() <-chan Event { return s.events }

// Reason says why the subscription has ended, once its channel is closed.
func (s *Subscription) Reason() string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.reason
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.drop(s, "closed")
}

func (h *hub) subscribe(directory string) *Subscription {
	s := &Subscription{hub: h, directory: directory, events: make(chan Event, backlog)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		s.reason = "the server is stopping"
		close(s.events)
		return s
	}
	h.subs[s] = struct{}{}
	return s
}

// drop ends a subscription. The caller holds the lock.
func (h *hub) drop(s *Subscription, reason string) {
	if _, ok := h.subs[s]; !ok {
		return
	}
	delete(h.subs, s)
	s.reason = reason
	close(s.events)
}

func (h *hub) publish(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.directory != "" && s.directory != e.Directory {
			continue
		}
		select {
		case s.events <- e:
		default:
			h.drop(s, "the client reads too slowly")
		}
	}
}

// attended reports whether anybody is subscribed to a directory.
func (h *hub) attended(directory string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if s.directory == "" || s.directory == directory {
			return true
		}
	}
	return false
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.drop(s, "the server is stopping")
	}
}
