package extension

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// guestMemory is the memory of a guest.
type guestMemory []byte

func (m guestMemory) Read(at, n uint32) ([]byte, bool) {
	if uint64(at)+uint64(n) > uint64(len(m)) {
		return nil, false
	}
	return m[at : at+n], true
}

// FuzzResult reads results from memory that a guest has filled. What is taken
// is within memory and limit, is JSON as the standard library reads it, is of
// the declared type, and is left alone by what the guest writes later.
func FuzzResult(f *testing.F) {
	for _, text := range []string{
		`true`, `{"a": [1, 2.5e3, -0, null], "b": "\u00e4\ud83d\ude00"}`, `{"a": 1, "a": 2}`, `"\ud800"`, `1e999`, `[`, "\xff", `01`, `"` + "\x01" + `"`,
		strings.Repeat("[", 70) + strings.Repeat("]", 70), ``, ` [ ] `, `1 2`, `{"a"}`, `-`, `"\`, `nul`, `{"":{"":{}}}`,
	} {
		f.Add(uint64(len(text)), []byte(text), uint8(0))
	}
	f.Add(uint64(0xffffffff_00000001), []byte(`1`), uint8(1))
	f.Add(uint64(1)<<32|3, []byte(` {} `), uint8(5))
	f.Fuzz(func(t *testing.T, packed uint64, mem []byte, kind uint8) {
		const most = 256
		want := types[int(kind)%len(types)]
		v, err := decodeResult(guestMemory(mem), packed, want, most)
		if err != nil {
			return
		}
		at, n := packed>>32, packed&0xffffffff
		if at+n > uint64(len(mem)) || n > most {
			t.Fatalf("took %d bytes at %d of a memory of %d", n, at, len(mem))
		}
		text := bytes.Clone(mem[at : at+n])
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		var std any
		if err := dec.Decode(&std); err != nil || !json.Valid(text) {
			t.Fatalf("%q is not JSON: %v", text, err)
		}
		clear(mem)
		if !reflect.DeepEqual(v, std) {
			t.Fatalf("%q is %#v, and %#v to the standard library", text, v, std)
		}
		if got := typeOf(v); want != Any && got != want {
			t.Fatalf("%q is of type %s, want %s", text, got, want)
		}
	})
}

// FuzzManifest reads manifests. What is taken has a meaning within the limits,
// and is read the same after it was written.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version": 1, "name": "a", "functions": {"f": {"args": ["any", "null"], "result": "string", "pure": true}}}`))
	f.Add([]byte(`{"version": 1, "name": "a", "description": "d", "sha256": "` + strings.Repeat("0f", 32) + `", "limits": {"pages": 4096, "milliseconds": 1000, "result_bytes": 1048576},
		"functions": {"f": {"args": [], "result": "any", "pure": false, "description": "\n"}}}`))
	f.Add([]byte(`{"version": 1.0, "name": "A", "limits": {"pages": 0}, "functions": {}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseManifest(text)
		if err != nil {
			if !reflect.DeepEqual(m.Functions, map[string]Function(nil)) {
				t.Fatalf("%q is refused and gives functions", text)
			}
			return
		}
		l := m.Limits
		if l.Pages < 1 || l.Pages > maxLimits.Pages || l.Time < time.Millisecond || l.Time > maxLimits.Time || l.ResultBytes < 1 || l.ResultBytes > maxLimits.ResultBytes {
			t.Fatalf("%q has the limits %+v", text, l)
		}
		if CheckName(m.Name) != nil || len(m.Functions) == 0 || m.SHA256 != "" && len(m.SHA256) != 64 {
			t.Fatalf("%q gives %+v", text, m)
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		n, err := ParseManifest(again)
		if err != nil && len(again) <= MaxManifestBytes || err == nil && !reflect.DeepEqual(m, n) {
			t.Fatalf("%q is %+v, and %+v after it was written: %v", text, m, n, err)
		}
		if m.verify(text) == nil {
			t.Fatalf("%q names the hash of itself", text)
		}
	})
}

// FuzzCode runs functions of any bytes. One that is loaded ends when its time
// has come, whatever it does, and has no more memory than it may.
func FuzzCode(f *testing.F) {
	for _, code := range [][]byte{
		{0x03, 0x40, 0x0c, 0, 0x0b},                                        // spins
		{0x20, 0, 0x20, 1, 0x10, 1, 0x1a, 0x20, 0, 0x20, 1, 0x10, 1, 0x1a}, // recurses
		{0x41, 1, 0x40, 0, 0x1a},
		{0x41, 0, 0x41, 0, 0x3f, 0, 0x41, 16, 0x74, 0xfc, 11, 0},
		{0x41, 0, 0x41, 0, 0x41, 0, 0x11, 0, 0, 0x1a},
		{0x41, 0, 0x24, 0, 0x20, 0, 0x20, 1, 0x10, 1, 0x1a}, // recurses and names what counts it
		{0x10, 3, 0x20, 0, 0x20, 1, 0x10, 1, 0x1a},
		{0x41, 0, 0x41, 0, 0x11, 2, 0, 0x02, 2, 0x0b},
		{0xfd, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a},
	} {
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 1<<10 {
			return
		}
		// alloc and f, and code of f before what gives its result.
		body := append(append([]byte{0}, code...), 0x42, 0, 0x0b)
		bodies := append([]byte{2, 5, 0, 0x41, 0x80, 8, 0x0b}, append(binary.AppendUvarint(nil, uint64(len(body))), body...)...)
		module := []byte("\x00asm\x01\x00\x00\x00")
		for _, s := range []struct {
			id      byte
			content []byte
		}{
			{1, []byte{2, 0x60, 2, 0x7f, 0x7f, 1, 0x7e, 0x60, 1, 0x7f, 1, 0x7f}},
			{3, []byte{2, 1, 0}},
			{4, []byte{1, 0x70, 0, 2}},
			{5, []byte{1, 0, 1}},
			{7, []byte("\x03\x06memory\x02\x00\x05alloc\x00\x00\x01f\x00\x01")},
			{9, []byte{1, 0, 0x41, 0, 0x0b, 1, 1}},
			{10, bodies},
		} {
			module = append(binary.AppendUvarint(append(module, s.id), uint64(len(s.content))), s.content...)
		}
		m, err := Load(context.Background(), Manifest{
			Name: "m", SHA256: Sum(module), Limits: Limits{Pages: 8, Time: 20 * time.Millisecond, ResultBytes: 64},
			Functions: map[string]Function{"f": {Result: Any}},
		}, module, Config{Instances: 1})
		if err != nil {
			return
		}
		defer m.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 2 {
				_, _ = m.Call(context.Background(), "f", []byte(`[]`)) // that it returns is the point
			}
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatalf("% x does not end", code)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, in := range m.idle {
			if size := in.mod.Memory().Size(); size > 8<<16 {
				t.Fatalf("% x has %d bytes", code, size)
			}
		}
	})
}
