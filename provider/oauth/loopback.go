package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// page is what the browser shows at the end, for whatever came: it holds
// nothing of the request. Its script takes the code out of the address bar and
// the history, and closes the window where the browser lets it.
const (
	pageScript = `history.replaceState(null,"","/");window.close()`
	pageHead   = `<!doctype html><html lang="en"><meta charset="utf-8"><title>opencode</title><p>`
	pageDone   = `opencode has the answer. You can close this window.`
	pageWrong  = `This answer is not for the sign-in that opencode waits for. Close this window and finish on the newest page.`
)

// pageDeadline bounds how long the end waits for the browser to have its page.
const pageDeadline = 2 * time.Second

// loopback waits on a port of this machine for the browser to come back.
type loopback struct {
	address string
	path    string
	state   string
	host    string
	// result gets the query of the one redirect that counts.
	result chan loopbackResult
	// used and mismatch tell later requests, and whoever waits, what came.
	used     atomic.Bool
	mismatch atomic.Bool
	over     <-chan struct{}
	close    func()
}

type loopbackResult struct {
	query url.Values
	err   error
}

// listen opens the port until close or until the time to sign in is over,
// whichever is first.
func (c *Client) listen(path, state string, port int) (*loopback, error) {
	if path == "" {
		path = "/callback"
	}
	// The attempt outlives the request that began it, and ends by its own time.
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.LoginTime)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		cancel()
		return nil, hinted(fmt.Errorf("sign-in: %w", err), "let another port be chosen, or use a method with a pasted code")
	}
	l := &loopback{
		host: listener.Addr().String(), path: path, state: state,
		result: make(chan loopbackResult, 1), over: ctx.Done(),
	}
	l.address = "http://" + l.host + path
	server := &http.Server{
		Handler: l, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		IdleTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10,
	}
	server.SetKeepAlivesEnabled(false)
	var running sync.WaitGroup
	running.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			c.logger.Warn("the port for the sign-in was closed early")
		}
	})
	running.Go(func() {
		<-ctx.Done()
		end, stop := context.WithTimeout(context.Background(), pageDeadline)
		defer stop()
		if server.Shutdown(end) != nil {
			// Somebody holds a connection open; it is of no use any more.
			_ = server.Close()
		}
	})
	l.close = func() {
		cancel()
		running.Wait()
	}
	return l, nil
}

// wait returns the query of the redirect, or why there is none.
func (l *loopback) wait(ctx context.Context) (url.Values, error) {
	select {
	case r := <-l.result:
		return r.query, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("sign-in: %w", ctx.Err())
	case <-l.over:
	}
	// Both may have happened at once.
	select {
	case r := <-l.result:
		return r.query, r.err
	default:
	}
	if l.mismatch.Load() {
		return nil, hinted(ErrState, "start again, and finish on the newest page")
	}
	return nil, hinted(ErrExpired, "start again; nothing came back from the browser in time")
}

// ServeHTTP takes the one redirect. An answer that belongs to another attempt
// does not end this one: any page on the web could send it.
func (l *loopback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", contentPolicy())
	// A name that somebody else made point here is not this address.
	if r.Host != l.host || !sameText(r.URL.Path, l.path) {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet {
		header.Set("Allow", http.MethodGet)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		writePage(w, http.StatusBadRequest, pageWrong)
		return
	}
	_, err = checkCallback(query, l.state)
	if errors.Is(err, ErrState) || errors.Is(err, ErrCode) {
		l.mismatch.Store(l.mismatch.Load() || errors.Is(err, ErrState))
		writePage(w, http.StatusBadRequest, pageWrong)
		return
	}
	if !l.used.CompareAndSwap(false, true) {
		http.NotFound(w, r)
		return
	}
	writePage(w, http.StatusOK, pageDone)
	l.result <- loopbackResult{query, err}
}

func writePage(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	// The browser may be gone, which changes nothing.
	_, _ = fmt.Fprintf(w, "%s%s<script>%s</script>", pageHead, text, pageScript)
}

// contentPolicy lets the page run its own script and load nothing.
func contentPolicy() string {
	sum := sha256.Sum256([]byte(pageScript))
	return "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
