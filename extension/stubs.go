package extension

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"opencode/extension/guard"
)

// stubModule is the name under which toolchains import what an operating system
// would give. Go and C libraries do so whether a program needs it or not.
const stubModule = "wasi_snapshot_preview1"

// mayImport refuses all but functions of the stubs: nothing else is there.
func mayImport(kind guard.Kind, module, name string) error {
	if kind != guard.Function {
		return fmt.Errorf("it imports %q from %q, which is not a function", name, module)
	}
	if _, ok := stubs[name]; !ok || module != stubModule {
		return fmt.Errorf("it imports %q from %q: an extension gets nothing from its host but the functions of %s, which give nothing", name, module, stubModule)
	}
	return nil
}

// What a stub answers, by the numbers of WASI.
const (
	wasiDone        = 0
	wasiBadFile     = 8
	wasiFault       = 21
	wasiInvalid     = 28
	wasiUnsupported = 52
)

const (
	// stubTime is what every clock says, in nanoseconds: nobody can tell how
	// long something took, nor when it was.
	stubTime = 1_000_000_000
	// stubRandom bounds what one call of random_get fills, and stubParts what one
	// of fd_write goes through, so that no call is a long one.
	stubRandom = 64 << 10
	stubParts  = 1024
)

// stub is a function of WASI: what it takes ("i" and "I" for numbers of 32 and
// 64 bits), and what it does. All but proc_exit give a number.
type stub struct {
	params string
	do     func(mod api.Module, stack []uint64, out io.Writer) uint64
}

func answer(n uint64) func(api.Module, []uint64, io.Writer) uint64 {
	return func(api.Module, []uint64, io.Writer) uint64 { return n }
}

// stubs are all the functions that a module may import: there are no files and
// no network, arguments and environment are empty, clocks stand still, and what
// is random is always the same.
var stubs = map[string]stub{
	"args_get":                {"ii", answer(wasiDone)},
	"args_sizes_get":          {"ii", twoZeroes},
	"environ_get":             {"ii", answer(wasiDone)},
	"environ_sizes_get":       {"ii", twoZeroes},
	"clock_res_get":           {"ii", func(mod api.Module, s []uint64, _ io.Writer) uint64 { return put64(mod, s[1], stubTime) }},
	"clock_time_get":          {"iIi", func(mod api.Module, s []uint64, _ io.Writer) uint64 { return put64(mod, s[2], stubTime) }},
	"fd_advise":               {"iIIi", answer(wasiBadFile)},
	"fd_allocate":             {"iII", answer(wasiBadFile)},
	"fd_close":                {"i", answer(wasiBadFile)},
	"fd_datasync":             {"i", answer(wasiBadFile)},
	"fd_fdstat_get":           {"ii", answer(wasiBadFile)},
	"fd_fdstat_set_flags":     {"ii", answer(wasiBadFile)},
	"fd_fdstat_set_rights":    {"iII", answer(wasiBadFile)},
	"fd_filestat_get":         {"ii", answer(wasiBadFile)},
	"fd_filestat_set_size":    {"iI", answer(wasiBadFile)},
	"fd_filestat_set_times":   {"iIIi", answer(wasiBadFile)},
	"fd_pread":                {"iiiIi", answer(wasiBadFile)},
	"fd_prestat_dir_name":     {"iii", answer(wasiBadFile)},
	"fd_prestat_get":          {"ii", answer(wasiBadFile)},
	"fd_pwrite":               {"iiiIi", answer(wasiBadFile)},
	"fd_read":                 {"iiii", answer(wasiBadFile)},
	"fd_readdir":              {"iiiIi", answer(wasiBadFile)},
	"fd_renumber":             {"ii", answer(wasiBadFile)},
	"fd_seek":                 {"iIii", answer(wasiBadFile)},
	"fd_sync":                 {"i", answer(wasiBadFile)},
	"fd_tell":                 {"ii", answer(wasiBadFile)},
	"fd_write":                {"iiii", printed},
	"path_create_directory":   {"iii", answer(wasiBadFile)},
	"path_filestat_get":       {"iiiii", answer(wasiBadFile)},
	"path_filestat_set_times": {"iiiiIIi", answer(wasiBadFile)},
	"path_link":               {"iiiiiii", answer(wasiBadFile)},
	"path_open":               {"iiiiiIIii", answer(wasiBadFile)},
	"path_readlink":           {"iiiiii", answer(wasiBadFile)},
	"path_remove_directory":   {"iii", answer(wasiBadFile)},
	"path_rename":             {"iiiiii", answer(wasiBadFile)},
	"path_symlink":            {"iiiii", answer(wasiBadFile)},
	"path_unlink_file":        {"iii", answer(wasiBadFile)},
	"poll_oneoff":             {"iiii", answer(wasiUnsupported)},
	"proc_exit":               {"i", exits},
	"proc_raise":              {"i", answer(wasiUnsupported)},
	"random_get":              {"ii", sameBytes},
	"sched_yield":             {"", answer(wasiDone)},
	"sock_accept":             {"iii", answer(wasiBadFile)},
	"sock_recv":               {"iiiiii", answer(wasiBadFile)},
	"sock_send":               {"iiiii", answer(wasiBadFile)},
	"sock_shutdown":           {"ii", answer(wasiBadFile)},
}

