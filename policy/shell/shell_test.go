package shell_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/policy/shell"
)

type example struct{ src, want string }

// examples reads testdata/commands.txt, which explains its format.
func examples(tb testing.TB) []example {
	tb.Helper()
	data, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		tb.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	for strings.HasPrefix(lines[0], "# ") || lines[0] == "#" {
		lines = lines[1:]
	}
	var list []example
	for i := 0; i+1 < len(lines); i += 2 {
		want, ok := strings.CutPrefix(lines[i+1], "\t")
		if !ok {
			tb.Fatalf("commands.txt: no facts after %q", lines[i])
		}
		list = append(list, example{strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(lines[i]), want})
	}
	if len(list) < 300 {
		tb.Fatalf("commands.txt holds %d cases, want more", len(list))
	}
	return list
}

// rewrite writes the facts that are found into testdata/commands.txt.
func rewrite(t *testing.T) {
	t.Helper()
	data, err := os.ReadFile("testdata/commands.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i := 1; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "\t") {
			src := strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(lines[i-1])
			lines[i] = "\t" + facts(shell.Analyze(src))
		}
	}
	if err := os.WriteFile("testdata/commands.txt", []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

// facts writes facts as testdata/commands.txt does.
func facts(c shell.Command) string {
	var parts []string
	mark := func(dynamic bool) string {
		if dynamic {
			return "~"
		}
		return ""
	}
	for _, call := range c.Calls {
		name := call.Name
		if name == "" {
			name = "?"
		}
		if call.Subcommand != "" {
			name += ":" + call.Subcommand
		}
		if len(call.Effects) > 0 {
			name += "!" + strings.Join(call.Effects, "!")
		}
		steps := append(append([]string{}, call.Via...), name+mark(call.Dynamic))
		parts = append(parts, strings.Join(steps, ">"))
	}
	for _, r := range c.Redirects {
		parts = append(parts, r.Op+r.Target+mark(r.Dynamic))
	}
	for _, f := range c.Files {
		if f.Access == "unknown" {
			continue // every argument of curl would be there
		}
		path := f.Path
		if f.Home {
			path = "HOME" + path[1:]
		}
		if f.Glob {
			path = "GLOB " + path
		}
		if f.Recursive {
			path += "/**"
		}
		parts = append(parts, "["+f.Access+" "+path+mark(f.Dynamic)+"]")
	}
	for _, v := range c.Assigns {
		parts = append(parts, v+"=")
	}
	if c.Dynamic {
		parts = append(parts, "DYNAMIC")
	}
	if !c.Parsed {
		parts = append(parts, "UNPARSED")
	}
	return strings.Join(parts, " ")
}

var update = flag.Bool("update", false, "rewrite the facts in testdata/commands.txt")

func TestAnalyze(t *testing.T) {
	t.Parallel()
	if *update {
		rewrite(t)
	}
	for _, e := range examples(t) {
		if got := facts(shell.Analyze(e.src)); got != e.want {
			t.Errorf("Analyze(%q)\n got %s\nwant %s", e.src, got, e.want)
		}
	}
}

// TestAnalyzeAgainstBash holds the table against bash itself: what bash does
// not parse must not count as parsed. One difference is left: the parser takes
// extended patterns, which bash must be told to by shopt -s extglob.
func TestAnalyzeAgainstBash(t *testing.T) {
	t.Parallel()
	bash := findBash(t)
	var script strings.Builder
	list := examples(t)
	for i, e := range list {
		// Texts that are cut off are what a parser is too kind to.
		if i%4 == 0 {
			list = append(list, example{src: strings.ToValidUTF8(e.src[:len(e.src)/2], "")}, example{src: strings.ToValidUTF8(e.src[1:], "")})
		}
	}
	for _, e := range list {
		script.WriteString(bash + " -n -c " + single(e.src) + " 2>/dev/null; echo $?\n")
	}
	cmd := exec.CommandContext(t.Context(), bash, "--norc")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	codes := strings.Fields(string(out))
	if len(codes) != len(list) {
		t.Fatalf("bash judged %d of %d cases", len(codes), len(list))
	}
	for i, e := range list {
		if shell.Analyze(e.src).Parsed && codes[i] != "0" && !strings.Contains(e.src, "!(") {
			t.Errorf("Analyze(%q) is parsed, but bash refuses it", e.src)
		}
	}
}

func single(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func TestAnalyzeCalls(t *testing.T) {
	t.Parallel()
	tests := []struct {
		src  string
		want []shell.Call
	}{
		{`/usr/bin/curl -s "a b" 'it''s'`, []shell.Call{{
			Name: "curl", Argv: []string{"/usr/bin/curl", "-s", "a b", "its"}, Path: "/usr/bin/curl", Via: []string{},
			Text: `/usr/bin/curl -s 'a b' its`,
		}}},
		{`git -C "$d" commit -m "it's" ''`, []shell.Call{{
			Name: "git", Argv: []string{"git", "-C", `"$d"`, "commit", "-m", "it's", ""}, Subcommand: "commit", Dynamic: true, Via: []string{},
			Text: `git -C "$d" commit -m 'it'\''s' ''`,
		}}},
		{`sudo -u bob ./x.sh ~/y`, []shell.Call{
			{Name: "sudo", Argv: []string{"sudo", "-u", "bob", "./x.sh", "~/y"}, Dynamic: true, Via: []string{}, Text: "sudo -u bob ./x.sh ~/y"},
			{Name: "x.sh", Argv: []string{"./x.sh", "~/y"}, Path: "./x.sh", Dynamic: true, Via: []string{"sudo"}, Text: "./x.sh ~/y"},
		}},
		{`a=b; echo $a`, []shell.Call{{Name: "echo", Argv: []string{"echo", "b"}, Via: []string{}, Text: "echo b"}}},
		{`"$HOME/bin/curl" x`, []shell.Call{{
			Name: "curl", Argv: []string{`"$HOME/bin/curl"`, "x"}, Path: `"$HOME/bin/curl"`, Dynamic: true, Via: []string{}, Text: `"$HOME/bin/curl" x`,
		}}},
		{`xargs -n1 rm`, []shell.Call{
			{Name: "xargs", Argv: []string{"xargs", "-n1", "rm"}, Via: []string{}, Text: "xargs -n1 rm"},
			{Name: "rm", Argv: []string{"rm"}, Dynamic: true, Via: []string{"xargs"}, Text: "rm"},
		}},
		{`find . -exec rm {} \;`, []shell.Call{
			{Name: "find", Argv: []string{"find", ".", "-exec", "rm", "{}", ";"}, Via: []string{}, Text: "find . -exec rm '{}' ';'"},
			{Name: "rm", Argv: []string{"rm", "{}"}, Dynamic: true, Via: []string{"find"}, Text: "rm {}"},
		}},
	}
	for _, tt := range tests {
		got := shell.Analyze(tt.src).Calls
		for i := range got {
			// testdata/commands.txt shows these.
			got[i].Effects, got[i].Plain, got[i].Operand = nil, "", ""
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("Analyze(%q).Calls (-want +got):\n%s", tt.src, diff)
		}
	}
}

func TestAnalyzeHasNoNulls(t *testing.T) {
	t.Parallel()
	for _, src := range []string{"", "ls", "\x00", "ls 'x", "> f"} {
		data, err := json.Marshal(shell.Analyze(src))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.NewReplacer(`"problem":null`, "", `"code":null`, "").Replace(string(data)); strings.Contains(got, "null") {
			t.Errorf("Analyze(%q) = %s, want no null list", src, got)
		}
	}
}

func TestAnalyzeBounds(t *testing.T) {
	t.Parallel()
	nest := func(open, middle, shut string, n int) string {
		return strings.Repeat(open, n) + middle + strings.Repeat(shut, n)
	}
	eval := "ls"
	for range 80 {
		eval = "eval " + eval
	}
	var doubling strings.Builder
	doubling.WriteString("x0=aaaaaaaaaaaaaaaa\n")
	for i := range 60 {
		fmt.Fprintf(&doubling, "x%d=$x%d$x%d\n", i+1, i, i)
	}
	tests := []struct{ name, src, problem string }{
		{"too long", "ls " + strings.Repeat("x", 1<<20), "longer than 1 MiB"},
		{"NUL", "ls \x00 curl", "holds a NUL byte"},
		{"invalid UTF-8", "ls \xff", "not valid UTF-8"},
		{"carriage return", "cat <<E\r\nE\n: '\nE\r\ncurl x\n: '\n", "holds a carriage return"},
		{"subshells", nest("(", " ls ", ")", 100), "nested too deeply"},
		{"subshells that would overflow the stack", strings.Repeat("( ", 500_000), "nested too deeply"},
		{"substitutions that would overflow the stack", strings.Repeat("$(", 500_000), "nested too deeply"},
		{"quoted substitutions", strings.Repeat(`"$(`, 300_000), "nested too deeply"},
		{"parentheses hidden behind quotes", strings.Repeat("( ')';", 150_000), "nested too deeply"},
		{"blocks", strings.Repeat("{ ", 500_000), "nested too deeply"},
		{"keywords", strings.Repeat("if ", 300_000), "nested too deeply"},
		{"functions", strings.Repeat("f()", 300_000), "nested too deeply"},
		{"arithmetic", "echo $((" + nest("(", "1", ")", 400_000) + "))", "nested too deeply"},
		{"negated arithmetic", "echo $((" + strings.Repeat("! ", 400_000) + "1))", "nested too deeply"},
		{"parameters", nest("${x:-", "", "}", 100_000), "nested too deeply"},
		{"tests", "[[ " + strings.Repeat("( ", 400_000), "nested too deeply"},
		{"texts within texts", eval, "nested too deeply"},
		{"launchers", strings.Repeat("nice ", 100) + "ls", "nested too deeply"},
		{"constants", "x=" + strings.Repeat("x", 500_000) + "\necho" + strings.Repeat(" $x", 100_000), "expands to too much text"},
		{"doubling constants", doubling.String(), "expands to too much text"},
		{"split strings", "env" + strings.Repeat(" -S a=b", 100_000), "too much text within text"},
		{"heredoc to many shells", "{ " + strings.Repeat("bash;", 1_000) + "} <<EOF\n#" + strings.Repeat("x", 500_000) + "\nEOF", "too much text within text"},
		{"calls", strings.Repeat("a;", 10_001), "runs too many programs"},
		{"files", "cat" + strings.Repeat(" f", 3_000), "names too many files"},
		{"empty elements", "a=(" + strings.Repeat("'' ", 100_000) + "); ls" + strings.Repeat(` "${a[@]}"`, 50_000), "expands to too much text"},
		{"calls of functions", "f() { $1 " + strings.Repeat("x ", 20_000) + "; }; " + strings.Repeat("f a; ", 5_000), "too much text within text"},
		{"calls by aliases", "alias a='b;b' b='c;c' c='d;d' d='e;e' e='f;f' f='g;g' g='h;h' h='i;i' i='j;j' j='k;k' k='l;l' l='m;m' m='n;n' n='o;o' o='ls'; a", "runs too many programs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := shell.Analyze(tt.src)
			if c.Parsed || c.Problem == nil || *c.Problem != tt.problem {
				t.Errorf("parsed %v, problem %v, want %q", c.Parsed, deref(c.Problem), tt.problem)
			}
		})
	}
}

func deref(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// TestAnalyzeLongTexts shows what is long without being deep.
func TestAnalyzeLongTexts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, src string
		calls     int
	}{
		{"and list", "a" + strings.Repeat(" && a", 9_000), 9_001},
		{"pipeline", "a" + strings.Repeat(" | a", 300), 301},
		{"else", "if a; then b; " + strings.Repeat("elif a; then b; ", 500) + "fi", 1002},
		{"sum", "echo $((1" + strings.Repeat("+1", 100_000) + "))", 1},
		{"heredoc", "cat <<EOF\n" + strings.Repeat("curl x\n", 100_000) + "EOF", 1},
		{"arguments", "ls" + strings.Repeat(" x", 200_000), 1},
		{"braces", "ls " + strings.Repeat("{a,b}", 100_000), 1},
		{"replacements", "xargs" + strings.Repeat(" -Ix", 100_000) + strings.Repeat(" y", 200_000), 2},
		{"finds", "find" + strings.Repeat(` -exec a \;`, 9_000), 9_001},
		{"options", "rm" + strings.Repeat(" -x --y", 50_000) + " f", 1},
		{"lists of strings", "python3 -c 'run([" + strings.Repeat(`"a",`, 200_000) + "])'", 2},
		{"quotes", "ls " + strings.Repeat(`a"b"'c'`, 100_000), 1},
	}
	for _, tt := range tests {
		c := shell.Analyze(tt.src)
		if !c.Parsed || len(c.Calls) != tt.calls {
			t.Errorf("%s: parsed %v (%s) with %d calls, want %d", tt.name, c.Parsed, deref(c.Problem), len(c.Calls), tt.calls)
		}
	}
}

