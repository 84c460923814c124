package distribution_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"opencode/engine/distribution"
)

// roundTripper is a server without a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(r *http.Request, code int, body []byte, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// run opens a source on a server without a network, runs it for a while of the
// bubble's time, and returns the times between the looks.
func run(t *testing.T, cfg distribution.Config, server func(n int, r *http.Request) *http.Response, looks int) []time.Duration {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var n atomic.Int64
	var gaps []time.Duration
	last := time.Now()
	cfg.Source, cfg.Dir, cfg.Check = "https://bundles.example.com/bundle.tar.gz", t.TempDir(), accept
	cfg.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
		i := int(n.Add(1))
		gaps = append(gaps, time.Since(last))
		res := server(i, r)
		last = time.Now()
		if i == looks {
			cancel()
		}
		return res, nil
	})
	s, err := distribution.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Run(ctx, accept2)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	return gaps[1:]
}

// TestPolling looks between the least and the most time, and not always after
// the same.
func TestPolling(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	synctest.Test(t, func(t *testing.T) {
		cfg := distribution.Config{MinDelay: 10 * time.Second, MaxDelay: 30 * time.Second}
		gaps := run(t, cfg, func(n int, r *http.Request) *http.Response {
			header := http.Header{"Etag": {`"1"`}}
			if n > 1 {
				if r.Header.Get("If-None-Match") != `"1"` {
					t.Errorf("look %d asks for a whole bundle", n)
				}
				return answer(r, http.StatusNotModified, nil, header)
			}
			return answer(r, http.StatusOK, good, header)
		}, 20)
		differ := false
		for _, gap := range gaps {
			if gap < 10*time.Second || gap > 30*time.Second {
				t.Errorf("%v between two looks", gap)
			}
			differ = differ || gap != gaps[0]
		}
		if !differ {
			t.Errorf("the times are all %v", gaps[0])
		}
	})
}

// TestBackoff takes longer after each failure, up to the most.
func TestBackoff(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	synctest.Test(t, func(t *testing.T) {
		cfg := distribution.Config{MinDelay: 20 * time.Second, MaxDelay: 40 * time.Second}
		gaps := run(t, cfg, func(n int, r *http.Request) *http.Response {
			if n > 1 {
				return answer(r, http.StatusServiceUnavailable, nil, nil)
			}
			return answer(r, http.StatusOK, good, nil)
		}, 14)
		for i, gap := range gaps[1:] {
			most := min(time.Second<<(i+1), 40*time.Second)
			if gap < most/2 || gap > most {
				t.Errorf("%v after failure %d, want %v to %v", gap, i+1, most/2, most)
			}
		}
	})
}

// TestLongPoll lets a server wait that says it can, and does not ask one without
// end that says so and does not.
func TestLongPoll(t *testing.T) {
	t.Parallel()
	good := plain(t, 1)
	synctest.Test(t, func(t *testing.T) {
		cfg := distribution.Config{LongPoll: 30 * time.Second}
		gaps := run(t, cfg, func(n int, r *http.Request) *http.Response {
			if got := r.Header.Get("Prefer"); got != "modes=snapshot,delta;wait=30" {
				t.Errorf("look %d prefers %q", n, got)
			}
			header := http.Header{"Etag": {`"1"`}, "Content-Type": {"application/vnd.openpolicyagent.bundles"}}
			if n == 1 {
				return answer(r, http.StatusOK, good, header)
			}
			time.Sleep(30 * time.Second) // in the bubble
			return answer(r, http.StatusNotModified, nil, header)
		}, 6)
		for _, gap := range gaps {
			if gap != time.Second {
				t.Errorf("%v between two looks, want a second", gap)
			}
		}
	})
}
