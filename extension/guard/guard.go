// Package guard reads modules of WebAssembly from people who are not trusted, and
// writes them anew so that whoever runs them can stop them.
//
// Compiled code can be stopped only where it calls back into Go, which it does
// at the head of each loop. A guest that calls itself and never loops would run
// for as long as it likes, and the garbage collector of the whole process would
// wait for it; so would it for a long row of instructions that each fill all of
// memory. A module is therefore read whole before it is compiled, and written
// anew with
//
//   - a call of a function of ours before and after each of its own calls, which
//     counts how deep they lie and lets itself be stopped now and then,
//   - a call before each instruction that works on much memory, which lets the
//     guest be stopped.
//
// What is ours stands after what the module has of its own, and a module that
// names it would reach it: it could set back what counts its calls. So what a
// module names of functions, globals and types must be its own.
//
// The reading also refuses what would take memory beyond the page limit: large
// tables, tables that grow, counts of things and of variables for which the
// runtime sets memory aside; and functions so tangled that compiling them would
// not end. Where two readers of the format could differ, a module is refused.
//
// The package keeps nothing and is safe for concurrent use.
package guard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Config says what a module may be.
type Config struct {
	// Import says why a module may not import something, nil if it may.
	// Required.
	Import func(kind Kind, module, name string) error
	// Table bounds the entries of all tables, and what is put into them.
	Table uint64
	// Locals bounds the variables of one function.
	Locals uint64
	// Tangle bounds the sum of the squares of how many blocks and branches each
	// function has, as which the time to compile it grows.
	Tangle uint64
}

// Kind is the kind of what a module imports.
type Kind byte

// Kinds of imports, by the numbers of the binary format.
const (
	Function Kind = 0
	Table    Kind = 1
	Memory   Kind = 2
	Global   Kind = 3
)

const (
	// maxCallDepth is how deep calls may lie within each other.
	maxCallDepth = 10_000
	// callsPerStop is after how many calls a guest lets itself be stopped.
	callsPerStop = 256
	// Limits that no program comes near. The runtime sets memory aside for each
	// of these when it reads a module.
	maxTypes     = 10_000
	maxParams    = 1_000
	maxImports   = 100
	maxDefined   = 100_000 // functions, globals, exports, segments
	maxAllLocals = 2_000_000
)

