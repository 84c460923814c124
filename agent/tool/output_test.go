package tool

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func collect(limit int, parts ...[]byte) *output {
	o := newOutput(limit)
	for _, p := range parts {
		_, _ = o.Write(p)
	}
	o.finish()
	return o
}

func TestOutputText(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		limit int
		in    string
		want  string
	}{
		{"nothing", 4, "", ""},
		{"exactly the limit", 4, "abcd", "abcd"},
		{"one more", 4, "abcde", "ab\n[output cut: 5 bytes in all, 4 kept]\nde"},
		{"head ends a line", 4, "a\nbcde", "a\n[output cut: 6 bytes in all, 4 kept]\nde"},
		{"one byte", 1, "abc", "a\n[output cut: 3 bytes in all, 1 kept]\n"},
		{"character over the middle", 6, "abééf", "ab\n[output cut: 7 bytes in all, 5 kept]\néf"},
		{"character over the middle, nothing cut", 7, "abcé12", "abcé12"},
		{"no character fits", 2, "日本", "\n[output cut: 6 bytes in all, 0 kept]\n"},
		{"invalid", 10, "a\xffb", "a\uFFFDb"},
		{"unfinished", 10, "a\xe6\x97", "a\uFFFD"},
		{"invalid counts with what replaces it", 4, "\xff.\xff.", "\n[output cut: 4 bytes in all, 1 kept]\n."},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := strings.TrimPrefix(test.want, "\n")
			if got, _ := collect(test.limit, []byte(test.in)).text(); got != want {
				t.Errorf("text(%q) = %q, want %q", test.in, got, want)
			}
		})
	}
}

// FuzzOutput compares with an oracle that keeps everything.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("hello"), 3, 2)
	f.Add([]byte("日本語\xff\xe6\x97日本語"), 7, 1)
	f.Add(bytes.Repeat([]byte("é\n"), 100), 31, 5)
	f.Add([]byte("\xf0\x9f\x98\x80\xf0\x9f"), 4, 3)
	f.Fuzz(func(t *testing.T, in []byte, limit, step int) {
		if limit < 1 || limit > 1<<16 || step < 1 {
			return
		}
		o := newOutput(limit)
		for part := range bytesChunk(in, step) {
			_, _ = o.Write(part)
			if n := len(o.head) + len(o.tail); n > limit {
				t.Fatalf("%d bytes held, want at most %d", n, limit)
			}
		}
		o.finish()
		got, truncated := o.text()
		if !utf8.ValidString(got) || o.written() != int64(len(in)) {
			t.Fatalf("text = %q of %d bytes", got, o.written())
		}
		// However it is cut, what is not UTF-8 becomes at least one U+FFFD, so
		// compare without those.
		all := plain(string(in))
		if !truncated {
			if plain(got) != all {
				t.Fatalf("text = %q, want %q", got, in)
			}
			return
		}
		var total, kept int
		head, rest, ok := strings.Cut(got, "[output cut: ")
		notice, tail, ok2 := strings.Cut(rest, "]\n")
		if n, err := fmt.Sscanf(notice, "%d bytes in all, %d kept", &total, &kept); !ok || !ok2 || n != 2 || err != nil {
			if bytes.Contains(in, []byte("[output cut")) {
				return
			}
			t.Fatalf("text = %q, want a notice", got)
		}
		if kept > limit || total != len(in) || len(head)+len(tail) > limit+1 {
			t.Fatalf("text = %q, limit %d", got, limit)
		}
		if !strings.HasPrefix(all, plain(head)) && !strings.HasPrefix(all, plain(strings.TrimSuffix(head, "\n"))) || !strings.HasSuffix(all, plain(tail)) {
			t.Fatalf("text = %q, want the first and the last part of %q", got, in)
		}
	})
}

func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\uFFFD", "")
}

func bytesChunk(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			k := min(n, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}
