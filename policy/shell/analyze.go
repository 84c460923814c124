package shell

import (
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// The bounds of one analysis. What goes beyond one is not understood.
const (
	maxSource = 1 << 20
	maxDepth  = 64
	maxCalls  = 10_000
	// maxSpent bounds the bytes that are parsed and expanded in all, texts
	// within texts included, so that the work stays linear.
	maxSpent = 8 << 20
	// maxFrames bounds the stack of the parser, which is recursive. It is not
	// looked at before the parser has read shallow bytes, which cannot nest as
	// deep: a look costs more than to parse a line.
	maxFrames = 4096
	shallow   = 2048
)

var (
	errTooDeep = errors.New("nested too deeply")
	errParser  = errors.New("cannot be parsed")
)

// Analyze returns the facts about a command text, read as bash reads it.
func Analyze(src string) (command Command) {
	defer func() {
		// A fault in here must not be one of the server, nor pass for harmless.
		if recover() != nil {
			problem := "cannot be analysed"
			command = Command{Calls: []Call{}, Redirects: []Redirect{}, Files: []File{}, Assigns: []string{}, Problem: &problem}
		}
	}()
	a := &analysis{command: Command{Calls: make([]Call, 0, 4), Redirects: []Redirect{}, Files: []File{}, Assigns: []string{}, Parsed: true}}
	switch {
	case len(src) > maxSource:
		a.refuse("longer than 1 MiB")
	case strings.IndexByte(src, 0) >= 0:
		a.refuse("holds a NUL byte")
	case !utf8.ValidString(src):
		a.refuse("not valid UTF-8")
	default:
		a.text(src, scope{vars: a.variables()})
		a.runScripts()
		a.settle()
	}
	return a.command
}

// analysis is the state of one call of [Analyze].
type analysis struct {
	command Command
	parser  *syntax.Parser
	tables  []*variables
	dirs    directories
	spent   int
	seen    map[string]bool // the names in Assigns
	aliases map[string][]string
	// scripts are the texts that the text writes into files.
	scripts map[string]arg
	// functions are those of the text that use their arguments.
	functions map[string]declared
	// stopped reports that a bound was exceeded and nothing more is read.
	stopped bool
	// arithmetic and hidden report that something is evaluated as arithmetic,
	// and that a value holds a command that arithmetic would run.
	arithmetic, hidden bool
	// values are those that hold a command that arithmetic would run.
	values []hiddenCommand
	// late and lateFiles are the redirections and the files that may be used
	// later than they are written.
	late, lateFiles []lateUse
}

// scope is where in the text a statement stands.
type scope struct {
	// src is the text that the positions of nodes refer to.
	src string
	via []string
	// stdin is the text on standard input, nil if it is not known.
	stdin *arg
	// shared reports that others may read from stdin too.
	shared bool
	// feed are the files that standard input names, nil if they are not known.
	feed []arg
	// maybe reports that a statement here may not run, or not in this shell.
	maybe bool
	// replayed reports that a statement here may run later, or repeatedly.
	replayed bool
	depth    int
	// expanding are the aliases whose text this is, and functions the functions.
	expanding, functions []string
	vars                 *variables
}

// through returns the scope of what is reached by one more step.
func (s scope) through(step string) scope {
	s.via = slices.Concat(s.via, []string{step})
	return s
}

func (s scope) uncertain() scope {
	s.maybe = true
	return s
}

func (s scope) again() scope {
	s.maybe, s.replayed = true, true
	return s
}

// runScripts follows the files that are both written and run.
func (a *analysis) runScripts() {
	if a.scripts == nil {
		return
	}
	for i := 0; i < len(a.command.Files) && !a.stopped; i++ {
		f := &a.command.Files[i]
		text, ok := a.scripts[path.Clean(f.Path)]
		if !ok || f.Dynamic || f.Access != execute && f.By != "source" && f.By != "." {
			continue
		}
		delete(a.scripts, path.Clean(f.Path)) // it may run itself
		a.dynamic()                           // it may be written to more than once
		a.evaluate(text, scope{vars: a.variables(), via: []string{"script"}, shared: true, replayed: true})
	}
}

// problem records that a part of the text was not understood.
func (a *analysis) problem(text string) {
	a.command.Parsed = false
	if a.command.Problem == nil {
		a.command.Problem = &text
	}
}

// refuse records a problem after which nothing more is read.
func (a *analysis) refuse(text string) {
	if !a.stopped {
		a.command.Problem = nil
	}
	a.problem(text)
	a.stopped = true
}

func (a *analysis) dynamic() { a.command.Dynamic = true }

// deeper enters one more level of nesting and reports whether it may.
func (a *analysis) deeper(s *scope) bool {
	s.depth++
	if s.depth > maxDepth {
		a.refuse(errTooDeep.Error())
	}
	return !a.stopped
}

// text analyses a text that a shell reads.
func (a *analysis) text(src string, s scope) {
	if !a.deeper(&s) {
		return
	}
	a.spent += len(src)
	if a.spent > maxSpent {
		a.refuse("too much text within text")
		return
	}
	if strings.IndexByte(src, '\r') >= 0 {
		// The parser takes it for white space, bash for a part of a word.
		a.refuse("holds a carriage return")
		return
	}
	if strings.ContainsAny(src, "\x01\x7f") {
		// Bash marks what is quoted with these, and then reads "$\x01(" as it
		// reads "$(" when it looks for the end of a text.
		a.problem("holds a control character that bash has a use for")
	}
	if strings.Contains(src, "\\\\`") {
		// How many of them end a substitution hangs on how deep it is nested, and
		// bash and the parser do not count alike.
		a.problem("holds backslashes before a backquote, which bash may read otherwise")
	}
	if reordered(src) {
		a.problem("holds characters that change the order in which it is shown")
	}
	stmts, err := a.parse(src)
	if strings.IndexByte(src, '`') >= 0 && endsEarlier(stmts, src) {
		a.problem("holds a backquote in a quoted text between backquotes, where bash ends what they hold")
	}
	s.src = src
	a.stmts(stmts, s)
	if err != nil && !a.stopped {
		a.problem(explain(err))
	}
}

// endsEarlier reports whether bash ends what stands in backquotes before the
// parser does: at the first backquote without a backslash, also where that is
// quoted.
func endsEarlier(stmts []*syntax.Stmt, src string) bool {
	found := false
	for _, stmt := range stmts {
		syntax.Walk(stmt, func(n syntax.Node) bool {
			p, ok := n.(*syntax.CmdSubst)
			if !ok || !p.Backquotes {
				return !found
			}
			from, to := int(p.Left.Offset())+1, int(p.Right.Offset())
			if from > to || to > len(src) {
				found = true // there is no telling
				return false
			}
			for i := from; i < to && !found; i++ {
				switch src[i] {
				case '\\':
					i++
				case '`':
					found = true
				}
			}
			return false // what is nested stands in the same text
		})
	}
	return found
}

// reordered reports whether a text is shown in another order than it is read:
// whoever approves it would approve another.
func reordered(src string) bool {
	for rest := src; ; {
		i := strings.Index(rest, "\xe2\x80")
		if j := strings.Index(rest, "\xe2\x81"); i < 0 || 0 <= j && j < i {
			i = j
		}
		if i < 0 {
			return false
		}
		if r, _ := utf8.DecodeRuneInString(rest[i:]); 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return true
		}
		rest = rest[i+2:]
	}
}