func FuzzAnalyze(f *testing.F) {
	for _, e := range examples(f) {
		f.Add(e.src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c := shell.Analyze(src)
		if c.Parsed != (c.Problem == nil) || deref(c.Problem) == "cannot be analysed" {
			t.Errorf("parsed %v with problem %s", c.Parsed, deref(c.Problem))
		}
		for _, call := range c.Calls {
			if strings.Contains(call.Name, "/") || len(call.Argv) == 0 || call.Via == nil {
				t.Errorf("call %+v", call)
			}
			if call.Name == "" && !call.Dynamic && strings.Trim(call.Argv[0], "/") != "" {
				t.Errorf("call without a name is certain: %+v", call)
			}
		}
		if diff := cmp.Diff(c, shell.Analyze(src)); diff != "" {
			t.Errorf("a second look differs:\n%s", diff)
		}
		// Wrapping a text must not hide what it runs.
		if wrapped := shell.Analyze("sh -c -- " + single(src)); c.Parsed && wrapped.Parsed {
			if len(wrapped.Calls) < len(c.Calls)+1 {
				t.Errorf("sh -c runs %d programs, the text %d", len(wrapped.Calls)-1, len(c.Calls))
			}
		}
	})
}

func BenchmarkAnalyze(b *testing.B) {
	line := "# a comment that says what the next line is for, and " + strings.Repeat("why ", 100) + "\nif [ -f f ]; then echo f 'a b' >> log 2>&1; fi\n"
	half, whole := strings.Repeat(line, 1<<19/len(line)), strings.Repeat(line, 1<<20/len(line))
	if c := shell.Analyze(half); !c.Parsed {
		b.Fatalf("the script is not understood: %s", deref(c.Problem))
	}
	for _, bb := range []struct{ name, src string }{
		{"typical", `cd sub && go test ./... 2>&1 | grep -v "^ok" | head -n 20`},
		{"launchers", `sudo env A=1 timeout 5 bash -c 'curl -s x | tee out'`},
		{"half a script", half},
		{"script", whole},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.src)))
			b.ReportAllocs()
			for b.Loop() {
				shell.Analyze(bb.src)
			}
		})
	}
}
