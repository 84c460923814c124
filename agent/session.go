package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"opencode/policy"
	"opencode/store"
)

// SessionInput is what a caller may say of a new session.
type SessionInput struct {
	ParentID string
	Title    string
	Agent    string
	Model    *SessionModel
	Metadata json.RawMessage
	// Restrictions bind the session beyond what policy does. Those that allow
	// something have no effect: what a session may do is for policy to say.
	Restrictions []Restriction
	// Directory is a real path in a project; empty means the first project.
	Directory string
}

// Restriction is something that a session must not do, or must ask about,
// although policy would let it.
type Restriction struct {
	Permission string `json:"permission"` // a tool, or * for all
	Pattern    string `json:"pattern"`    // what the call is about; * matches anything
	Action     string `json:"action"`     // deny or ask
}

// maxRestrictions bounds the restrictions of a session, with those that it
// inherits.
const maxRestrictions = 256

// CreateSession starts a session. It starts with no approval, and nothing that
// the caller says can give it one. A sub-session works where its parent does,
// as the same agent unless another is named, and under its restrictions.
func (a *Agent) CreateSession(ctx context.Context, in SessionInput) (store.Session, error) {
	var inherited []Restriction
	dir := cmp.Or(in.Directory, a.cfg.Directories[0])
	if in.ParentID != "" {
		parent, err := a.Session(ctx, in.ParentID)
		if err != nil {
			return store.Session{}, err
		}
		if inherited, err = restrictions(parent); err != nil {
			return store.Session{}, err
		}
		dir = parent.Directory
		in.Agent = cmp.Or(in.Agent, parent.Agent)
		if in.Model == nil {
			in.Model = sessionModel(parent)
		}
	}
	bound, err := narrow(inherited, in.Restrictions)
	if err != nil {
		return store.Session{}, err
	}
	s := store.Session{
		ParentID: in.ParentID, Directory: dir, Title: in.Title, Agent: cmp.Or(in.Agent, "build"), Metadata: in.Metadata,
	}
	if err := setJSON(&s.Restrictions, bound, len(bound) > 0); err != nil {
		return store.Session{}, err
	}
	if err := setJSON(&s.Model, in.Model, in.Model != nil); err != nil {
		return store.Session{}, err
	}
	if s, err = a.newSession(s); err != nil {
		return store.Session{}, err
	}
	if err := a.cfg.Store.CreateSession(ctx, s); err != nil {
		return store.Session{}, err
	}
	a.publishSession("session.created", s)
	return s, nil
}

// newSession completes a session that is about to be made.
func (a *Agent) newSession(s store.Session) (store.Session, error) {
	root, ok := a.Root(s.Directory)
	if !ok {
		return store.Session{}, fmt.Errorf("directory %q: %w: is in no project of this server", s.Directory, ErrInvalid)
	}
	now := a.cfg.Now()
	s.ID = a.cfg.IDs.NewDescending("ses")
	s.Slug, s.ProjectID, s.Version = slug(s.ID), ProjectID(root), a.cfg.Version
	s.Title = cmp.Or(s.Title, "New session - "+now.UTC().Format("2006-01-02T15:04:05.000Z"))
	s.Created, s.Updated = now, now
	return s, nil
}

// narrow adds restrictions to inherited ones. Nothing takes one away.
func narrow(inherited, more []Restriction) ([]Restriction, error) {
	bound := slices.Clone(inherited)
	for _, r := range more {
		switch r.Action {
		case "allow":
			continue // not a client's to say
		case "deny", "ask":
		default:
			return nil, fmt.Errorf("permission %q: action %q: %w: want deny or ask", r.Permission, r.Action, ErrInvalid)
		}
		if r.Permission == "" {
			return nil, fmt.Errorf("permission: %w: names no tool", ErrInvalid)
		}
		if !slices.Contains(bound, r) {
			bound = append(bound, r)
		}
	}
	if len(bound) > maxRestrictions {
		return nil, fmt.Errorf("permission: %w: %d restrictions, at most %d", ErrInvalid, len(bound), maxRestrictions)
	}
	return bound, nil
}

// restrictions returns what binds a session. What cannot be read is an error:
// to run without it would be to widen.
func restrictions(s store.Session) ([]Restriction, error) {
	if len(s.Restrictions) == 0 {
		return nil, nil
	}
	var list []Restriction
	if err := json.Unmarshal(s.Restrictions, &list); err != nil {
		return nil, fmt.Errorf("session %q: restrictions: %w: %w", s.ID, store.ErrCorrupt, err)
	}
	return list, nil
}

func setJSON(to *json.RawMessage, v any, set bool) error {
	if !set {
		return nil
	}
	b, err := json.Marshal(v)
	*to = b
	return err
}

// Session returns a session. Those of projects that this agent does not work in
// are in the same store and do not exist here.
func (a *Agent) Session(ctx context.Context, id string) (store.Session, error) {
	s, err := a.cfg.Store.Session(ctx, id)
	if err != nil {
		return store.Session{}, err
	}
	return s, a.own(s)
}

