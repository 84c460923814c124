package guard

import "bytes"

// guardedCode is where instructions are written with ours between them.
type guardedCode struct {
	w                    *bytes.Buffer
	before, after, pause []byte // calls of ours
}

// Instructions whose place matters.
const (
	opElse         = 0x05
	opBlock        = 0x02
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opCallIndirect = 0x11
	opRefFunc      = 0xd2
	prefixMisc     = 0xfc
	prefixVector   = 0xfd
)

// heavyBlocks is how many blocks an instruction on much memory is compiled to,
// at most.
const heavyBlocks = 8

// expression reads instructions up to the end of the outermost block. With out
// it writes them too. It returns how many blocks and branches there were.
func (r *reader) expression(out *guardedCode) (blocks uint64) {
	for depth := 1; depth > 0 && r.err == nil; {
		begin := r.at
		op := r.byte()
		heavy := r.immediates(op)
		if heavy {
			blocks += heavyBlocks
		}
		switch op {
		case opBlock, opLoop, opIf:
			depth++
			blocks++
		case opBrIf, opBrTable:
			blocks++
		case opEnd:
			depth--
		}
		if out == nil || r.err != nil {
			continue
		}
		isCall := op == opCall || op == opCallIndirect
		switch {
		case isCall:
			out.w.Write(out.before)
		case heavy:
			out.w.Write(out.pause)
		}
		out.w.Write(r.b[begin:r.at])
		if isCall {
			out.w.Write(out.after)
		}
	}
	return blocks
}

// immediates reads what follows the byte of an instruction of Wasm 2.0. It
// reports whether the instruction can work on much memory.
func (r *reader) immediates(op byte) (heavy bool) {
	switch {
	case op == opBlock, op == opLoop, op == opIf:
		r.blockType()
	case op == 0x0c, op == opBrIf, 0x20 <= op && op <= 0x22, op == 0x25, op == 0x26:
		r.u32() // a label, a variable of the function or a table
	case op == opCall, op == opRefFunc:
		r.functionIndex()
	case op == opGlobalGet, op == opGlobalSet:
		r.globalIndex()
	case op == opBrTable:
		r.vector(func() { r.u32() })
		r.u32()
	case op == opCallIndirect:
		r.typeIndex()
		r.u32()
	case op == 0x1c:
		r.vector(r.valueType)
	case 0x28 <= op && op <= 0x3e:
		r.memoryArgument()
	case op == 0x3f, op == 0x40: // memory.size, memory.grow
		r.zero()
		return op == 0x40
	case op == 0xd0:
		r.valueType()
	case op == opI32Const:
		r.signed(5)
	case op == 0x42:
		r.signed(10)
	case op == 0x43:
		r.bytes(4)
	case op == 0x44:
		r.bytes(8)
	case op == prefixMisc:
		return r.misc()
	case op == prefixVector:
		r.vectorInstruction()
	case op == opUnreachable, op == 0x01, op == opElse, op == opEnd, op == 0x0f, op == 0x1a, op == 0x1b, 0x45 <= op && op <= 0xc4, op == 0xd1:
	default:
		r.fail("the instruction 0x%02x is not one of Wasm 2.0", op)
	}
	return false
}

func (r *reader) memoryArgument() {
	r.u32()
	r.u32()
}

// short reads the number of an instruction after its prefix, in its shortest
// form. Compilers of Wasm differ in how they read a longer one, and one that
// read it as another instruction would be out of step with what is read here.
func (r *reader) short() uint32 {
	begin := r.at
	n := r.u32()
	if want := len(appendU32(nil, uint64(n))); r.err == nil && r.at-begin != want {
		r.fail("the number of an instruction has more bytes than it needs")
	}
	return n
}

// misc reads the instructions on whole parts of memory and of tables.
func (r *reader) misc() (heavy bool) {
	switch op := r.short(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7:
	case 8: // memory.init
		r.u32()
		r.zero()
		return true
	case 9, 13, 16: // data.drop, elem.drop, table.size
		r.u32()
	case 10: // memory.copy
		r.zero()
		r.zero()
		return true
	case 11: // memory.fill
		r.zero()
		return true
	case 12, 14: // table.init, table.copy
		r.u32()
		r.u32()
		return true
	case 15:
		r.fail("it uses table.grow, which takes memory that no limit holds")
	case 17: // table.fill
		r.u32()
		return true
	default:
		r.fail("the instruction 0xfc %d is not one of Wasm 2.0", op)
	}
	return false
}

// vectorInstruction reads the rest of an instruction on vectors.
func (r *reader) vectorInstruction() {
	switch op := r.short(); {
	case op <= 11, op == 92, op == 93:
		r.memoryArgument()
	case op == 12, op == 13:
		r.bytes(16)
	case 21 <= op && op <= 34:
		r.byte()
	case 84 <= op && op <= 91:
		r.memoryArgument()
		r.byte()
	case op > 255:
		r.fail("the instruction 0xfd %d is not one of Wasm 2.0", op)
	}
}