// parse returns the complete statements of a text, and the error that ended
// them: bash runs what stands before an error.
func (a *analysis) parse(src string) (stmts []*syntax.Stmt, err error) {
	defer func() {
		// A fault of the parser must not be one of the server.
		if r := recover(); r != nil {
			err = errParser
			a.parser = nil
		}
	}()
	if a.parser == nil {
		a.parser = syntax.NewParser(syntax.Variant(syntax.LangBash))
	}
	// The parser may come back after an error, so the loop must not end early.
	for stmt, problem := range a.parser.StmtsSeq(&boundedReader{rest: src}) {
		if stmt != nil {
			stmts = append(stmts, stmt)
		}
		if err == nil {
			err = problem
		}
	}
	return stmts, err
}

func explain(err error) string {
	var parse syntax.ParseError
	var lang syntax.LangError
	switch {
	case errors.As(err, &parse):
		return fmt.Sprintf("line %d: %s", parse.Pos.Line(), parse.Text)
	case errors.As(err, &lang):
		return fmt.Sprintf("line %d: %s is not bash", lang.Pos.Line(), lang.Feature)
	}
	return err.Error()
}

// boundedReader reads a text and stops the parser when it is nested too
// deeply. The parser reads while it descends, so that the stack is as deep as
// the text is nested, whatever the nesting is made of; a stack that overflows
// would end the whole process.
type boundedReader struct {
	rest string
	// given is the number of bytes that the parser has read.
	given int
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.given > shallow {
		var pcs [1]uintptr
		if runtime.Callers(maxFrames, pcs[:]) > 0 {
			return 0, errTooDeep
		}
	}
	if r.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	r.given += n
	return n, nil
}
