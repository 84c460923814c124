package policyvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sections of a module and kinds of what it imports and exports, as the
// specification of WebAssembly numbers them.
const (
	sectionType   = 1
	sectionImport = 2
	sectionTable  = 4
	sectionMemory = 5
	sectionExport = 7

	kindFunction = 0
	kindMemory   = 2

	typeFunction = 0x60
	typeI32      = 0x7f
	typeFuncref  = 0x70
)

// maxTable bounds the table of a module: a policy's holds its functions, and
// the memory for it is not part of the memory of an instance.
const maxTable = 1 << 16

var magic = []byte("\x00asm\x01\x00\x00\x00")

// errTruncated means that a module ends in the middle.
var errTruncated = errors.New("is no WebAssembly module: it is truncated")

// checkModule refuses what the runtime would set memory aside for, beside the
// memory of an instance.
func checkModule(b []byte) error {
	rest, ok := bytes.CutPrefix(b, magic)
	if !ok {
		return errors.New("is no WebAssembly module of version 1")
	}
	for len(rest) > 0 {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) { //nolint:gosec // G115: n bytes of rest were read
			return errTruncated
		}
		section := rest[1+n:][:size]
		rest = rest[1+n:][size:]
		if id == sectionTable {
			if err := checkTables(section); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkTables(b []byte) error {
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return errTruncated
	}
	if count > 1 {
		return fmt.Errorf("has %d tables, want one at most", count)
	}
	if count == 0 {
		return nil
	}
	b = b[n:]
	if len(b) < 2 || b[0] != typeFuncref {
		return errors.New("has a table that does not hold functions")
	}
	size, n := binary.Uvarint(b[2:])
	if n <= 0 {
		return errTruncated
	}
	if size > maxTable {
		return fmt.Errorf("has a table of %d elements, want %d at most", size, maxTable)
	}
	return nil
}

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