// own returns [store.ErrNotExist] for a session of another project.
func (a *Agent) own(s store.Session) error {
	if _, ok := a.Root(s.Directory); !ok {
		return fmt.Errorf("session %q: %w", s.ID, store.ErrNotExist)
	}
	return nil
}

// Sessions returns the selected sessions, the last updated first.
func (a *Agent) Sessions(ctx context.Context, f store.SessionFilter) ([]store.Session, error) {
	limit := f.Limit
	f.Limit = 0 // it counts what is left of the list
	list, err := a.cfg.Store.Sessions(ctx, f)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(s store.Session) bool { return a.own(s) != nil })
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	return list, nil
}

// Children returns the sub-sessions of a session.
func (a *Agent) Children(ctx context.Context, id string) ([]store.Session, error) {
	if _, err := a.Session(ctx, id); err != nil {
		return nil, err
	}
	return a.Sessions(ctx, store.SessionFilter{ParentID: id})
}

// Busy returns the ids of the sessions that run something, in no order.
func (a *Agent) Busy() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make([]string, 0, len(a.turns))
	for id := range a.turns {
		ids = append(ids, id)
	}
	return ids
}

// UpdateSession changes a session.
func (a *Agent) UpdateSession(ctx context.Context, id string, change func(*store.Session)) (store.Session, error) {
	s, err := a.cfg.Store.UpdateSession(ctx, id, func(s *store.Session) error {
		if err := a.own(*s); err != nil {
			return err
		}
		change(s)
		s.Updated = a.cfg.Now()
		return nil
	})
	if err != nil {
		return store.Session{}, err
	}
	a.publishSession("session.updated", s)
	return s, nil
}

// Restrict adds restrictions to a session and, from then on, to those that are
// made below it.
func (a *Agent) Restrict(ctx context.Context, id string, more []Restriction) (store.Session, error) {
	var failed error
	s, err := a.cfg.Store.UpdateSession(ctx, id, func(s *store.Session) error {
		if err := a.own(*s); err != nil {
			return err
		}
		var bound []Restriction
		if bound, failed = restrictions(*s); failed == nil {
			bound, failed = narrow(bound, more)
		}
		if failed != nil {
			return failed
		}
		s.Updated = a.cfg.Now()
		return setJSON(&s.Restrictions, bound, len(bound) > 0)
	})
	if err != nil {
		return store.Session{}, cmp.Or(failed, err)
	}
	a.publishSession("session.updated", s)
	return s, nil
}

// DeleteSession aborts what a session and its sub-sessions run, ends their
// terminals, and removes them.
func (a *Agent) DeleteSession(ctx context.Context, id string) error {
	s, err := a.Session(ctx, id)
	if err != nil {
		return err
	}
	tree := []store.Session{s}
	for i := 0; i < len(tree); i++ {
		children, err := a.cfg.Store.Sessions(ctx, store.SessionFilter{ParentID: tree[i].ID})
		if err != nil {
			return err
		}
		tree = append(tree, children...)
	}
	sessions := map[string]bool{}
	for _, s := range tree {
		sessions[s.ID] = true
		if err := a.Abort(ctx, s.ID); err != nil {
			return err
		}
	}
	if err := a.endSessionPTYs(ctx, sessions); err != nil {
		return err
	}
	removed, err := a.cfg.Store.DeleteSession(ctx, id)
	if err != nil {
		return err
	}
	for _, s := range tree {
		a.publishSession("session.deleted", s)
	}
	// What began in between has lost its session and must not go on.
	for _, id := range removed {
		sessions[id] = true
		if err := a.Abort(ctx, id); err != nil {
			return err
		}
	}
	return a.endSessionPTYs(ctx, sessions)
}

// Fork copies a session up to a message, that one not included, or whole if the
// id is empty. The copy has the restrictions of the session and none of its
// leases.
func (a *Agent) Fork(ctx context.Context, id, before string) (store.Session, error) {
	from, err := a.Session(ctx, id)
	if err != nil {
		return store.Session{}, err
	}
	if before != "" {
		if _, err := a.cfg.Store.Message(ctx, id, before); err != nil {
			return store.Session{}, err
		}
	}
	messages, err := a.cfg.Store.Messages(ctx, id, 0, before)
	if err != nil {
		return store.Session{}, err
	}
	s, err := a.newSession(store.Session{
		Directory: from.Directory, Title: forkTitle(from.Title), Agent: from.Agent, Model: from.Model,
		Metadata: from.Metadata, Restrictions: from.Restrictions,
	})
	if err != nil {
		return store.Session{}, err
	}
	ms, ps, err := a.copyMessages(s.ID, messages)
	if err != nil {
		return store.Session{}, err
	}
	if err := a.cfg.Store.CreateSession(ctx, s); err != nil {
		return store.Session{}, err
	}
	if err := a.cfg.Store.PutMessage(ctx, ms, ps); err != nil {
		_, undo := a.cfg.Store.DeleteSession(context.WithoutCancel(ctx), s.ID)
		return store.Session{}, errors.Join(err, undo)
	}
	a.publishSession("session.created", s)
	return s, nil
}

