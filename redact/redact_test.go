package redact_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"opencode/redact"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

func TestTokens(t *testing.T) {
	t.Parallel()
	r, rd := source(1), redact.New(redact.Config{})
	all, missed := 0, 0
	for _, s := range tokens() {
		for _, context := range contexts() {
			value := s.make(r)
			in := strings.ReplaceAll(context, "§", value)
			got, n := rd.Count(in)
			all++
			if strings.Contains(got, value) || n != 1 || !keeps(got, context) {
				missed++
				t.Errorf("%s: Count(%q) = %q, %d", s.kind, in, got, n)
			}
		}
	}
	t.Logf("%d of %d tokens found", all-missed, all)
}

// keeps reports whether what is around the secret is still there.
func keeps(got, context string) bool {
	before, after, _ := strings.Cut(context, "§")
	return strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
}

func TestAssigned(t *testing.T) {
	t.Parallel()
	r, rd := source(2), redact.New(redact.Config{})
	all, missed := 0, 0
	for _, context := range assigned() {
		for range 10 {
			for _, value := range values(r) {
				in := strings.ReplaceAll(context, "§", value)
				got, n := rd.Count(in)
				all++
				if strings.Contains(got, value) || n != 1 {
					missed++
					t.Errorf("Count(%q) = %q, %d", in, got, n)
				}
			}
		}
	}
	t.Logf("%d of %d values found", all-missed, all)
}

// TestChosen has what people choose.
func TestChosen(t *testing.T) {
	t.Parallel()
	rd := redact.New(redact.Config{})
	for _, in := range []string{
		"DB_PASSWORD=§", "password: §", "\"password\": \"§\"", "password='§'", "mysql://root:§@db/x", "MYSQL_ROOT_PASSWORD: §", "--password=§", "<password>§</password>",
	} {
		for _, value := range []string{"hunt" + "er2", "S3cr" + "et!x", "p4ss" + ".w0rd#9", "corr" + "ecthorse", "tr0ub" + "4dor&3"} {
			text := strings.ReplaceAll(in, "§", value)
			if got := rd.String(text); strings.Contains(got, value) {
				t.Errorf("String(%q) = %q", text, got)
			}
		}
	}
}

func TestLookalikes(t *testing.T) {
	t.Parallel()
	rd := redact.New(redact.Config{})
	all, wrong := 0, 0
	for seed := range uint64(20) {
		for _, in := range lookalikes(source(seed)) {
			for _, in := range []string{in, in + "\n", "+" + in + "\n"} {
				all++
				if got := rd.String(in); got != in {
					wrong++
					t.Errorf("String(%q) = %q, want it unchanged", in, got)
				}
			}
		}
	}
	t.Logf("%d false alarms in %d", wrong, all)
}

func key(r *rand.Rand, label string, lines int) string {
	var b strings.Builder
	b.WriteString("-----BEGIN " + label + "-----\n")
	for range lines {
		b.WriteString(draw(r, base64s, 64) + "\n")
	}
	b.WriteString(draw(r, base64s, 22) + "==\n-----END " + label + "-----")
	return b.String()
}

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	r, rd := source(3), redact.New(redact.Config{})
	for _, label := range []string{"RSA " + "PRIVATE KEY", "PRIVATE" + " KEY", "OPENSSH " + "PRIVATE KEY", "EC " + "PRIVATE KEY", "PGP " + "PRIVATE KEY BLOCK"} {
		text := key(r, label, 25)
		for name, row := range map[string]struct{ in, want string }{
			"alone":     {text, "[redacted:private-key]"},
			"in text":   {"a\n" + text + "\nb c\n", "a\n[redacted:private-key]\nb c\n"},
			"escaped":   {`{"k":"` + strings.ReplaceAll(text, "\n", `\n`) + `\n","n":1}`, `{"k":"[redacted:private-key]\n","n":1}`},
			"indented":  {"k: |\n  " + strings.ReplaceAll(text, "\n", "\n  ") + "\nn: 1\n", "k: |\n  [redacted:private-key]\nn: 1\n"},
			"diff":      {"+" + strings.ReplaceAll(text, "\n", "\n+") + "\n x y\n", "+[redacted:private-key]\n x y\n"},
			"in env":    {"KEY=\"" + text + "\"\nA=b\n", "KEY=\"[redacted:private-key]\"\nA=b\n"},
			"secret":    {"PRIVATE_KEY=\"" + text + "\"\nA=b\n", "PRIVATE_KEY=\"[redacted:private-key]\"\nA=b\n"},
			"cut off":   {text[:200] + "\ntotal 12 files\n", "[redacted:private-key]total 12 files\n"},
			"encrypted": {strings.Replace(text, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1), "[redacted:private-key]"},
			"base 64":   {"d: " + base64.StdEncoding.EncodeToString([]byte(text)) + "\n", "d: [redacted:private-key]\n"},
			"one line":  {strings.ReplaceAll(text, "\n", " ") + " x\n", "[redacted:private-key] x\n"},
		} {
			if got := rd.String(row.in); got != row.want {
				t.Errorf("%s, %s: got %q, want %q", label, name, got, row.want)
			}
		}
	}
}

