package extension_test

import (
	"bytes"
	"strings"
	"testing"

	"opencode/extension"
	"opencode/extension/extensiontest"
)

// TestRefusedModules: what is not as the ABI wants it, and what would take more
// than a guest may have, is refused with the reason.
func TestRefusedModules(t *testing.T) {
	t.Parallel()
	f := func(code ...[]byte) extensiontest.Func { return extensiontest.Exported("f", code...) }
	good := f(extensiontest.Result(extensiontest.DataAt, 4))
	with := func(change func(*extensiontest.Module)) []byte {
		m := extensiontest.Module{Data: "true", Funcs: []extensiontest.Func{extensiontest.Alloc(), good}}
		change(&m)
		return m.Assemble()
	}
	code := func(parts ...[]byte) []byte {
		return with(func(m *extensiontest.Module) {
			m.Funcs[1] = f(append(parts, extensiontest.Result(extensiontest.DataAt, 4))...)
			m.Table = 1
		})
	}
	importing := func(module, name string) []byte {
		return with(func(m *extensiontest.Module) {
			m.Imports = []extensiontest.Import{{Module: module, Name: name, Params: []byte{extensiontest.I32}}}
		})
	}
	// One function that does nothing, with what stands before its code.
	small := func(sections ...string) []byte {
		return []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00" + strings.Join(sections, "") + "\x0a\x04\x01\x02\x00\x0b")
	}
	plain := with(func(*extensiontest.Module) {})
	for name, row := range map[string]struct {
		module []byte
		want   string
	}{
		"nothing":            {nil, "is not WebAssembly"},
		"text":               {[]byte("(module)"), "is not WebAssembly"},
		"component":          {[]byte("\x00asm\x0d\x00\x01\x00"), "it is a component"},
		"no functions":       {[]byte("\x00asm\x01\x00\x00\x00"), "it has no function"},
		"cut off":            {plain[:len(plain)-3], "it ends within what it has begun"},
		"section twice":      {append(bytes.Clone(plain), 11, 1, 0), "section 11 is not known or not in its place"},
		"unknown section":    {append(bytes.Clone(plain), 14, 1, 0), "section 14 is not known"},
		"announces too much": {append([]byte("\x00asm\x01\x00\x00\x00"), 1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f), "it announces more than it has"},
		"import of the host": {importing("env", "system"), `it imports "system" from "env": an extension gets nothing from its host`},
		"unknown WASI":       {importing("wasi_snapshot_preview1", "sock_open"), `it imports "sock_open"`},
		"wrong type of WASI": {importing("wasi_snapshot_preview1", "path_open"), "signature mismatch"},
		"no memory":          {with(func(m *extensiontest.Module) { m.NoMemory = true }), "the module exports no memory with the name memory"},
		"no alloc":           {with(func(m *extensiontest.Module) { m.Funcs[0].Export = "malloc" }), "the module exports no function alloc(i32)->(i32)"},
		"alloc of no size":   {with(func(m *extensiontest.Module) { m.Funcs[0].Params = nil }), "the module's alloc is ()->(i32), want (i32)->(i32)"},
		"no function":        {with(func(m *extensiontest.Module) { m.Funcs[1].Export = "g" }), "the module exports no function f(i32 i32)->(i64)"},
		"function of one":    {with(func(m *extensiontest.Module) { m.Funcs[1].Params = m.Funcs[1].Params[:1] }), "the module's f is (i32)->(i64), want (i32 i32)->(i64)"},
		"reset of something": {with(func(m *extensiontest.Module) {
			m.Funcs = append(m.Funcs, extensiontest.Func{Export: "reset", Params: []byte{extensiontest.I32}})
		}), "the module's reset is (i32)->()"},
		"a program": {with(func(m *extensiontest.Module) { m.Funcs = append(m.Funcs, extensiontest.Func{Export: "_start"}) }), "build it as a library"},
		"traps when it begins": {with(func(m *extensiontest.Module) {
			m.Funcs = append(m.Funcs, extensiontest.Func{Export: "_initialize", Code: []byte{0}})
		}), "does not begin: unreachable"},
		"too much memory": {with(func(m *extensiontest.Module) { m.Pages = 513 }), "513 pages"},
		"large table":     {with(func(m *extensiontest.Module) { m.Table = 1 << 19 }), "its tables have more than 262144 entries"},
		"many variables":  {with(func(m *extensiontest.Module) { m.Funcs[1].Locals = 1 << 31 }), "a function has more than 16384 variables"},
		"variables of many": {with(func(m *extensiontest.Module) {
			for range 130 {
				m.Funcs = append(m.Funcs, extensiontest.Func{Locals: 16_000})
			}
		}), "its functions have more than 2000000 variables"},
		"many types":            {append([]byte("\x00asm\x01\x00\x00\x00\x01\xb5\xea\x01\x91\x4e"), bytes.Repeat([]byte{0x60, 0, 0}, 10_001)...), "it has more than 10000 types"},
		"table.grow":            {code([]byte{0xd0, 0x70, 0x41, 1, 0xfc, 15, 0, 0x1a}), "it uses table.grow"},
		"threads":               {code([]byte{0xfe, 0x03, 0x00}), "the instruction 0xfe is not one of Wasm 2.0"},
		"tail call":             {code([]byte{0x12, 0x01}), "the instruction 0x12 is not one of Wasm 2.0"},
		"unknown misc":          {code([]byte{0xfc, 18}), "the instruction 0xfc 18 is not one of Wasm 2.0"},
		"relaxed vectors":       {code([]byte{0xfd, 0x80, 0x02}), "the instruction 0xfd 256 is not one of Wasm 2.0"},
		"long number":           {code([]byte{0xfc, 0x8b, 0x00, 0x00}), "has more bytes than it needs"},
		"long vector number":    {code([]byte{0xfd, 0x8c, 0x00}), "has more bytes than it needs"},
		"block of a later type": {code([]byte{0x02, 0x63, 0x70, 0x0b}), "the type 0x63 is not one of Wasm 2.0"},
		"block of a long type":  {code([]byte{0x02, 0xe3, 0x7f, 0x70, 0x0b}), "the type of a block is 0xe37f"},
		"second memory":         {code([]byte{0x3f, 1, 0x1a}), "it uses a second memory"},
		"sets our count":        {code([]byte{0x41, 0, 0x24, 1}), "it names number 1 of its 0 globals"},
		"reads our count":       {code([]byte{0x23, 0, 0x1a}), "it names number 0 of its 0 globals"},
		"calls ours":            {code([]byte{0x10, 2}), "it names number 2 of its 2 functions"},
		"refers to ours":        {code([]byte{0xd2, 4, 0x1a}), "it names number 4 of its 2 functions"},
		"block of our type":     {code([]byte{0x02, 2, 0x0b}), "it names number 2 of its 2 types"},
		"call by our type":      {code([]byte{0x41, 0, 0x11, 2, 0}), "it names number 2 of its 2 types"},
		"begins with ours":      {small("\x03\x02\x01\x00", "\x08\x01\x01"), "it names number 1 of its 1 functions"},
		"shows ours":            {small("\x03\x02\x01\x00", "\x07\x05\x01\x01e\x00\x03"), "it names number 3 of its 1 functions"},
		"shows our count":       {small("\x03\x02\x01\x00", "\x07\x05\x01\x01e\x03\x01"), "it names number 1 of its 0 globals"},
		"puts ours in a table":  {small("\x03\x02\x01\x00", "\x04\x04\x01\x70\x00\x01", "\x09\x07\x01\x00\x41\x00\x0b\x01\x02"), "it names number 2 of its 1 functions"},
		"is of our type":        {small("\x03\x02\x01\x01"), "it names number 1 of its 1 types"},
		"ill-typed":             {code([]byte{0x41, 0, 0x42, 0, 0x6a, 0x1a}), "the module is refused"},
		"after its end":         {code([]byte{0x0b}), "a function is longer than its instructions"},
		"tangled":               {code(bytes.Repeat([]byte{0x03, 0x40, 0x0b}, 11_000)), "too many blocks and branches to be compiled"},
		"tangled by fills":      {code(bytes.Repeat([]byte{0x41, 0, 0x41, 0, 0x41, 1, 0xfc, 11, 0}, 2_000)), "too many blocks and branches to be compiled"},
		"too large":             {append(bytes.Clone(plain), make([]byte, extension.MaxModuleBytes)...), "more than 16777216"},
	} {
		manifest := extensiontest.Manifest("m", row.module, false, map[string]extension.Type{"f": extension.Boolean})
		m, err := extension.Load(t.Context(), manifest, row.module, extension.Config{})
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || !strings.HasPrefix(err.Error(), "extension m: ") {
			t.Errorf("%s: Load: %v, want %q", name, err, row.want)
		}
	}
}

