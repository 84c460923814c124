package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"opencode/store"
	"opencode/store/file"
)

// tokenHome gives the test a home of its own and returns the token file in it.
func tokenHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", filepath.Join(home, "unused"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	return filepath.Join(home, "config", "opencode", "auth-tokens.json")
}

func execToken(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut strings.Builder
	err = execTokenTo(t, &out, &errOut, args...)
	return out.String(), errOut.String(), err
}

func execTokenTo(t *testing.T, out, errOut io.Writer, args ...string) error {
	t.Helper()
	cmd := newAuthTokenCmd()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(out)
	cmd.SetErr(errOut)
	cmd.SetArgs(args)
	return cmd.ExecuteContext(t.Context())
}

// runToken runs a command that must succeed, without a word on stderr.
func runToken(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, err := execToken(t, args...)
	if err != nil || errOut != "" {
		t.Fatalf("auth token %q = %v, stderr %q", args, err, errOut)
	}
	return out
}

type createdToken struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Token       string            `json:"token"`
	Permissions []string          `json:"permissions"`
	Attributes  map[string]string `json:"attributes"`
	Created     time.Time         `json:"created"`
	Expires     *time.Time        `json:"expires"`
}

func decodeStrictly[T any](t *testing.T, text string) (v T) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %q: %v", text, err)
	}
	return v
}

func mustCreateToken(t *testing.T, args ...string) createdToken {
	t.Helper()
	return decodeStrictly[createdToken](t, runToken(t, append([]string{"create", "--json"}, args...)...))
}

func listTokens(t *testing.T) []tokenView {
	t.Helper()
	return decodeStrictly[[]tokenView](t, runToken(t, "list", "--json"))
}

func isUsage(err error) bool {
	return err != nil && fmt.Sprintf("%T", err) == fmt.Sprintf("%T", usagef("x"))
}

func hasHint(err error) bool {
	return err != nil && fmt.Sprintf("%T", err) == fmt.Sprintf("%T", withHint(io.EOF, "x"))
}

func readText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokenCreateDefaults(t *testing.T) {
	path := tokenHome(t)
	before := time.Now().Truncate(time.Second)
	got := mustCreateToken(t)
	after := time.Now()

	if got.Created.Before(before) || got.Created.After(after) {
		t.Errorf("created = %v, want now", got.Created)
	}
	expires := got.Created.Add(90 * 24 * time.Hour)
	want := createdToken{
		ID: got.ID, Token: got.Token, Created: got.Created, Expires: &expires,
		Permissions: []string{"read", "write", "execute"}, Attributes: map[string]string{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("created token differs (-want +got):\n%s", diff)
	}
	if !regexp.MustCompile(`^tok_[0-9A-Za-z]{16}$`).MatchString(got.ID) {
		t.Errorf("id = %q, want tok_ and 16 digits", got.ID)
	}
	for p, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("the mode of %s is %v, %v, want %o", p, info.Mode(), err, mode)
		}
	}

	hash, err := store.HashSecret(got.Token)
	if err != nil {
		t.Fatalf("HashSecret: %v", err)
	}
	tokens, err := file.OpenTokens(file.TokensConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := tokens.TokenByHash(t.Context(), hash)
	if err != nil || kept.ID != got.ID {
		t.Errorf("TokenByHash = %v, %v, want %s", kept, err, got.ID)
	}
}

