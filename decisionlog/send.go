package decisionlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"opencode/remote"
)

// errTooLarge means that the collector takes smaller requests only.
var errTooLarge = errors.New("the collector wants smaller requests")

// deliver ships all that waits, and reports whether it did.
func (l *Log) deliver(ctx context.Context) bool {
	for {
		chunk, n, err := l.chunk(ctx)
		switch {
		case err != nil:
			l.failed(ctx, err)
			return false
		case n == 0:
			return true
		}
		err = l.send(ctx, chunk)
		switch {
		case errors.Is(err, errTooLarge) && l.chunkBytes > minChunk:
			l.chunkBytes = max(min(l.chunkBytes, len(chunk))/2, minChunk)
			l.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "the collector wants smaller requests", slog.Int("bytes", l.chunkBytes))
		case err != nil:
			if errors.Is(err, errTooLarge) {
				// There is nothing smaller than one event without its content. A
				// collector that wants even less is not asked without end.
				l.shrink(ctx)
			}
			l.failed(ctx, err)
			return false
		default:
			l.sent(ctx, n)
		}
	}
}

// chunk returns the body of a request, and how many of the pending events are
// in it.
func (l *Log) chunk(ctx context.Context) ([]byte, int, error) {
	for {
		body, n, err := l.pack(l.next(ctx))
		if err != nil || n > 0 || len(l.pending) == 0 {
			return body, n, err
		}
		// The first one alone is too large.
		l.shrink(ctx)
	}
}

// next returns a function that returns the pending events one after the other,
// and takes more out of the queue when there are no more.
func (l *Log) next(ctx context.Context) func(i int) *entry {
	return func(i int) *entry {
		if i == len(l.pending) {
			l.mu.Lock()
			e := l.queue.pop()
			if e != nil {
				l.info.Waiting++
			}
			l.mu.Unlock()
			if e == nil {
				return nil
			}
			l.pending = append(l.pending, e)
		}
		l.encode(ctx, l.pending[i])
		return l.pending[i]
	}
}

// trailer is more than the end of an array and of a gzip stream take.
const trailer = 64

// pack compresses as many events as there may be in a request.
func (l *Log) pack(next func(i int) *entry) ([]byte, int, error) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	n := 0
	for e := next(0); e != nil; e = next(n) {
		if err := l.write(w, n, e.event); err != nil {
			return nil, 0, err
		}
		if buf.Len()+trailer > l.chunkBytes {
			return l.packExactly(next, n)
		}
		n++
	}
	return finish(&buf, w, n)
}

// packExactly compresses the first n events, which are known to fit.
func (l *Log) packExactly(next func(i int) *entry, n int) ([]byte, int, error) {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	for i := range n {
		if err := l.write(w, i, next(i).event); err != nil {
			return nil, 0, err
		}
	}
	return finish(&buf, w, n)
}

func (*Log) write(w *gzip.Writer, i int, event []byte) error {
	separator := byte(',')
	if i == 0 {
		separator = '['
	}
	if _, err := w.Write([]byte{separator}); err != nil {
		return err
	}
	if _, err := w.Write(event); err != nil {
		return err
	}
	return w.Flush() // so that the length is known
}

func finish(buf *bytes.Buffer, w *gzip.Writer, n int) ([]byte, int, error) {
	if n == 0 {
		return nil, 0, nil
	}
	if _, err := w.Write([]byte{']'}); err != nil {
		return nil, 0, err
	}
	if err := w.Close(); err != nil {
		return nil, 0, err
	}
	return buf.Bytes(), n, nil
}

// shrink makes the first pending event smaller, or drops it when it is as small
// as it can be.
func (l *Log) shrink(ctx context.Context) {
	first := l.pending[0]
	l.mu.Lock()
	if first.erased {
		l.info.Dropped.Size++
		l.info.Waiting--
		l.pending = l.pending[1:]
	} else {
		l.info.Erased++
	}
	l.mu.Unlock()
	if !first.erased {
		first.erase()
		l.encode(ctx, first)
	}
}

func (l *Log) send(ctx context.Context, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.target.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	res, err := l.client.Do(req)
	if err != nil {
		return remote.Describe(err)
	}
	// What is read to its end lets the connection be used again.
	_, _ = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil {
		return err
	}
	switch {
	case res.StatusCode >= 200 && res.StatusCode < 300:
		return nil
	case res.StatusCode == http.StatusRequestEntityTooLarge:
		return errTooLarge
	}
	return fmt.Errorf("%w %d %s", remote.ErrStatus, res.StatusCode, http.StatusText(res.StatusCode))
}

func (l *Log) sent(ctx context.Context, n int) {
	l.pending = append([]*entry(nil), l.pending[n:]...)
	l.mu.Lock()
	l.info.Sent += uint64(n) //nolint:gosec // G115: a count
	l.info.Waiting -= n
	l.info.Error = ""
	l.mu.Unlock()
	if l.failing != "" {
		l.failing = ""
		l.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "the collector takes decisions again", slog.String("collector", l.info.URL))
	}
}

// failed notes that the collector takes nothing, and tells it once for each
// reason.
func (l *Log) failed(ctx context.Context, err error) {
	text := err.Error()
	l.mu.Lock()
	l.info.Failures++
	l.info.Error = text
	l.mu.Unlock()
	if text != l.failing {
		l.failing = text
		l.cfg.Logger.LogAttrs(ctx, slog.LevelError, "the collector takes no decisions; they wait", slog.String("collector", l.info.URL), slog.Any("error", err))
	}
}
