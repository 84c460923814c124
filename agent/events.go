package agent

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"opencode/policy"
	"opencode/store"
)

// Event is something that happened, as subscribers see it.
type Event struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Properties json.RawMessage `json:"properties"`
	// Resource is the path of what the event is about, such as
	// /session/ses_1: whoever may not read it must not see the event. It is ""
	// for what every subscriber may see.
	Resource string `json:"-"`
	// Directory and Project say where it happened; both are "" for what
	// happened nowhere in particular.
	Directory string `json:"-"`
	Project   string `json:"-"`

	number  uint64
	encoded []byte
}

// Encoded returns the event as JSON. It is made once for all subscribers and
// must not be changed.
func (e Event) Encoded() []byte {
	if e.encoded != nil {
		return e.encoded
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil // properties are JSON already, so that this cannot be
	}
	return b
}

// What may wait for a subscriber. One that lets more wait is dropped, so that
// it costs a bounded amount of memory and learns that it has missed something.
// The bytes are shared between subscribers.
const (
	backlogEvents = 4096
	backlogBytes  = 8 << 20
)

// settleLimit is how long a call waits for its caller to receive the events
// that it caused. A caller that does not read waits in vain, and only for
// itself.
const settleLimit = 2 * time.Second

// hub hands events to subscribers.
type hub struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	number uint64 // of the last event
	closed bool
	ids    IDs
}

func newHub(ids IDs) *hub { return &hub{subs: map[*Subscription]struct{}{}, ids: ids} }

// Subscription receives events until it is closed. Its methods are for one
// reader.
type Subscription struct {
	hub       *hub
	principal policy.Principal
	directory string
	ready     chan struct{} // has a value when there is something to take

	// The hub's lock guards what follows.
	queue   []Event
	bytes   int
	last    uint64 // number of the last event that was queued
	taken   uint64 // number of the last event that was taken
	settled uint64 // number of the last event that has reached the client
	ended   bool
	reason  string
	waiting []settling
}

// settling waits until an event has reached the client.
type settling struct {
	number uint64
	done   chan struct{}
}

// Ready returns a channel that receives when [Subscription.Take] has something
// to return.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Take returns the events that wait, in order, and whether the subscription
// still stands; if not, these are the last. What was taken before counts as delivered only after
// [Subscription.Delivered].
func (s *Subscription) Take() (events []Event, ok bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	events, s.queue, s.bytes = s.queue, nil, 0
	s.taken = s.last
	return events, !s.ended
}

// Delivered says that everything that was taken has reached the client.
func (s *Subscription) Delivered() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.settled = s.taken
	s.waiting = slices.DeleteFunc(s.waiting, func(w settling) bool {
		if w.number > s.settled {
			return false
		}
		close(w.done)
		return true
	})
}

// Farewell returns a last event that says why a stream ends.
func (s *Subscription) Farewell(reason string) Event {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.number++
	return newEvent(s.hub.ids, s.hub.number, "server.dropped", map[string]string{"reason": reason})
}

// Reason says why the subscription has ended.
func (s *Subscription) Reason() string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.reason
}

// Tell adds an event for this subscription alone, in order with the others.
func (s *Subscription) Tell(kind string, properties any) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if !s.ended {
		s.hub.number++
		s.put(newEvent(s.hub.ids, s.hub.number, kind, properties))
	}
}

// put queues an event, or drops the subscription if too much waits. The caller
// holds the lock.
func (s *Subscription) put(e Event) {
	if len(s.queue) >= backlogEvents || s.bytes+len(e.encoded) > backlogBytes {
		s.queue, s.bytes = nil, 0
		s.hub.drop(s, "the client reads too slowly")
		return
	}
	s.queue = append(s.queue, e)
	s.bytes += len(e.encoded)
	s.last = e.number
	s.wake()
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.drop(s, "closed")
}

func (h *hub) subscribe(p policy.Principal, directory string) *Subscription {
	s := &Subscription{hub: h, principal: p, directory: directory, ready: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	s.last, s.taken, s.settled = h.number, h.number, h.number
	h.subs[s] = struct{}{}
	if h.closed {
		h.drop(s, "the server is stopping")
	}
	return s
}

// drop ends a subscription. The caller holds the lock.
func (h *hub) drop(s *Subscription, reason string) {
	if s.ended {
		return
	}
	delete(h.subs, s)
	s.ended, s.reason = true, reason
	for _, w := range s.waiting {
		close(w.done)
	}
	s.waiting = nil
	s.wake()
}

// wake tells the reader to look.
func (s *Subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default: // it will look anyway
	}
}

// publish tells subscribers of an event. It gets its id below the lock, so that
// ids ascend in the order in which everybody sees the events.
func (h *hub) publish(about Event, kind string, properties any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.number++
	if len(h.subs) == 0 {
		return
	}
	e := newEvent(h.ids, h.number, kind, properties)
	e.Resource, e.Directory, e.Project = about.Resource, about.Directory, about.Project
	for s := range h.subs {
		if s.directory == "" || e.Directory == "" || s.directory == e.Directory {
			s.put(e)
		}
	}
}

// newEvent makes an event. What cannot be JSON is left out of it, which is a
// mistake in this program.
func newEvent(ids IDs, number uint64, kind string, properties any) Event {
	e := Event{ID: ids.New("evt"), Type: kind, number: number}
	var err error
	if e.Properties, err = json.Marshal(properties); err != nil || properties == nil {
		e.Properties = json.RawMessage("{}")
	}
	e.encoded = e.Encoded()
	return e
}

// attended reports whether anybody is subscribed to a directory who holds the
// permissions.
func (h *hub) attended(directory string, permissions ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.subs {
		if (s.directory == "" || s.directory == directory) && s.principal.Has(permissions...) {
			return true
		}
	}
	return false
}

// settle waits until the subscriptions of a principal have delivered what was
// published so far.
func (h *hub) settle(ctx context.Context, principalID string) {
	var pending []chan struct{}
	h.mu.Lock()
	for s := range h.subs {
		if s.principal.ID == principalID && s.settled < s.last {
			done := make(chan struct{})
			s.waiting = append(s.waiting, settling{s.last, done})
			pending = append(pending, done)
		}
	}
	h.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	for _, done := range pending {
		select {
		case <-done:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.subs {
		h.drop(s, "the server is stopping")
	}
}

// Subscribe returns a subscription of a principal to the events of a
// directory, or of all if it is empty. The caller must close it, and must show
// nobody an event whose resource the principal may not read.
func (a *Agent) Subscribe(p policy.Principal, directory string) *Subscription {
	return a.events.subscribe(p, directory)
}

// Settle waits until the subscriptions of a principal have delivered what was
// published so far, so that whoever makes a call and listens knows what it
// caused before it is answered. The wait is bounded.
func (a *Agent) Settle(ctx context.Context, p policy.Principal) { a.events.settle(ctx, p.ID) }

// publish tells subscribers what happened in a session.
func (a *Agent) publish(s store.Session, kind string, properties any) {
	a.publishAbout("/session/"+s.ID, s.Directory, kind, properties)
}

// publishAbout tells subscribers what happened to a resource in a directory.
func (a *Agent) publishAbout(resource, directory, kind string, properties any) {
	about := Event{Resource: resource, Directory: directory}
	if root, ok := a.Root(directory); ok {
		about.Project = ProjectID(root)
	}
	a.events.publish(about, kind, properties)
}

func (a *Agent) publishSession(kind string, s store.Session) {
	a.publish(s, kind, map[string]any{"sessionID": s.ID, "info": NewSessionBody(s)})
}
