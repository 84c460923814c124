package engine

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
)

// content is what a file holds: a module or a document, or why there is none.
type content struct {
	module *ast.Module
	doc    map[string]any
	err    error
}

// contents parses the files, in their order.
func (s *sources) contents() []content {
	caps := capabilities()
	list := make([]content, len(s.files))
	concurrently(len(s.files), func(i int) {
		f, c := s.files[i], &list[i]
		if !f.isRego() {
			c.doc, c.err = f.document()
			return
		}
		c.module, c.err = ast.ParseModuleWithOpts(f.name, string(f.data), ast.ParserOptions{
			Capabilities: caps, ProcessAnnotation: !s.plain(f), RegoVersion: ast.RegoV1,
		})
	})
	return list
}

// plain reports whether the comments of a file are nothing but comments. Those
// of the default policy say what its rules are for, which nobody asks who is to
// decide; tests hold that they are in order and that they name no schema.
func (s *sources) plain(f file) bool {
	return s.serves && !s.only && f.origin == originDefault
}

// concurrently calls do for each number below n, as many at a time as there are
// processors, and waits for all. If one of them panics, so does the caller, who
// may know what is to be done about it.
func concurrently(n int, do func(i int)) {
	var next atomic.Int64
	var panicked atomic.Pointer[any]
	work := func() {
		defer func() {
			if v := recover(); v != nil {
				panicked.CompareAndSwap(nil, &v)
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var others sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	if v := panicked.Load(); v != nil {
		panic(*v)
	}
}