func TestKnown(t *testing.T) {
	t.Parallel()
	values := []string{"correct horse \"battery\"", "plainwords", "short", strings.Repeat("0123456789abcdef", 200)}
	rd := redact.New(redact.Config{Known: func() []string { return values }})
	for _, value := range values {
		for _, in := range []string{value, "a" + value + "b", base64.StdEncoding.EncodeToString([]byte(value)), url.QueryEscape(value), "\x1b[1m" + value} {
			got, n := rd.Count(in)
			if want := len(value) >= redact.MinKnown; want && strings.Contains(got, value) || (n > 0) != want {
				t.Errorf("Count(%q) = %q, %d", in, got, n)
			}
		}
	}
	values = []string{"another"}
	if got := rd.String("plainwords another"); got != "plainwords [redacted:known]" {
		t.Errorf("after a change: %q", got)
	}
}

func TestAgain(t *testing.T) {
	t.Parallel()
	r, rd := source(4), redact.New(redact.Config{})
	for _, context := range append(contexts(), assigned()...) {
		once := rd.String(strings.ReplaceAll(context, "§", "gh"+"p_"+draw(r, alnums, 36)))
		if twice := rd.String(once); twice != once {
			t.Errorf("redacted again %q = %q", once, twice)
		}
	}
}

// inPieces writes a text in pieces of the given sizes in turn.
func inPieces(t *testing.T, rd *redact.Redactor, in string, sizes ...int) (string, int) {
	t.Helper()
	var out bytes.Buffer
	w := rd.Writer(&out)
	for i := 0; len(in) > 0; i++ {
		n := min(max(sizes[i%len(sizes)], 1), len(in))
		if m, err := io.WriteString(w, in[:n]); err != nil || m != n {
			t.Fatalf("Write = %d, %v", m, err)
		}
		in = in[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String(), w.Redacted()
}

func TestPieces(t *testing.T) {
	t.Parallel()
	r := source(5)
	rd := redact.New(redact.Config{Known: func() []string { return []string{"known value 1", "known value 12"} }})
	var b strings.Builder
	for i, s := range tokens() {
		b.WriteString(strings.ReplaceAll(contexts()[i%len(contexts())], "§", s.make(r)))
		b.WriteString(strings.ReplaceAll(assigned()[i%len(assigned())], "§", draw(r, alnums, 30)))
		b.WriteString(key(r, "PRIVATE"+" KEY", 3) + "\nand known value 12\n")
		b.WriteString(lookalikes(r)[i])
	}
	in := b.String()
	want, n := rd.Count(in)
	for _, sizes := range [][]int{{1}, {2}, {3, 1}, {7}, {64}, {1000, 1}, {4096}, {70000}} {
		got, m := inPieces(t, rd, in, sizes...)
		if got != want || m != n {
			t.Errorf("in pieces of %v: %d found, want %d\n%s", sizes, m, n, firstDifference(got, want))
		}
	}
}

func firstDifference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return "got  …" + a[from:min(len(a), i+80)] + "\nwant …" + b[from:min(len(b), i+80)]
}

func TestWriterHoldsBackNothingButWhatMayBeSecret(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := redact.New(redact.Config{}).Writer(&out)
	for _, line := range []string{"building…\n", "done in 3 s\n", "a: b\n"} {
		out.Reset()
		if _, err := io.WriteString(w, line); err != nil || out.String() != line {
			t.Errorf("after %q: %q, %v", line, out.String(), err)
		}
	}
}

func TestWriterStopsAtAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	w := redact.New(redact.Config{}).Writer(writerFunc(func([]byte) (int, error) { return 0, broken }))
	if _, err := io.WriteString(w, "a line\n"); !errors.Is(err, broken) {
		t.Errorf("Write = %v, want %v", err, broken)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close = %v, want %v", err, broken)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
