package policyvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// The runtime sets memory aside by the counts that a module claims, before it
// looks for what is counted: a module of a few bytes could end the process. So
// each module is read here first, up to the code of its functions, against
// limits that no policy comes near.
const (
	maxTypes    = 10_000
	maxParams   = 1_000
	maxImports  = 100
	maxDefined  = 100_000 // functions, globals, exports, segments
	maxTable    = 1 << 16 // also of what is put into tables, in all
	maxLocals   = 50_000  // of a function
	maxAllLocal = 2_000_000
)

var magic = []byte("\x00asm\x01\x00\x00\x00")

// errTruncated means that a module ends in the middle.
var errTruncated = errors.New("is no WebAssembly module: it is truncated")

// checkModule reads a module and returns it without its custom sections, which
// hold names for people.
func checkModule(module []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(module, magic)
	if !ok {
		return nil, errors.New("is no WebAssembly module of version 1")
	}
	kept := bytes.Clone(magic)
	c := &checker{}
	for r := (reader{b: rest}); len(r.b) > 0; {
		before := r.b
		id := r.byte()
		section := reader{b: r.bytes(r.uint())}
		if r.err != nil {
			return nil, r.err
		}
		if id == 0 {
			continue
		}
		if err := c.section(id, &section); err != nil {
			return nil, err
		}
		if len(section.b) > 0 {
			return nil, fmt.Errorf("is no WebAssembly module: section %d has more than it says", id)
		}
		kept = append(kept, before[:len(before)-len(r.b)]...)
	}
	return kept, nil
}

// checker goes through a module.
type checker struct{ elements, locals uint64 }

func (c *checker) section(id byte, r *reader) error {
	switch id {
	case sectionType:
		r.each(maxTypes, c.functionType)
	case sectionImport:
		r.each(maxImports, c.imported)
	case 3: // functions
		r.each(maxDefined, func(r *reader) { r.uint() })
	case 4: // tables
		r.each(1, (*reader).table)
	case sectionMemory:
		r.each(1, func(r *reader) { r.limits() })
	case 6: // globals
		r.each(maxDefined, func(r *reader) {
			r.bytes(2)
			r.expression()
		})
	case sectionExport:
		r.each(maxDefined, func(r *reader) {
			r.bytes(r.uint())
			r.byte()
			r.uint()
		})
	case 8: // start
		r.uint()
	case 9: // elements
		r.each(maxDefined, c.element)
	case 10: // code
		r.each(maxDefined, c.code)
	case 11: // data
		r.each(maxDefined, func(r *reader) {
			r.plain("a segment of data")
			r.expression()
			r.bytes(r.uint())
		})
	default:
		return fmt.Errorf("has a section %d, which version 1 of WebAssembly does not know", id)
	}
	return r.err
}

func (*checker) functionType(r *reader) {
	if r.byte() != typeFunction {
		r.fail(errors.New("is no WebAssembly module: a type is none of a function"))
	}
	for range 2 { // parameters and results
		r.each(maxParams, func(r *reader) { r.byte() })
	}
}

func (*checker) imported(r *reader) {
	r.bytes(r.uint())
	r.bytes(r.uint())
	switch r.byte() {
	case kindFunction:
		r.uint()
	case 1:
		r.table()
	case kindMemory:
		r.limits()
	case 3:
		r.bytes(2)
	default:
		r.fail(errors.New("is no WebAssembly module: it imports something of an unknown kind"))
	}
}

func (c *checker) element(r *reader) {
	r.plain("a segment of elements")
	r.expression()
	r.each(maxTable, func(r *reader) {
		r.uint()
		if c.elements++; c.elements > maxTable {
			r.fail(fmt.Errorf("puts more than %d functions into tables", maxTable))
		}
	})
}

func (c *checker) code(r *reader) {
	body := reader{b: r.bytes(r.uint())}
	locals := uint64(0)
	body.each(maxLocals, func(r *reader) {
		locals += r.uint()
		r.byte()
		if locals > maxLocals {
			r.fail(fmt.Errorf("has a function with more than %d variables", maxLocals))
		}
	})
	if c.locals += locals; c.locals > maxAllLocal {
		r.fail(fmt.Errorf("has more than %d variables", maxAllLocal))
	}
	r.fail(body.err)
}

// reader reads a part of a module. After an error it reads zeros.
type reader struct {
	b   []byte
	err error
}

// fail keeps the first error.
func (r *reader) fail(err error) {
	if r.err == nil && err != nil {
		r.err, r.b = err, nil
	}
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

// bytes returns the next n bytes.
func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.fail(errTruncated)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// uint reads a number of at most 32 bits.
func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 5 || v > 1<<32-1 {
		r.fail(errTruncated)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// each reads a list of at most so many elements.
func (r *reader) each(limit uint64, read func(*reader)) {
	n := r.uint()
	if n > limit {
		r.fail(fmt.Errorf("has a list of %d elements where %d are allowed", n, limit))
	}
	for range n {
		if r.err != nil {
			return
		}
		read(r)
	}
}

func (r *reader) table() {
	kind := r.byte()
	if size := r.limits(); r.err == nil && (kind != 0x70 || size > maxTable) {
		r.fail(fmt.Errorf("has a table of %d elements, or not of functions; want %d at most", size, maxTable))
	}
}

// limits reads the limits of a memory or a table, and returns the lower one.
func (r *reader) limits() uint64 {
	flag := r.byte()
	least := r.uint()
	switch flag {
	case 0:
	case 1:
		r.uint()
	default:
		r.fail(errors.New("has a memory or a table that is shared, or of 64 bits"))
	}
	return least
}

// plain reads the first number of a segment, which is 0 in version 1.
func (r *reader) plain(what string) {
	if r.uint() != 0 {
		r.fail(fmt.Errorf("has %s that version 1 of WebAssembly does not know", what))
	}
}

// expression reads a constant expression.
func (r *reader) expression() {
	switch r.byte() {
	case 0x41, 0x42: // a number of 32 or 64 bits
		end := slices.IndexFunc(r.b, func(b byte) bool { return b < 0x80 })
		if end < 0 || end > 9 {
			r.fail(errTruncated)
			return
		}
		r.bytes(uint64(end) + 1)
	case 0x43:
		r.bytes(4)
	case 0x44:
		r.bytes(8)
	case 0x23: // a global
		r.uint()
	default:
		r.fail(errors.New("has an expression that is not constant"))
	}
	if r.byte() != 0x0b {
		r.fail(errors.New("has an expression that does not end"))
	}
}
