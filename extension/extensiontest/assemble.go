// Package extensiontest assembles small WebAssembly modules for tests: one that
// behaves, and others that do what a guest should not.
package extensiontest

import (
	"encoding/binary"

	"opencode/extension"
)

// Types of values in the binary format.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
)

// Func is a function of a module.
type Func struct {
	// Export is the name under which it is exported, "" if it is not.
	Export          string
	Params, Results []byte
	// Locals is how many variables of type i32 it has beside its parameters.
	Locals uint64
	// Code is its instructions, without the end.
	Code []byte
}

// Import is a function that a module imports.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// Module is a module to be assembled. Functions are numbered from the imports
// on.
type Module struct {
	Imports []Import
	Funcs   []Func
	// Pages is the memory that it begins with; 0 means one page.
	Pages uint64
	// NoMemory leaves out the export of the memory.
	NoMemory bool
	// Table is how many entries its table has; without any there is none.
	Table uint64
	// Globals is how many variables of type i32 it has, all of them zero.
	Globals uint64
	// Data stands in memory at DataAt.
	Data string
	// Tail is appended as it is.
	Tail []byte
}

// DataAt is where the data of a module stands, and ArgsAt where its arguments
// are put.
const (
	DataAt = 16
	ArgsAt = 1024
)

// U32 encodes a number without a sign.
func U32(n uint64) []byte { return binary.AppendUvarint(nil, n) }

// S64 encodes a number with a sign.
func S64(n int64) []byte {
	var b []byte
	for {
		low := byte(n & 0x7f)
		n >>= 7
		if n == 0 && low&0x40 == 0 || n == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// Cat joins parts of code.
func Cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func bytesOf(b []byte) []byte { return append(U32(uint64(len(b))), b...) }

func vector(items [][]byte) []byte { return append(U32(uint64(len(items))), Cat(items...)...) }

func section(id byte, content []byte) []byte { return append([]byte{id}, bytesOf(content)...) }

// Assemble writes the module in the binary format.
func (m Module) Assemble() []byte {
	var types, imports, funcs, exports, code [][]byte
	typeOf := func(params, results []byte) []byte {
		index := U32(uint64(len(types)))
		types = append(types, Cat([]byte{0x60}, bytesOf(params), bytesOf(results)))
		return index
	}
	for _, i := range m.Imports {
		imports = append(imports, Cat(bytesOf([]byte(i.Module)), bytesOf([]byte(i.Name)), []byte{0}, typeOf(i.Params, i.Results)))
	}
	for n, f := range m.Funcs {
		funcs = append(funcs, typeOf(f.Params, f.Results))
		if f.Export != "" {
			exports = append(exports, Cat(bytesOf([]byte(f.Export)), []byte{0}, U32(uint64(len(m.Imports)+n))))
		}
		locals := []byte{0}
		if f.Locals > 0 {
			locals = Cat([]byte{1}, U32(f.Locals), []byte{I32})
		}
		code = append(code, bytesOf(Cat(locals, f.Code, []byte{0x0b})))
	}
	if !m.NoMemory {
		exports = append(exports, Cat(bytesOf([]byte("memory")), []byte{2, 0}))
	}
	globals := make([][]byte, m.Globals)
	for i := range globals {
		globals[i] = []byte{I32, 1, 0x41, 0, 0x0b}
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	add := func(id byte, items [][]byte) {
		if len(items) > 0 {
			out = append(out, section(id, vector(items))...)
		}
	}
	add(1, types)
	add(2, imports)
	add(3, funcs)
	if m.Table > 0 {
		add(4, [][]byte{Cat([]byte{0x70, 0}, U32(m.Table))})
	}
	add(5, [][]byte{Cat([]byte{0}, U32(max(1, m.Pages)))})
	add(6, globals)
	add(7, exports)
	add(10, code)
	if m.Data != "" {
		add(11, [][]byte{Cat([]byte{0, 0x41}, S64(DataAt), []byte{0x0b}, bytesOf([]byte(m.Data)))})
	}
	return append(out, m.Tail...)
}

// Alloc is the function that gives room for arguments: always at one place.
func Alloc() Func {
	return Func{Export: "alloc", Params: []byte{I32}, Results: []byte{I32}, Code: append([]byte{0x41}, S64(ArgsAt)...)}
}

// Reset is a reset that sets the first so many globals to zero.
func Reset(globals byte) Func {
	var code []byte
	for i := range globals {
		code = append(code, 0x41, 0, 0x24, i)
	}
	return Func{Export: "reset", Code: code}
}

// Exported is a function that takes arguments and gives a result.
func Exported(name string, code ...[]byte) Func {
	return Func{Export: name, Params: []byte{I32, I32}, Results: []byte{I64}, Code: Cat(code...)}
}

// Result is the instruction that gives a result at a place.
func Result(at, length uint32) []byte {
	return append([]byte{0x42}, S64(int64(at)<<32|int64(length))...)
}

// Echo gives the array of its arguments as its result.
func Echo(name string) Func {
	return Exported(name,
		[]byte{0x20, 0, 0xad, 0x42, 32, 0x86}, // the place, in the upper half
		[]byte{0x20, 1, 0xad, 0x84})
}

// Manifest returns a manifest that fits the module: each function takes
// anything and gives what is said of it.
func Manifest(name string, module []byte, pure bool, results map[string]extension.Type) extension.Manifest {
	m, err := extension.ParseManifest([]byte(`{"version": 1, "name": "` + name + `", "functions": {"placeholder": {"args": [], "result": "any", "pure": false}}}`))
	if err != nil {
		panic(err) // the text above is a manifest unless the name is none
	}
	m.SHA256 = extension.Sum(module)
	m.Functions = map[string]extension.Function{}
	for function, result := range results {
		m.Functions[function] = extension.Function{Args: []extension.Type{extension.Any}, Result: result, Pure: pure}
	}
	return m
}
