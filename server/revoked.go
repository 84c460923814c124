package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"opencode/policy"
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
				if p, err := s.authenticate(r); err != nil || p.Expired {
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
