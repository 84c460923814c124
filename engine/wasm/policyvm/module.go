package policyvm

import (
	"bytes"
	"encoding/binary"
)

var magic = []byte("\x00asm\x01\x00\x00\x00")

// Sections of a module and kinds of what it imports and exports, as the
// specification of WebAssembly numbers them.
const (
	sectionType   = 1
	sectionImport = 2
	sectionMemory = 5
	sectionExport = 7

	kindFunction = 0
	kindMemory   = 2

	typeFunction = 0x60
	typeI32      = 0x7f
)

// environment returns the module "env": a memory of at least and at most so
// many pages, and the functions of the host.
func environment(pages, limit uint32) []byte {
	var types, imports, exports []byte
	count := uint64(len(hostFunctions))
	exports = appendName(exports, "memory")
	exports = append(exports, kindMemory, 0)
	for i, f := range hostFunctions {
		index := uint64(i)
		types = append(types, typeFunction)
		types = binary.AppendUvarint(types, uint64(f.params)) //nolint:gosec // G115: at most six
		types = append(types, bytes.Repeat([]byte{typeI32}, f.params)...)
		if f.result {
			types = append(types, 1, typeI32)
		} else {
			types = append(types, 0)
		}
		imports = appendName(imports, hostModule)
		imports = appendName(imports, f.name)
		imports = append(imports, kindFunction)
		imports = binary.AppendUvarint(imports, index)
		exports = appendName(exports, f.name)
		exports = append(exports, kindFunction)
		exports = binary.AppendUvarint(exports, index)
	}
	memory := binary.AppendUvarint([]byte{1}, uint64(pages)) // with a limit
	memory = binary.AppendUvarint(memory, uint64(limit))

	b := bytes.Clone(magic)
	b = appendSection(b, sectionType, count, types)
	b = appendSection(b, sectionImport, count, imports)
	b = appendSection(b, sectionMemory, 1, memory)
	return appendSection(b, sectionExport, count+1, exports)
}

func appendSection(b []byte, id byte, count uint64, entries []byte) []byte {
	body := append(binary.AppendUvarint(nil, count), entries...)
	b = binary.AppendUvarint(append(b, id), uint64(len(body)))
	return append(b, body...)
}

func appendName(b []byte, name string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(name))), name...)
}
