package main

import (
	"encoding/json"
	"unsafe"
)

// arguments and result are what a call and its answer stand in. The host reads
// and writes them by their addresses, so they must not be collected.
var arguments, result []byte

// alloc gives the host room for the arguments of the next call.
//
//go:wasmexport alloc
func alloc(n uint32) uint32 {
	arguments = make([]byte, n)
	return address(arguments)
}

// reset is called after each call and forgets it. Whatever else of a call would
// be left, in a map or in a variable, must be forgotten here as well: the next
// call may belong to somebody else's decision.
//
//go:wasmexport reset
func reset() { arguments, result = nil, nil }

// read reads the arguments of a call, of which there are n bytes. What cannot
// be read denies the decision, as any panic does.
func read(n uint32, into ...any) {
	var list []json.RawMessage
	if err := json.Unmarshal(arguments[:n], &list); err != nil {
		panic(err)
	}
	for i, v := range into {
		if err := json.Unmarshal(list[i], v); err != nil {
			panic(err)
		}
	}
}

// reply answers a call.
func reply(v any) uint64 {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	result = b
	return uint64(address(b))<<32 | uint64(len(b))
}

func address(b []byte) uint32 { return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

func main() {}