// TestGuardKeepsMeaning: what is written between a guest's instructions changes
// nothing but that it can be stopped. The instructions here are of every kind
// of shape, and those with an error would be refused by the compiler.
func TestGuardKeepsMeaning(t *testing.T) {
	t.Parallel()
	const five = 2 // the function that gives 5, after alloc and f
	drop := []byte{0x1a}
	code := extensiontest.Cat(
		[]byte{0x02, 0x7f, 0x41, 0x7f, 0x0b, 0x1a},                                     // block with a result
		[]byte{0x41, 0xff, 0xff, 0xff, 0xff, 0x07, 0x1a},                               // the largest i32.const
		[]byte{0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f, 0x1a}, // the least i64.const
		[]byte{0x43, 0x0b, 0x0b, 0x0b, 0x0b, 0x1a},                                     // f32.const of bytes like ends
		[]byte{0x44, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x0b, 0x1a},             // f64.const
		[]byte{0xfd, 0x0c}, bytes.Repeat([]byte{0x10}, 16), drop, // v128.const of bytes like calls
		[]byte{0x02, 0x40, 0x41, 0, 0x0e, 1, 0, 0, 0x0b},                 // br_table
		[]byte{0x41, 1, 0x41, 2, 0x41, 0, 0x1c, 1, 0x7f, 0x1a},           // select of a type
		[]byte{0xd0, 0x70, 0xd1, 0x1a, 0xd2, 0x00, 0x1a},                 // references
		[]byte{0x41, 0, 0x28, 0x82, 0x80, 0x00, 0x10, 0x1a},              // a load with a long number for its alignment
		[]byte{0x41, 0x80, 8, 0x41, 16, 0x41, 4, 0xfc, 0x0a, 0x00, 0x00}, // memory.copy
		[]byte{0x41, 0, 0xfd, 0x00, 0x00, 0x00, 0xfd, 0x15, 0x0b, 0x1a},  // a vector's lane, numbered like an end
		[]byte{0x10, five, 0x04, 0x7e},                                   // if it is not zero
		extensiontest.Result(1024, 4), []byte{0x05}, extensiontest.Result(0, 0), []byte{0x0b},
	)
	module := extensiontest.Module{
		Data: "true", Table: 1, Globals: 3,
		Funcs: []extensiontest.Func{
			extensiontest.Alloc(),
			extensiontest.Exported("f", code),
			{Results: []byte{extensiontest.I32}, Code: []byte{0x41, 5}},
		},
		Tail: []byte{0, 4, 1, 'x', 0xff, 0xff}, // a section for others
	}.Assemble()
	for name, cfg := range map[string]extension.Config{"compiled": {}, "interpreted": {Interpret: true}} {
		m := load(t, extensiontest.Manifest("m", module, false, map[string]extension.Type{"f": extension.Boolean}), module, cfg)
		if got, err := m.Call(t.Context(), "f", []byte(`[]`)); err != nil || got != true {
			t.Errorf("%s: f = %v, %v", name, got, err)
		}
	}
}

