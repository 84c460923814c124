package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"opencode/policy"
	"opencode/store"
)

// recheck is how often a request that takes long is authenticated again, so
// that a token which is deleted or expires ends what it has begun within a
// second.
const recheck = 500 * time.Millisecond

// whileValid returns a context that ends with the request, and before that as
// soon as its credential is no longer valid. The caller must call stop.
func (s *Server) whileValid(r *http.Request) (ctx context.Context, stop func()) {
	if passedBy(r).principal.Kind != policy.PrincipalToken {
		return r.Context(), func() {}
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(recheck)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if !s.stillValid(r) {
					cancel(fmt.Errorf("%w: the token is no longer valid", errUnauthenticated))
					return
				}
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// stillValid reports whether the credential of a request is still valid. A
// ticket is used up, and stands for whoever got it.
func (s *Server) stillValid(r *http.Request) bool {
	if tickets, _ := ticketOf(r); len(tickets) > 0 {
		return s.cfg.Agent.Valid(r.Context(), passedBy(r).principal)
	}
	p, err := s.authenticate(r, s.cfg.Now())
	return err == nil && !p.Expired
}

// Valid returns a function that reports whether the token of a principal is
// still there and has not expired. The clock defaults to time.Now.
func Valid(tokens store.Tokens, now func() time.Time) func(context.Context, policy.Principal) bool {
	if now == nil {
		now = time.Now
	}
	return func(ctx context.Context, p policy.Principal) bool {
		list, err := tokens.Tokens(ctx)
		if err != nil {
			return false
		}
		i := slices.IndexFunc(list, func(t store.Token) bool { return t.ID == p.ID })
		return p.Kind == policy.PrincipalToken && i >= 0 && (list[i].Expires.IsZero() || now().Before(list[i].Expires))
	}
}