// Sections of a module, by the numbers of the binary format.
const (
	sectionCustom    = 0
	sectionType      = 1
	sectionImport    = 2
	sectionFunction  = 3
	sectionTable     = 4
	sectionMemory    = 5
	sectionGlobal    = 6
	sectionExport    = 7
	sectionStart     = 8
	sectionElement   = 9
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// sectionOrder is in which order they stand.
var sectionOrder = []byte{
	sectionType, sectionImport, sectionFunction, sectionTable, sectionMemory, sectionGlobal,
	sectionExport, sectionStart, sectionElement, sectionDataCount, sectionCode, sectionData,
}

var magic = []byte("\x00asm\x01\x00\x00\x00")

// Rewrite returns the module written anew, without its custom sections.
func Rewrite(module []byte, cfg Config) ([]byte, error) {
	if bytes.HasPrefix(module, []byte("\x00asm\x0d\x00\x01\x00")) {
		return nil, errors.New("it is a component; a core module is wanted")
	}
	if !bytes.HasPrefix(module, magic) {
		return nil, errors.New("it is not WebAssembly")
	}
	if cfg.Import == nil {
		return nil, errors.New("guard: Import is required")
	}
	g := &guardian{cfg: cfg, r: reader{b: module, at: len(magic)}, sections: map[byte][]byte{}}
	if err := g.read(); err != nil {
		return nil, err
	}
	return g.write(), nil
}

// guardian reads a module and writes it anew.
type guardian struct {
	cfg      Config
	r        reader
	sections map[byte][]byte // their contents; that of code is written already

	types, functions, globals uint32
	// imported counts what is imported, by its kind, which is numbered before
	// what is defined.
	imported [Global + 1]uint32
	// entries are those of tables, and elements what is put into them.
	entries, elements, locals, tangle uint64
	hasCode                           bool
}

func (g *guardian) read() error {
	last := -1
	for g.r.err == nil && g.r.at < len(g.r.b) {
		id := g.r.byte()
		content := g.r.bytes(g.r.u32())
		if g.r.err != nil || id == sectionCustom {
			continue
		}
		place := bytes.IndexByte(sectionOrder, id)
		if place <= last {
			return fmt.Errorf("section %d is not known or not in its place", id)
		}
		last = place
		if err := g.section(id, &reader{b: content, own: g.own()}); err != nil {
			return err
		}
	}
	if g.r.err == nil && !g.hasCode {
		return errors.New("it has no function")
	}
	return g.r.err
}

// own returns how much of each kind the module has, as far as it is read. All
// that can be named stands before whatever names it, but for what is ours.
func (g *guardian) own() own {
	return own{types: g.types, functions: g.imported[Function] + g.functions, globals: g.imported[Global] + g.globals}
}

// section reads one section to its end.
func (g *guardian) section(id byte, r *reader) error {
	if id != sectionCode {
		g.sections[id] = r.b
	}
	switch id {
	case sectionType:
		g.types = r.atMost(maxTypes, "types", func() {
			if r.byte() != 0x60 {
				r.fail("a type is not that of a function")
			}
			r.atMost(maxParams, "parameters", r.valueType)
			r.atMost(maxParams, "results", r.valueType)
		})
	case sectionImport:
		r.atMost(maxImports, "imports", func() { g.readImport(r) })
	case sectionFunction:
		g.functions = r.atMost(maxDefined, "functions", r.typeIndex)
	case sectionTable:
		r.atMost(maxDefined, "tables", func() { g.table(r) })
	case sectionMemory:
		r.atMost(maxDefined, "memories", func() { r.limits() })
	case sectionGlobal:
		g.globals = r.atMost(maxDefined, "globals", func() {
			r.valueType()
			r.byte()
			r.expression(nil)
		})
	case sectionExport:
		r.atMost(maxDefined, "exports", func() {
			r.bytes(r.u32())
			switch Kind(r.byte()) {
			case Function:
				r.functionIndex()
			case Global:
				r.globalIndex()
			case Table, Memory:
				r.u32()
			default:
				r.fail("it exports something of an unknown kind")
			}
		})
	case sectionStart:
		r.functionIndex()
	case sectionDataCount:
		r.u32()
	case sectionElement:
		r.atMost(maxDefined, "segments of elements", func() { g.element(r) })
	case sectionCode:
		g.code(r)
	case sectionData:
		r.atMost(maxDefined, "segments of data", r.data)
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail("section %d is longer than what is in it", id)
	}
	return r.err
}

// readImport reads an import and asks whether it may be.
func (g *guardian) readImport(r *reader) {
	module, name := string(r.bytes(r.u32())), string(r.bytes(r.u32()))
	kind := Kind(r.byte())
	switch kind {
	case Function:
		r.typeIndex()
	case Table:
		g.table(r)
	case Memory:
		r.limits()
	case Global:
		r.valueType()
		r.byte()
	default:
		r.fail("it imports %q from %q, which is of the unknown kind %d", name, module, kind)
		return
	}
	if r.err == nil {
		r.err = g.cfg.Import(kind, module, name)
	}
	g.imported[kind]++
}

// table reads the type of a table.
func (g *guardian) table(r *reader) {
	r.valueType()
	if g.entries += uint64(r.limits()); g.entries > g.cfg.Table {
		r.fail("its tables have more than %d entries", g.cfg.Table)
	}
}

// code reads the functions and writes them with the calls of ours in them.
func (g *guardian) code(r *reader) {
	g.hasCode = true
	// The numbers of what is ours are those after the guest's own.
	enter := g.imported[Function] + g.functions
	leave, pause := enter+1, enter+2
	depth := g.imported[Global] + g.globals
	stops := depth + 1
	ours := guardedCode{before: call(enter), after: call(leave), pause: call(pause)}
	var out []byte
	bodies := r.vector(func() {
		size := r.u32()
		body := reader{b: r.bytes(size), own: r.own}
		if r.err != nil {
			return
		}
		g.variables(&body)
		var w bytes.Buffer
		w.Write(body.b[:body.at])
		ours.w = &w
		blocks := body.expression(&ours)
		if g.tangle += blocks * blocks; g.tangle > g.cfg.Tangle {
			body.fail("its functions have too many blocks and branches to be compiled")
		}
		if body.err == nil && body.at != len(body.b) {
			body.fail("a function is longer than its instructions")
		}
		if r.err = body.err; r.err == nil {
			out = append(appendSize(out, w.Len()), w.Bytes()...)
		}
	})
	if r.err == nil && bodies != g.functions {
		r.fail("it declares %d functions and has %d", g.functions, bodies)
	}
	out = append(out, enterBody(depth, stops)...)
	out = append(out, body(add(nil, depth, opI32Sub))...)
	out = append(out, body(stop)...)
	g.sections[sectionCode] = append(appendU32(nil, uint64(bodies)+3), out...)
}

// Instructions that are written here.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opCall        = 0x10
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opI32Const    = 0x41
	opI32Eqz      = 0x45
	opI32GtU      = 0x4b
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	noResult      = 0x40
)

