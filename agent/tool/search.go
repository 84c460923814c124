package tool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
)

const (
	// searchWorkers read files at the same time, each with a buffer of
	// maxSearchBytes.
	searchWorkers = 3
	// maxSearchBytes is how much of one file is searched.
	maxSearchBytes = 4 << 20
	// searchBatch is how many files a worker takes at a time.
	searchBatch = 16
	// searchAhead is how many batches may wait for those before them.
	searchAhead = 16
)

// SearchQuery says which text is wanted, and where.
type SearchQuery struct {
	// Dir is where to look.
	Dir string
	// Pattern is a regular expression (RE2) that must match within a line.
	Pattern string
	// Include is a pattern that the path below Dir must match, such as
	// "**/*.go". Empty is every path.
	Include string
	// MaxLines is how many lines of one file are returned. Required.
	MaxLines int
}

// FileMatches are the matches in one file.
type FileMatches struct {
	Path  string
	Lines []Line
}

// Line is a line that matches.
type Line struct {
	Number int   // from 1
	Offset int64 // of its first byte in the file
	// Text is the line with its end, as valid UTF-8. A line that is longer than
	// what is searched of it is cut there.
	Text string
	// Spans are where it matches, at least one.
	Spans []Span
}

// Span is a part of a line, in bytes.
type Span struct{ Start, End int }

// Search looks for text in the files that git looks at and that are not binary.
// It yields the files that match, in an order that is always the same, until
// yield returns false. When the context ends, what was yielded stands.
func (t *Tree) Search(ctx context.Context, q SearchQuery, yield func(FileMatches) bool) (Coverage, error) {
	p, err := compile(q.Pattern)
	if err != nil {
		return Coverage{}, err
	}
	if q.Include != "" && !doublestar.ValidatePattern(q.Include) {
		return Coverage{}, fmt.Errorf("include %q: %w", q.Include, ErrPattern)
	}
	if q.MaxLines <= 0 {
		return Coverage{}, errors.New("search: MaxLines is required")
	}
	return t.search(ctx, q, p, yield)
}

func (t *Tree) search(ctx context.Context, q SearchQuery, p *pattern, yield func(FileMatches) bool) (Coverage, error) {
	whole := ctx
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	s := &search{query: q, pattern: p, jobs: make(chan *searchJob, searchAhead), order: make(chan *searchJob, searchAhead)}
	var running sync.WaitGroup
	for range searchWorkers {
		running.Go(func() { s.work(ctx) })
	}
	w := &walker{tree: t}
	w.visit = func(f *folder) bool { return s.put(ctx, f) }
	var walkErr error
	running.Go(func() {
		defer close(s.order)
		defer close(s.jobs)
		if err := contained(func() { walkErr = w.walk(ctx, q.Dir) }); err != nil {
			walkErr = err
		}
	})
	var found Coverage
	var broken error
	wanted := true
	for job := range s.order {
		result := <-job.done
		if result.err != nil {
			broken = errors.Join(broken, result.err)
			stop()
		}
		found.Files += result.coverage.Files
		found.Bytes += result.coverage.Bytes
		if result.coverage.Partial != "" {
			found.partial(result.coverage.Partial)
		}
		for _, m := range result.matches {
			if wanted = wanted && ctx.Err() == nil && yield(m); !wanted {
				stop()
				break
			}
		}
	}
	running.Wait()
	found.Names = w.coverage.Names
	if w.coverage.Partial != "" {
		found.partial(w.coverage.Partial)
	}
	switch {
	case whole.Err() != nil:
		return found, whole.Err()
	case broken != nil:
		return found, broken
	case !wanted:
		return found, nil // the walk was ended on purpose
	}
	return found, walkErr
}

// search is a search on its way: a walker makes jobs, workers do them, and
// whoever asked takes the results in the order in which they were made.
type search struct {
	query   SearchQuery
	pattern *pattern
	jobs    chan *searchJob
	order   chan *searchJob
}

// searchJob is some files of one directory.
type searchJob struct {
	handle *handle
	dir    string
	names  []string
	done   chan searchResult // receives exactly one
}

type searchResult struct {
	matches  []FileMatches
	coverage Coverage
	err      error
}

// contained returns a panic as an error. What runs beside a search has no caller
// that would: what somebody's pattern and files can break is to be their search,
// and not the program.
func contained(do func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("search: panic: %v", v)
		}
	}()
	do()
	return nil
}

// put makes jobs of the files of a directory. It returns false if the search is
// over.
func (s *search) put(ctx context.Context, f *folder) bool {
	var names []string
	for _, it := range f.items {
		if it.kind == KindFile && s.includes(f.join(it.name)) {
			names = append(names, it.name)
		}
	}
	for len(names) > 0 {
		n := min(len(names), searchBatch)
		job := &searchJob{handle: f.handle.retain(), dir: f.path, names: names[:n], done: make(chan searchResult, 1)}
		names = names[n:]
		select {
		case s.jobs <- job:
		case <-ctx.Done():
			job.handle.release()
			return false
		}
		select {
		case s.order <- job:
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

func (s *search) includes(name string) bool {
	if s.query.Include == "" {
		return true
	}
	if s.query.Dir != "." {
		name = strings.TrimPrefix(name, s.query.Dir+"/")
	}
	return doublestar.MatchUnvalidated(s.query.Include, name)
}

func (s *search) work(ctx context.Context) {
	var buf []byte
	m := s.pattern.matcher()
	for job := range s.jobs {
		var result searchResult
		result.err = contained(func() {
			for _, name := range job.names {
				if ctx.Err() != nil {
					break
				}
				buf = s.file(ctx, m, job, name, buf, &result)
			}
		})
		job.handle.release()
		job.done <- result
		if result.err != nil {
			m = s.pattern.matcher() // in what state the other is, nobody knows
		}
	}
}

// file searches one file. It returns its buffer for the next.
func (s *search) file(ctx context.Context, m *matcher, job *searchJob, name string, buf []byte, result *searchResult) []byte {
	f, size, err := job.handle.file(name, name)
	if err != nil {
		if !errors.Is(err, ErrLink) {
			result.coverage.partial("a file cannot be read")
		}
		return buf
	}
	defer func() { _ = f.Close() }()
	if size = min(size, maxSearchBytes); int64(cap(buf)) < size+1 {
		buf = make([]byte, 0, max(size+1, 64<<10))
	}
	buf = buf[:min(int64(cap(buf)), maxSearchBytes)]
	// What is binary shows it early.
	n, err := io.ReadFull(f, buf[:min(len(buf), 8<<10)])
	if err == nil && !isBinary(buf[:n]) {
		var rest int
		rest, err = io.ReadFull(f, buf[n:])
		n += rest
	}
	data := buf[:n]
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		result.coverage.partial("a file cannot be read")
		return buf
	case isBinary(data):
		return buf
	case err == nil:
		result.coverage.partial("a file is only searched in part")
	}
	result.coverage.Files++
	result.coverage.Bytes += int64(n)
	lines, cut := m.lines(ctx, data, s.query.MaxLines)
	if cut {
		result.coverage.partial("a line is only searched in part")
	}
	if len(lines) > 0 {
		result.matches = append(result.matches, FileMatches{Path: path.Join(job.dir, name), Lines: lines})
	}
	return buf
}
