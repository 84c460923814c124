package redact_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"opencode/redact"
)

func BenchmarkWriter(b *testing.B) {
	r := source(8)
	rd := redact.New(redact.Config{Known: func() []string { return []string{draw(source(9), alnums, 40), draw(source(10), alnums, 40)} }})
	var secrets strings.Builder
	for _, context := range assigned() {
		secrets.WriteString(strings.ReplaceAll(context, "§", draw(r, alnums, 32)) + "\n")
	}
	for _, row := range []struct{ name, text string }{
		{"build log", "ok  \topencode/agent/tool\t1.234s  coverage: 91.2% of statements\n--- PASS: TestX (0.00s)\n# github.com/x/y\nCC main.o -I/usr/include -O2 -Wall\n"},
		{"code", "func (s *Server) handle(w http.ResponseWriter, r *http.Request) error {\n\tif s.token == \"\" {\n\t\treturn fmt.Errorf(\"session %q: %w\", id, err)\n\t}\n\tx := map[string]int{\"a\": 1, \"b\": 2}\n"},
		{"json", `{"id":"ses_01ABCDEF","time":{"created":1700000000000,"updated":1700000000001},"title":"fix the build","version":"0.1.0","tokens":{"input":12,"output":34}}` + "\n"},
		{"base64", draw(r, base64s, 4096) + "\n"},
		{"prose", plainLines},
		{"secrets", secrets.String()},
		{"dashes", strings.Repeat("-", 4096)},
		{"prefixes", strings.Repeat("sk-", 4096)},
		{"quotes", strings.Repeat(`password="\`, 1024)},
		{"colons", strings.Repeat("://a:", 1024)},
	} {
		b.Run(row.name, func(b *testing.B) {
			in := strings.Repeat(row.text, 1+(1<<20)/len(row.text))
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				w := rd.Writer(io.Discard)
				if _, err := io.WriteString(w, in); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkString(b *testing.B) {
	rd := redact.New(redact.Config{})
	line := fmt.Sprintf("time=2026-01-01T00:00:00Z level=INFO msg=%q session=ses_1 effect=allow", "decision")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		rd.String(line)
	}
}