// stop is where the guest can be stopped: the head of a loop that does nothing.
var stop = []byte{opLoop, noResult, opEnd}

func call(function uint32) []byte { return appendU32([]byte{opCall}, uint64(function)) }

// enterBody is the function that is called before each call: it counts the
// depth, and at every so many calls lets itself be stopped.
func enterBody(depth, stops uint32) []byte {
	var b []byte
	b = add(b, depth, opI32Add)
	b = append(global(b, opGlobalGet, depth), opI32Const)
	b = append(appendS32(b, maxCallDepth), opI32GtU, opIf, noResult, opUnreachable, opEnd)
	b = add(b, stops, opI32Sub)
	b = append(global(b, opGlobalGet, stops), opI32Eqz, opIf, noResult)
	b = append(append(b, stop...), opI32Const)
	b = append(global(appendS32(b, callsPerStop), opGlobalSet, stops), opEnd)
	return body(b)
}

// add adds one to a global, or takes it away.
func add(b []byte, index uint32, op byte) []byte {
	b = append(global(b, opGlobalGet, index), opI32Const, 1, op)
	return global(b, opGlobalSet, index)
}

func global(b []byte, op byte, index uint32) []byte { return appendU32(append(b, op), uint64(index)) }

// body is a function without variables.
func body(code []byte) []byte {
	b := appendU32(nil, uint64(len(code))+2)
	return append(append(append(b, 0), code...), opEnd)
}

// write writes the module with our type, functions and globals after its own.
func (g *guardian) write() []byte {
	g.extend(sectionType, 1, []byte{0x60, 0, 0})
	ours := appendU32(nil, uint64(g.types))
	g.extend(sectionFunction, 3, bytes.Repeat(ours, 3))
	mutable := func(initial int32) []byte {
		return append(appendS32([]byte{0x7f, 1, opI32Const}, initial), opEnd)
	}
	g.extend(sectionGlobal, 2, append(mutable(0), mutable(callsPerStop)...))
	out := bytes.Clone(magic)
	for _, id := range sectionOrder {
		if content, ok := g.sections[id]; ok {
			out = append(appendU32(append(out, id), uint64(len(content))), content...)
		}
	}
	return out
}

// extend adds n items to the end of a section that is a vector.
func (g *guardian) extend(id byte, n uint64, items []byte) {
	r := reader{b: g.sections[id]}
	count := uint64(0)
	if len(r.b) > 0 {
		count = uint64(r.u32())
	}
	out := appendU32(nil, count+n)
	out = append(out, r.b[r.at:]...)
	g.sections[id] = append(out, items...)
}

func appendU32(b []byte, n uint64) []byte { return binary.AppendUvarint(b, n) }

// appendSize appends a size, which is never negative.
func appendSize(b []byte, n int) []byte {
	return appendU32(b, uint64(n)) //nolint:gosec // G115: is the length of something
}

// appendS32 appends a number that is signed in the binary format.
func appendS32(b []byte, n int32) []byte {
	for {
		low := byte(n & 0x7f)
		n >>= 7
		if n == 0 && low&0x40 == 0 || n == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// reader reads the binary format. After the first error it reads nothing.
type reader struct {
	b   []byte
	at  int
	err error
	own own
}

// own is how many types, functions and globals can be named.
type own struct{ types, functions, globals uint32 }

func (r *reader) typeIndex()     { r.index(r.own.types, "types") }
func (r *reader) functionIndex() { r.index(r.own.functions, "functions") }
func (r *reader) globalIndex()   { r.index(r.own.globals, "globals") }

// index reads the number of something of which there are so many.
func (r *reader) index(n uint32, what string) {
	if i := r.u32(); i >= n {
		r.fail("it names number %d of its %d %s", i, n, what)
	}
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n uint32) []byte {
	if r.err == nil && int64(n) > int64(len(r.b)-r.at) {
		r.fail("it ends within what it has begun")
	}
	if r.err != nil {
		return nil
	}
	b := r.b[r.at : r.at+int(n)]
	r.at += int(n)
	return b
}

func (r *reader) u32() uint32 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:min(len(r.b), r.at+5)])
	if n <= 0 || v > math.MaxUint32 {
		r.fail("a number is not one of 32 bits")
		return 0
	}
	r.at += n
	return uint32(v)
}