func TestTokenCreateWithEverything(t *testing.T) {
	tokenHome(t)
	got := mustCreateToken(t, "--name", "ci bot", "--permissions", "execute,read", "--permissions", "read",
		"--expires", "never", "--attribute", "team=web", "--attribute", "note.x=a=b, c")
	want := createdToken{
		ID: got.ID, Token: got.Token, Created: got.Created, Name: "ci bot", Permissions: []string{"read", "execute"},
		Attributes: map[string]string{"team": "web", "note.x": "a=b, c"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("created token differs (-want +got):\n%s", diff)
	}
	listed := []tokenView{{
		ID: got.ID, Name: want.Name, Permissions: want.Permissions, Attributes: want.Attributes, Created: got.Created,
	}}
	if diff := cmp.Diff(listed, listTokens(t)); diff != "" {
		t.Errorf("listed tokens differ (-want +got):\n%s", diff)
	}
}

func TestTokenIsShownOnce(t *testing.T) {
	path := tokenHome(t)
	out := runToken(t, "create", "--name", "ci", "--permissions", "read,write")
	raw := regexp.MustCompile(`oc_[0-9A-Za-z]{28}`).FindAllString(out, -1)
	if len(raw) != 1 {
		t.Fatalf("create shows %d tokens, want 1:\n%s", len(raw), out)
	}
	for _, want := range []string{"tok_", "ci", "read, write", "expires", "only once"} {
		if !strings.Contains(out, want) {
			t.Errorf("create does not show %q:\n%s", want, out)
		}
	}
	sum, err := store.HashSecret(raw[0])
	if err != nil {
		t.Fatal(err)
	}
	hash := hex.EncodeToString(sum[:])
	kept := readText(t, path)
	if !strings.Contains(kept, hash) {
		t.Errorf("the file does not hold the hash")
	}
	list, listJSON := runToken(t, "list"), runToken(t, "list", "--json")
	deleted := runToken(t, "delete", "--json", "ci")
	for what, text := range map[string]string{"file": kept, "list": list, "list --json": listJSON, "delete": deleted} {
		if strings.Contains(text, raw[0][3:]) {
			t.Errorf("%s shows the token", what)
		}
		if what != "file" && strings.Contains(text, hash) {
			t.Errorf("%s shows the hash", what)
		}
	}
}

func TestTokenJSONShape(t *testing.T) {
	tokenHome(t)
	keys := func(text string) map[string]bool {
		t.Helper()
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		got := make(map[string]bool)
		for k := range m {
			got[k] = true
		}
		return got
	}
	set := func(names ...string) map[string]bool {
		m := make(map[string]bool)
		for _, n := range names {
			m[n] = true
		}
		return m
	}
	out := runToken(t, "create", "--json", "--name", "ci", "--expires", "never")
	if diff := cmp.Diff(set("id", "name", "token", "permissions", "attributes", "created", "expires"), keys(out)); diff != "" {
		t.Errorf("create --json (-want +got):\n%s", diff)
	}
	if !strings.Contains(out, `"expires": null`) || !strings.Contains(out, `"attributes": {}`) {
		t.Errorf("create --json = %s, want a null expires and empty attributes", out)
	}
	if diff := cmp.Diff(set("id", "name", "permissions", "attributes", "created", "expires", "expired", "last_used"), keys(runToken(t, "delete", "ci", "--json"))); diff != "" {
		t.Errorf("delete --json (-want +got):\n%s", diff)
	}
	if out := runToken(t, "list", "--json"); out != "[]\n" {
		t.Errorf("list --json of nothing = %q, want []", out)
	}
}

func TestTokenListEmpty(t *testing.T) {
	path := tokenHome(t)
	out, errOut, err := execToken(t, "list")
	if err != nil || out != "" || !strings.Contains(errOut, "opencode auth token create") {
		t.Errorf("list = %q, stderr %q, %v, want a hint on stderr", out, errOut, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("list made the directory: %v", err)
	}
}

func TestTokenList(t *testing.T) {
	path := tokenHome(t)
	runToken(t, "create", "--expires", "never")
	tokens, err := file.OpenTokens(file.TokensConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	old := time.Date(2020, time.May, 1, 12, 0, 0, 0, time.Local)
	err = tokens.CreateToken(t.Context(), store.Token{
		ID: "tok_old", Name: "old", Hash: [32]byte{1}, Permissions: []string{"read", "write"},
		Created: old, Expires: old.Add(time.Hour), LastUsed: old.Add(time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(runToken(t, "list")), "\n")
	if len(lines) != 3 {
		t.Fatalf("list = %q, want a heading and two tokens", lines)
	}
	columns := regexp.MustCompile(` {2,}`)
	for i, want := range [][]string{
		{"ID", "NAME", "PERMISSIONS", "CREATED", "EXPIRES", "LAST USED"},
		{"tok_old", "old", "read,write", "2020-05-01 12:00", "expired", "2020-05-01 12:01"},
	} {
		if diff := cmp.Diff(want, columns.Split(strings.TrimSpace(lines[i]), -1)); diff != "" {
			t.Errorf("line %d differs (-want +got):\n%s", i, diff)
		}
	}
	got := columns.Split(strings.TrimSpace(lines[2]), -1)
	if len(got) != 6 || got[1] != "-" || got[2] != "read,write,execute" || got[4] != "never" || got[5] != "never" {
		t.Errorf("the new token is listed as %q", got)
	}
	views := listTokens(t)
	if len(views) != 2 || !views[0].Expired || views[1].Expired {
		t.Errorf("list --json = %v, want the first one expired", views)
	}
}

func TestTokenUsageErrors(t *testing.T) {
	path := tokenHome(t)
	for _, args := range [][]string{
		{"bogus"},
		{"create", "extra"},
		{"create", "--permissions", "read,admin"},
		{"create", "--permissions", "READ"},
		{"create", "--permissions", "read, write"},
		{"create", "--permissions", ""},
		{"create", "--expires", "0d"},
		{"create", "--expires", "-1d"},
		{"create", "--expires", "2020-01-01"},
		{"create", "--expires", ""},
		{"create", "--attribute", "team"},
		{"create", "--attribute", "=x"},
		{"create", "--attribute", "Team=x"},
		{"create", "--attribute", "a=1", "--attribute", "a=2"},
		{"create", "--name", "a\x1b[2J"},
		{"create", "--name", "a\nb"},
		{"create", "--name", "\xff"},
		{"create", "--name", "tok_0001"},
		{"create", "--name", "oc_abc"},
		{"list", "extra"},
		{"delete"},
		{"delete", ""},
		{"delete", "a", "b"},
	} {
		out, _, err := execToken(t, args...)
		if !isUsage(err) || out != "" {
			t.Errorf("auth token %q = %q, %v, want a usage error", args, out, err)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a usage error left a token file: %v", err)
	}
	_, _, err := execToken(t, "create", "--permissions", "admin")
	for _, want := range []string{"admin", "read", "write", "execute"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %q, want it to list %s", err, want)
		}
	}
}

func TestTokenWithoutCommandShowsHelp(t *testing.T) {
	if out := runToken(t); !strings.Contains(out, "create") || !strings.Contains(out, "delete") {
		t.Errorf("auth token = %q, want help", out)
	}
}

func TestTokenDelete(t *testing.T) {
	path := tokenHome(t)
	a, b := mustCreateToken(t, "--name", "ci"), mustCreateToken(t, "--name", "ci")
	c := mustCreateToken(t)

	before := readText(t, path)
	_, _, err := execToken(t, "delete", "ci")
	if !errors.Is(err, store.ErrAmbiguous) || !hasHint(err) || !strings.Contains(err.Error(), a.ID) || !strings.Contains(err.Error(), b.ID) {
		t.Errorf("delete of an ambiguous name = %v, want ErrAmbiguous with both ids and a hint", err)
	}
	_, _, err = execToken(t, "delete", "nobody")
	if !errors.Is(err, store.ErrNotExist) || !hasHint(err) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("delete of an unknown name = %v, want ErrNotExist with a hint", err)
	}
	_, errOut, err := execToken(t, "delete", a.Token)
	if !isUsage(err) || strings.Contains(err.Error()+errOut, a.Token[3:]) {
		t.Errorf("delete of the token itself = %v, %q, want a usage error that does not repeat it", err, errOut)
	}
	if readText(t, path) != before {
		t.Errorf("a failed delete changed the file")
	}

	if got, want := runToken(t, "delete", a.ID), "deleted "+a.ID+" (ci)\n"; got != want {
		t.Errorf("delete = %q, want %q", got, want)
	}
	if got, want := runToken(t, "delete", "ci"), "deleted "+b.ID+" (ci)\n"; got != want {
		t.Errorf("delete = %q, want %q", got, want)
	}
	if got, want := runToken(t, "delete", c.ID), "deleted "+c.ID+" (-)\n"; got != want {
		t.Errorf("delete = %q, want %q", got, want)
	}
	if left := listTokens(t); len(left) != 0 {
		t.Errorf("list after all are deleted = %v", left)
	}
}

func TestTokenFileThatCannotBeUsed(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		mode os.FileMode
		want error
	}{
		"corrupt": {`{"version":1,"tokens":[{]}`, 0o600, store.ErrCorrupt},
		"empty":   {``, 0o600, store.ErrCorrupt},
		"newer":   {`{"version":99}`, 0o600, store.ErrNewer},
		"unsafe":  {`{"version":1,"tokens":[]}`, 0o666, file.ErrUnsafe},
	} {
		t.Run(name, func(t *testing.T) {
			path := tokenHome(t)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(row.text), 0o600), os.Chmod(path, row.mode)); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"create"}, {"list"}, {"list", "--json"}, {"delete", "ci"}} {
				out, _, err := execToken(t, args...)
				if !errors.Is(err, row.want) || !hasHint(err) || !strings.Contains(err.Error(), path) || out != "" {
					t.Errorf("%q = %q, %v, want an error with a hint that names the file", args, out, err)
				}
			}
			if got := readText(t, path); got != row.text {
				t.Errorf("the file was changed to %q", got)
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) > 2 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestTokenCreateWhereNothingCanBeWritten(t *testing.T) {
	path := tokenHome(t)
	config := filepath.Dir(filepath.Dir(path))
	// A file in the place of the directory stops root as well.
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := execToken(t, "create")
	if err == nil || out != "" || !strings.Contains(err.Error(), config) {
		t.Errorf("create = %q, %v, want an error that names %s and no token", out, err, config)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestTokenCreateThatCannotBeShown(t *testing.T) {
	for _, args := range [][]string{{"create"}, {"create", "--json"}} {
		tokenHome(t)
		err := execTokenTo(t, failingWriter{}, &bytes.Buffer{}, args...)
		left := listTokens(t)
		if !errors.Is(err, io.ErrClosedPipe) || !hasHint(err) || len(left) != 1 || !strings.Contains(err.Error(), left[0].ID) {
			t.Errorf("%q = %v with the tokens %v, want an error that names the token", args, err, left)
		}
	}
}

func TestTokenWithoutHome(t *testing.T) {
	t.Setenv("HOME", "")
	t.Setenv("XDG_CONFIG_HOME", "relative")
	out, _, err := execToken(t, "create")
	if err == nil || !hasHint(err) || !strings.Contains(err.Error(), "HOME") || out != "" {
		t.Errorf("create = %q, %v, want an error with a hint about HOME", out, err)
	}
}

func TestTokenCommandsAreDocumented(t *testing.T) {
	cmd := newAuthTokenCmd()
	for _, c := range append([]*cobra.Command{cmd}, cmd.Commands()...) {
		if c.Short == "" || c.Example == "" || c.Args == nil || c.RunE == nil {
			t.Errorf("%s lacks Short, Example, Args or RunE", c.CommandPath())
		}
	}
}

func TestParseExpires(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("east", 2*60*60)
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, zone)
	for in, want := range map[string]time.Time{
		"90d":                       now.Add(90 * 24 * time.Hour),
		"1d":                        now.Add(24 * time.Hour),
		"12h":                       now.Add(12 * time.Hour),
		"30m":                       now.Add(30 * time.Minute),
		"007d":                      now.Add(7 * 24 * time.Hour),
		"36500d":                    now.Add(36500 * 24 * time.Hour),
		"never":                     {},
		"2027-01-01":                time.Date(2027, time.January, 1, 23, 59, 59, 0, zone),
		"2026-03-01":                time.Date(2026, time.March, 1, 23, 59, 59, 0, zone), // today
		"2028-02-29":                time.Date(2028, time.February, 29, 23, 59, 59, 0, zone),
		"2027-01-01T12:00:00Z":      time.Date(2027, time.January, 1, 12, 0, 0, 0, time.UTC),
		"2027-01-01T12:00:00+05:00": time.Date(2027, time.January, 1, 7, 0, 0, 0, time.UTC),
		"2026-03-01T12:00:01+02:00": now.Add(time.Second),
	} {
		got, err := parseExpires(in, now)
		if err != nil || !got.Equal(want) {
			t.Errorf("parseExpires(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", " ", "0d", "-1d", "+1d", "0h", "0m", "1", "d", "1s", "1w", "1.5d", "1d12h", "90D", " 90d", "90d ", "90d\n", "Never", "never ",
		"36501d", "876001h", "99999999999999999999d", "9223372036854775807m", "-99999999999999999999d",
		"2026-02-28", "2020-01-01", "2027-02-30", "2027-13-01", "27-01-01", "2027-1-1", "2027/01/01",
		"2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00Z", "2027-01-01T12:00:00", "0001-01-01T00:00:00Z", "0001-01-01",
	} {
		got, err := parseExpires(in, now)
		if !isUsage(err) || !got.IsZero() {
			t.Errorf("parseExpires(%q) = %v, %v, want a usage error", in, got, err)
		}
	}
}

func FuzzParseExpires(f *testing.F) {
	for _, s := range []string{"90d", "never", "2027-01-01", "2027-01-01T12:00:00Z", "-1d", "99999999999d"} {
		f.Add(s)
	}
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseExpires(s, now)
		switch {
		case err != nil && !isUsage(err):
			t.Errorf("parseExpires(%q) = %v, want a usage error", s, err)
		case err == nil && at.IsZero() && s != "never":
			t.Errorf("parseExpires(%q) never expires", s)
		case err == nil && s != "never" && !at.After(now):
			t.Errorf("parseExpires(%q) = %v, which is past", s, at)
		}
	})
}
