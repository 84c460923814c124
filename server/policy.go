package server

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"opencode/agent"
	"opencode/policy"
	"opencode/store"
)

// policyBody describes the policy in force, and what it has decided since the
// server started.
type policyBody struct {
	policy.Info
	Decisions map[policy.Kind]agent.Counts `json:"decisions"`
}

func (s *Server) getPolicy(w http.ResponseWriter, r *http.Request) error {
	s.encode(w, r, http.StatusOK, policyBody{Info: s.cfg.Policy.Info(), Decisions: s.cfg.Gate.Counts()})
	return nil
}

// decisionBody is the record of a decision. It holds no argument and no
// content.
type decisionBody struct {
	ID          string   `json:"id"`
	Time        int64    `json:"time"` // milliseconds since 1970
	Kind        string   `json:"kind"`
	PrincipalID string   `json:"principalID"`
	SessionID   string   `json:"sessionID,omitempty"`
	Subject     string   `json:"subject"`
	Effect      string   `json:"effect"`
	Rules       []string `json:"rules"`
	Policy      string   `json:"policy"`
	Microsecs   int64    `json:"duration"` // microseconds
	Error       string   `json:"error,omitempty"`
	// Count is how many equal decisions this stands for; the id, the time and
	// the duration are those of the last.
	Count int `json:"count"`
	// Sandbox is what the command was held to that the decision let run.
	Sandbox *sandboxBody `json:"sandbox,omitempty"`
}

// sandboxBody says what a command was held to when it started.
type sandboxBody struct {
	// Held are the guarantees that it had, with what gave each.
	Held map[string]string `json:"held"`
	// Missing are those that it had not, with the reason.
	Missing map[string]string `json:"missing"`
	// Exempt are banned programs that it could run all the same.
	Exempt []string `json:"exempt"`
}

const (
	defaultDecisions = 100
	maxDecisions     = 1000
)

func (s *Server) listDecisions(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := store.DecisionFilter{
		Kind: q.Get("kind"), Effect: q.Get("effect"), Rule: q.Get("rule"), PrincipalID: q.Get("principal"),
		SessionID: q.Get("sessionID"), Subject: q.Get("subject"),
	}
	if f.Kind != "" && !slices.Contains([]policy.Kind{policy.KindRequest, policy.KindPrompt}, policy.Kind(f.Kind)) {
		return fmt.Errorf("kind %q: %w: want request or prompt", f.Kind, errBadRequest)
	}
	if f.Effect != "" && !slices.Contains([]string{"allow", "ask", "deny"}, f.Effect) {
		return fmt.Errorf("effect %q: %w: want allow, ask or deny", f.Effect, errBadRequest)
	}
	if since := q.Get("since"); since != "" {
		ms, err := strconv.ParseInt(since, 10, 64)
		if err != nil {
			return fmt.Errorf("since: %w: want milliseconds", errBadRequest)
		}
		f.Since = time.UnixMilli(ms)
	}
	limit, err := count(q.Get("limit"))
	if err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	if f.Limit = min(limit, maxDecisions); limit == 0 {
		f.Limit = defaultDecisions
	}
	records, err := s.cfg.Agent.Decisions(r.Context(), f)
	if err != nil {
		return err
	}
	list := make([]decisionBody, 0, len(records))
	for _, d := range records {
		body := decisionBody{
			ID: d.ID, Time: d.Time.UnixMilli(), Kind: d.Kind, PrincipalID: d.PrincipalID, SessionID: d.SessionID,
			Subject: d.Subject, Effect: d.Effect, Rules: d.Rules, Policy: d.Snapshot, Microsecs: d.Duration.Microseconds(),
			Error: d.Error, Count: d.Count,
		}
		if body.Rules == nil {
			body.Rules = []string{}
		}
		if held := d.Sandbox; held != nil {
			body.Sandbox = &sandboxBody{Held: held.Held, Missing: held.Missing, Exempt: held.Exempt}
			if held.Exempt == nil {
				body.Sandbox.Exempt = []string{}
			}
		}
		list = append(list, body)
	}
	s.encode(w, r, http.StatusOK, list)
	return nil
}