// copyMessages returns messages under new ids, for another session.
func (a *Agent) copyMessages(sessionID string, messages []store.MessageParts) ([]store.Message, []store.Part, error) {
	ids := map[string]string{}
	for _, m := range messages {
		ids[m.Message.ID] = a.cfg.IDs.New("msg")
	}
	var ms []store.Message
	var ps []store.Part
	for _, m := range messages {
		row := m.Message
		row.ID, row.SessionID = ids[row.ID], sessionID
		var err error
		if row.Body, err = rename(row.Body, ids, map[string]string{"id": row.ID, "sessionID": sessionID}); err != nil {
			return nil, nil, err
		}
		ms = append(ms, row)
		for _, p := range m.Parts {
			p.ID, p.MessageID, p.SessionID = a.cfg.IDs.New("prt"), row.ID, sessionID
			p.Body, err = rename(p.Body, ids, map[string]string{"id": p.ID, "messageID": row.ID, "sessionID": sessionID})
			if err != nil {
				return nil, nil, err
			}
			ps = append(ps, p)
		}
	}
	return ms, ps, nil
}

// rename replaces members of a body, and its parent if that is one of the
// renamed messages.
func rename(body json.RawMessage, ids, members map[string]string) (json.RawMessage, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, fmt.Errorf("message: %w: %w", store.ErrCorrupt, err)
	}
	var parent string
	if json.Unmarshal(object["parentID"], &parent) == nil && ids[parent] != "" {
		members["parentID"] = ids[parent]
	}
	for name, value := range members {
		b, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		object[name] = b
	}
	return json.Marshal(object)
}

var forkNumber = regexp.MustCompile(`^(.*) \(fork #(\d+)\)$`)

// forkTitle numbers the copies of a title.
func forkTitle(title string) string {
	if m := forkNumber.FindStringSubmatch(title); m != nil {
		if n, err := strconv.Atoi(m[2]); err == nil {
			return fmt.Sprintf("%s (fork #%d)", m[1], n+1)
		}
	}
	return title + " (fork #1)"
}

// above returns how many sessions are above one, and what binds it: its own
// restrictions and those of each above it.
func (a *Agent) above(ctx context.Context, s store.Session) (int, []Restriction, error) {
	bound, err := restrictions(s)
	if err != nil {
		return 0, nil, err
	}
	depth := 0
	for s.ParentID != "" {
		if s, err = a.cfg.Store.Session(ctx, s.ParentID); err != nil {
			return 0, nil, err
		}
		if depth++; depth > 64 {
			return 0, nil, fmt.Errorf("session %q: %w: more than 64 sessions are above it", s.ID, ErrInvalid)
		}
		more, err := restrictions(s)
		if err != nil {
			return 0, nil, err
		}
		for _, r := range more {
			if !slices.Contains(bound, r) {
				bound = append(bound, r)
			}
		}
	}
	return depth, bound, nil
}

// facts returns what policy sees of a session.
func (a *Agent) facts(ctx context.Context, s store.Session, attended bool) (*policy.Session, []store.Approval, error) {
	depth, bound, err := a.above(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	leases, err := a.cfg.Store.Leases(ctx, s.ID, a.cfg.Now())
	if err != nil {
		return nil, nil, err
	}
	f := &policy.Session{
		ID: s.ID, Depth: depth, Agent: s.Agent, Directory: s.Directory,
		Interactive: attended, Approvals: []policy.Approval{}, Restrictions: []policy.Restriction{},
	}
	if s.ParentID != "" {
		f.Parent = &s.ParentID
	}
	for _, l := range leases {
		f.Approvals = append(f.Approvals, policy.Approval{Tool: l.Tool, Pattern: l.Pattern})
	}
	for _, r := range bound {
		f.Restrictions = append(f.Restrictions, policy.Restriction(r))
	}
	return f, leases, nil
}

// ProjectID names a project by its directory.
func ProjectID(root string) string {
	sum := sha256.Sum256([]byte(root))
	return hex.EncodeToString(sum[:20])
}

// slug makes a name that people can tell apart from the end of an id.
func slug(id string) string {
	first := [...]string{"brave", "calm", "clever", "eager", "gentle", "happy", "kind", "lively", "lucky", "mellow", "neat", "quick", "quiet", "sunny", "swift", "witty"}
	second := [...]string{"brook", "cedar", "cloud", "comet", "delta", "ember", "field", "forest", "garden", "harbor", "island", "lantern", "meadow", "river", "summit", "willow"}
	sum := sha256.Sum256([]byte(id))
	return first[sum[0]%16] + "-" + second[sum[1]%16]
}
