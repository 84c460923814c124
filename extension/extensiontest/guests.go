package extensiontest

import (
	"bytes"

	"opencode/extension"
)

// Hostile is a module whose functions each do something else that a guest
// should not, by their names:
//
//	fine       gives true
//	echo       gives its arguments
//	traps      runs into an instruction that cannot be reached
//	spins      loops without end
//	recurses   calls itself twice, sixty deep, without a loop
//	sinks      calls itself without end
//	fills      fills all of its memory, over and over, without a loop
//	hoards     asks for memory until there is none, and traps then
//	outside    says that its result is where no memory is
//	endless    says that its result is 4 GiB long
//	garbage    gives what is not JSON
//	text       gives a string
//	counts     gives how often it was called: 1, 2, ..., 9
func Hostile() Module {
	const recurses, sinks, fill, fillMore = 1, 2, 3, 4 // after alloc
	data := `true x "no" `
	// All of memory: memory.size << 16 bytes.
	fillAll := []byte{0x41, 0, 0x41, 0, 0x3f, 0, 0x41, 16, 0x74, 0xfc, 11, 0}
	return Module{
		Data: data, Globals: 1, Pages: 16,
		Funcs: []Func{
			Alloc(),
			{Params: []byte{I32}, Code: Cat(
				[]byte{0x20, 0, 0x45, 0x04, 0x40, 0x0f, 0x0b}, // if it is zero, return
				[]byte{0x20, 0, 0x41, 1, 0x6b, 0x10, recurses},
				[]byte{0x20, 0, 0x41, 1, 0x6b, 0x10, recurses},
			)},
			{Code: []byte{0x10, sinks}},
			{Code: bytes.Repeat(fillAll, 100)},
			{Code: bytes.Repeat([]byte{0x10, fill}, 1000)},
			Exported("fine", Result(DataAt, 4)),
			Echo("echo"),
			Exported("traps", []byte{0x00}),
			Exported("spins", []byte{0x03, 0x40, 0x0c, 0, 0x0b}, Result(DataAt, 4)),
			Exported("recurses", []byte{0x41, 60, 0x10, recurses}, Result(DataAt, 4)),
			Exported("sinks", []byte{0x10, sinks}, Result(DataAt, 4)),
			Exported("fills", bytes.Repeat([]byte{0x10, fillMore}, 1000), Result(DataAt, 4)),
			Exported("hoards", []byte{0x03, 0x40, 0x41, 1, 0x40, 0, 0x41, 0x7f, 0x47, 0x0d, 0, 0x0b, 0x00}),
			Exported("outside", Result(0xffff0000, 4)),
			Exported("endless", Result(DataAt, 0xffffffff)),
			Exported("garbage", Result(DataAt+5, 1)),
			Exported("text", Result(DataAt+7, 4)),
			Exported("counts",
				[]byte{0x23, 0, 0x41, 1, 0x6a, 0x24, 0},                          // one more
				[]byte{0x41, 0x80, 4, 0x23, 0, 0x41, 48, 0x6a, 0x3a, 0x00, 0x00}, // its digit, at 512
				Result(512, 1)),
		},
	}
}

// HostileResults are the results that the functions of [Hostile] declare.
func HostileResults() map[string]extension.Type {
	return map[string]extension.Type{
		"fine": extension.Boolean, "echo": extension.Array, "traps": extension.Boolean, "spins": extension.Boolean,
		"recurses": extension.Boolean, "sinks": extension.Boolean, "fills": extension.Boolean, "hoards": extension.Boolean,
		"outside": extension.Boolean, "endless": extension.Boolean, "garbage": extension.Boolean, "text": extension.Boolean,
		"counts": extension.Number,
	}
}