// TestStubs: a guest that imports what an operating system gives gets nothing.
func TestStubs(t *testing.T) {
	t.Parallel()
	i32, i64 := extensiontest.I32, extensiontest.I64
	const at = 512
	number := func(n int64) []byte { return append([]byte{0x41}, extensiontest.S64(n)...) }
	// Each calls the import and gives the number that it answers, as a digit or two.
	digits := extensiontest.Cat(
		[]byte{0x21, 2}, // the answer
		number(at), []byte{0x20, 2}, number(10), []byte{0x6e}, number(48), []byte{0x6a, 0x3a, 0, 0},
		number(at+1), []byte{0x20, 2}, number(10), []byte{0x70}, number(48), []byte{0x6a, 0x3a, 0, 0},
		[]byte{0x20, 2}, number(10), []byte{0x48, 0x04, 0x7e}, extensiontest.Result(at+1, 1), []byte{0x05}, extensiontest.Result(at, 2), []byte{0x0b},
	)
	for name, row := range map[string]struct {
		params    []byte
		arguments []byte
		want      string
	}{
		"fd_write":          {[]byte{i32, i32, i32, i32}, extensiontest.Cat(number(2), number(16), number(1), number(64)), "0"},
		"fd_read":           {[]byte{i32, i32, i32, i32}, extensiontest.Cat(number(0), number(16), number(1), number(64)), "8"},
		"random_get":        {[]byte{i32, i32}, extensiontest.Cat(number(64), number(8)), "0"},
		"clock_time_get":    {[]byte{i32, i64, i32}, extensiontest.Cat(number(0), []byte{0x42, 0}, number(64)), "0"},
		"args_sizes_get":    {[]byte{i32, i32}, extensiontest.Cat(number(64), number(68)), "0"},
		"environ_sizes_get": {[]byte{i32, i32}, extensiontest.Cat(number(-4), number(68)), "21"},
		"poll_oneoff":       {[]byte{i32, i32, i32, i32}, extensiontest.Cat(number(0), number(0), number(0), number(0)), "52"},
		"path_open":         {[]byte{i32, i32, i32, i32, i32, i64, i64, i32, i32}, extensiontest.Cat(number(3), number(0), number(0), number(0), number(0), []byte{0x42, 0, 0x42, 0}, number(0), number(0)), "8"},
		"sock_accept":       {[]byte{i32, i32, i32}, extensiontest.Cat(number(3), number(0), number(0)), "8"},
	} {
		f := extensiontest.Exported("f", row.arguments, []byte{0x10, 0}, digits)
		f.Locals = 1
		module := extensiontest.Module{
			Imports: []extensiontest.Import{{Module: "wasi_snapshot_preview1", Name: name, Params: row.params, Results: []byte{i32}}},
			Funcs:   []extensiontest.Func{extensiontest.Alloc(), f},
			Data:    "\x20\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00hello", // a list of one text at 32
		}.Assemble()
		var printed bytes.Buffer
		m := load(t, extensiontest.Manifest("m", module, false, map[string]extension.Type{"f": extension.Number}), module, extension.Config{Output: &printed})
		if got, err := m.Call(t.Context(), "f", []byte(`[]`)); err != nil || text(got) != row.want {
			t.Errorf("%s = %v, %v; want %s", name, got, err, row.want)
		}
		if wants := map[string]string{"fd_write": "hello"}[name]; printed.String() != wants {
			t.Errorf("%s: printed %q", name, printed.String())
		}
	}
	exits := extensiontest.Module{
		Imports: []extensiontest.Import{{Module: "wasi_snapshot_preview1", Name: "proc_exit", Params: []byte{i32}}},
		Funcs:   []extensiontest.Func{extensiontest.Alloc(), extensiontest.Exported("f", number(3), []byte{0x10, 0}, extensiontest.Result(0, 0))},
	}.Assemble()
	m := load(t, extensiontest.Manifest("m", exits, false, map[string]extension.Type{"f": extension.Number}), exits, extension.Config{})
	if got, err := m.Call(t.Context(), "f", []byte(`[]`)); err == nil || !strings.Contains(err.Error(), "ended itself with code 3") {
		t.Errorf("proc_exit: %v, %v", got, err)
	}
}