// valueType reads a type of values of Wasm 2.0. Those of later versions have
// more than one byte, and who reads them differently is out of step.
func (r *reader) valueType() {
	switch b := r.byte(); b {
	case 0x6f, 0x70, 0x7b, 0x7c, 0x7d, 0x7e, 0x7f:
	default:
		r.fail("the type 0x%02x is not one of Wasm 2.0", b)
	}
}

// blockType reads the type of a block: none, one value, or the number of a
// type, which is written as a number with a sign and has none.
func (r *reader) blockType() {
	if r.at < len(r.b) && r.b[r.at] == noResult {
		r.byte()
		return
	}
	if r.at < len(r.b) && r.b[r.at] >= 0x40 && r.b[r.at] < 0x80 {
		r.valueType()
		return
	}
	begin := r.at
	r.signed(5)
	if r.err != nil {
		return
	}
	if r.b[r.at-1]&0x40 != 0 {
		r.fail("the type of a block is 0x%x, which is not one of Wasm 2.0", r.b[begin:r.at])
		return
	}
	// A number that is not negative reads the same without a sign.
	r.at = begin
	r.typeIndex()
}

// zero reads a byte that another version of the format gives a meaning.
func (r *reader) zero() {
	if r.byte() != 0 {
		r.fail("it uses a second memory")
	}
}

// signed passes over a signed number of so many bytes at most.
func (r *reader) signed(most int) {
	for range most {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail("a number is longer than %d bytes", most)
}

// vector reads a count and so many items, each of which has a byte at least.
func (r *reader) vector(item func()) uint32 {
	n := r.u32()
	if r.err == nil && int64(n) > int64(len(r.b)-r.at) {
		r.fail("it announces more than it has")
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		item()
	}
	return n
}

// atMost is vector for no more than so many items.
func (r *reader) atMost(most uint32, what string, item func()) uint32 {
	n := uint32(0)
	return r.vector(func() {
		if n++; n > most {
			r.fail("it has more than %d %s", most, what)
			return
		}
		item()
	})
}

// limits reads the least and the most of a table or a memory.
func (r *reader) limits() (least uint32) {
	flags := r.byte()
	if flags > 1 {
		r.fail("the limits of a table or memory are not those of Wasm 2.0")
	}
	least = r.u32()
	if flags == 1 {
		r.u32()
	}
	return least
}

func (g *guardian) element(r *reader) {
	flags := r.u32()
	if flags > 7 {
		r.fail("an element has the flags %d", flags)
	}
	if flags&1 == 0 { // it is put into a table when the module starts
		if flags&2 != 0 {
			r.u32()
		}
		r.expression(nil)
	}
	if flags&3 != 0 {
		if flags&4 != 0 {
			r.valueType()
		} else {
			r.zero()
		}
	}
	r.vector(func() {
		if flags&4 != 0 {
			r.expression(nil)
		} else {
			r.functionIndex()
		}
		if g.elements++; g.elements > g.cfg.Table {
			r.fail("it puts more than %d functions into tables", g.cfg.Table)
		}
	})
}

func (r *reader) data() {
	flags := r.u32()
	if flags > 2 {
		r.fail("data has the flags %d", flags)
	}
	if flags == 2 {
		r.u32()
	}
	if flags != 1 {
		r.expression(nil)
	}
	r.bytes(r.u32())
}

// variables reads those of a function, before its instructions.
func (g *guardian) variables(r *reader) {
	total := uint64(0)
	r.vector(func() {
		total += uint64(r.u32())
		r.valueType()
	})
	if total > g.cfg.Locals {
		r.fail("a function has more than %d variables", g.cfg.Locals)
	}
	if g.locals += total; g.locals > maxAllLocals {
		r.fail("its functions have more than %d variables", maxAllLocals)
	}
}