// serveStubs gives the module those stubs that it imports.
func serveStubs(ctx context.Context, rt wazero.Runtime, code wazero.CompiledModule, out io.Writer) error {
	if out == nil {
		out = io.Discard
	}
	host := rt.NewHostModuleBuilder(stubModule)
	var served []string
	for _, f := range code.ImportedFunctions() {
		_, name, _ := f.Import()
		if slices.Contains(served, name) {
			continue
		}
		served = append(served, name)
		s := stubs[name]
		do := s.do
		results := i32
		if name == "proc_exit" {
			results = nil
		}
		host = host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, mod api.Module, stack []uint64) {
			n := do(mod, stack, out)
			if len(stack) > 0 {
				stack[0] = n
			}
		}), s.valueTypes(), results).Export(name)
	}
	if len(served) == 0 {
		return nil
	}
	if _, err := host.Instantiate(ctx); err != nil {
		return fmt.Errorf("%s: %w", stubModule, err)
	}
	return nil
}

func (s stub) valueTypes() []api.ValueType {
	var list []api.ValueType
	for _, c := range s.params {
		if c == 'I' {
			list = append(list, api.ValueTypeI64)
			continue
		}
		list = append(list, api.ValueTypeI32)
	}
	return list
}

func address(v uint64) uint32 { return api.DecodeU32(v) }

// put64 puts a number into the guest's memory.
func put64(mod api.Module, at, n uint64) uint64 {
	if !mod.Memory().WriteUint64Le(address(at), n) {
		return wasiFault
	}
	return wasiDone
}

// twoZeroes says that a list has no items, of no bytes.
func twoZeroes(mod api.Module, stack []uint64, _ io.Writer) uint64 {
	memory := mod.Memory()
	if !memory.WriteUint32Le(address(stack[0]), 0) || !memory.WriteUint32Le(address(stack[1]), 0) {
		return wasiFault
	}
	return wasiDone
}

// sameBytes fills memory with what is the same each time.
func sameBytes(mod api.Module, stack []uint64, _ io.Writer) uint64 {
	n := address(stack[1])
	if n > stubRandom {
		return wasiInvalid
	}
	b, ok := mod.Memory().Read(address(stack[0]), n)
	if !ok {
		return wasiFault
	}
	for i := range b {
		b[i] = byte(i + 1)
	}
	return wasiDone
}

// printed takes what the guest prints on its two outputs.
func printed(mod api.Module, stack []uint64, out io.Writer) uint64 {
	file, list, n := address(stack[0]), address(stack[1]), address(stack[2])
	if file != 1 && file != 2 {
		return wasiBadFile
	}
	if n > stubParts {
		return wasiInvalid
	}
	memory := mod.Memory()
	parts, ok := memory.Read(list, n*8)
	if !ok {
		return wasiFault
	}
	total := uint64(0)
	for ; len(parts) > 0; parts = parts[8:] {
		text, ok := memory.Read(binary.LittleEndian.Uint32(parts), binary.LittleEndian.Uint32(parts[4:]))
		if !ok {
			return wasiFault
		}
		total += uint64(len(text))
		_, _ = out.Write(text) // the guest cannot do anything about it
	}
	if !memory.WriteUint32Le(address(stack[3]), uint32(min(total, 1<<31))) {
		return wasiFault
	}
	return wasiDone
}

// exits ends the instance, as a trap does.
func exits(_ api.Module, stack []uint64, _ io.Writer) uint64 {
	panic(sys.NewExitError(address(stack[0])))
}

// signature writes the type of a function as the text format does.
func signature(params, results []api.ValueType) string {
	names := func(types []api.ValueType) string {
		list := make([]string, 0, len(types))
		for _, t := range types {
			list = append(list, api.ValueTypeName(t))
		}
		return "(" + strings.Join(list, " ") + ")"
	}
	return names(params) + "->" + names(results)
}

func equal(a, b []api.ValueType) bool { return slices.Equal(a, b) }
