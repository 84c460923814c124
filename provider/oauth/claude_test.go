//go:build unix

package oauth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"opencode/provider/oauth"
	"opencode/store"
)

// machine is a home with a Claude Code of its own.
type machine struct {
	home, bin string
	env       map[string]string
	clock     *clock
	keychain  oauth.Keychain
}

func newMachine(tb testing.TB) *machine {
	tb.Helper()
	m := &machine{home: tb.TempDir(), bin: tb.TempDir(), env: map[string]string{}, clock: newClock()}
	m.env["HOME"] = m.home
	return m
}

// write writes a file below the home.
func (m *machine) write(tb testing.TB, name, text string) {
	tb.Helper()
	path := filepath.Join(m.home, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		tb.Fatal(err)
	}
}

// install puts a script named claude on the machine. It is run by sh with HOME
// as on the machine, and notes how it was called in the file called.
func (m *machine) install(tb testing.TB, script string) {
	tb.Helper()
	text := "#!/bin/sh\n" + `{ echo "$@"; pwd; env; cat; } > "$HOME/called"` + "\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(m.bin, "claude"), []byte(text), 0o700); err != nil {
		tb.Fatal(err)
	}
}

func (m *machine) called(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(m.home, "called"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	return string(text)
}

func (m *machine) newSession() (*oauth.ClaudeSession, error) {
	return oauth.NewClaudeSession(oauth.ClaudeConfig{
		Home: m.home, Env: m.lookUp, Keychain: m.keychain, Command: filepath.Join(m.bin, "claude"), Now: m.clock.Now,
		Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + m.home, "ANTHROPIC_API_KEY=key-secret", "ANTHROPIC_AUTH_TOKEN=key-secret", "KEPT=1"},
	})
}

func (m *machine) lookUp(name string) (string, bool) { v, ok := m.env[name]; return v, ok }

func (m *machine) client(tb testing.TB) *oauth.Client {
	tb.Helper()
	s, err := m.newSession()
	if err != nil {
		tb.Fatal(err)
	}
	return newClient(tb, always(500, ""), func(cfg *oauth.Config) { cfg.Session, cfg.Now, cfg.Env = s, m.clock.Now, m.lookUp })
}

// signIn takes over the session.
func (m *machine) signIn(tb testing.TB) (store.Credential, error) {
	tb.Helper()
	return begin(tb, m.client(tb), "claude-code", oauth.Options{Accepted: true}).Wait(tb.Context(), nil)
}

const credentialsFile = ".claude/.credentials.json"

func TestClaudeSessionIsRead(t *testing.T) {
	t.Parallel()
	hour := start.Add(time.Hour)
	for name, text := range map[string]string{
		"as it is":        session("fresh", hour),
		"at the root":     fmt.Sprintf(`{"accessToken":"fresh","refreshToken":"rt-secret","expiresAt":%d}`, hour.UnixMilli()),
		"with a fraction": fmt.Sprintf(`{"accessToken":"fresh","expiresAt":%d.0}`, hour.UnixMilli()),
		"with more":       fmt.Sprintf(`{"mcpOAuth":{},"claudeAiOauth":{"accessToken":"fresh","expiresAt":%d,"rateLimitTier":null}}`, hour.UnixMilli()),
	} {
		m := newMachine(t)
		m.write(t, credentialsFile, text)
		cred, err := m.signIn(t)
		if err != nil || cred.Access.Reveal() != "fresh" || !cred.Expires.Equal(hour) || cred.Provider != "anthropic" || cred.Method != "claude-code" {
			t.Errorf("%s: %v until %v, %v, want the session", name, cred, cred.Expires, err)
		}
		// With the refresh token another program would end Claude Code's session.
		if !cred.Refresh.IsZero() || m.called(t) != "" {
			t.Errorf("%s: refresh token taken or claude run", name)
		}
	}
}

func TestClaudeSessionIsRenewedByClaude(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		expires time.Time
		exit    int
	}{
		"over":               {start.Add(-time.Hour), 0},
		"within the skew":    {start.Add(60 * time.Second), 0},
		"whatever it exits":  {start.Add(-time.Hour), 7},
		"just in time":       {start.Add(61 * time.Second), -1},
		"without any expiry": {time.UnixMilli(0), -1},
	} {
		m := newMachine(t)
		m.write(t, credentialsFile, session("stale", d.expires))
		m.write(t, "next", session("fresh", start.Add(8*time.Hour)))
		m.install(t, fmt.Sprintf(`cp "$HOME/next" "$HOME/.claude/.credentials.json"; exit %d`, d.exit))
		cred, err := m.signIn(t)
		want := "fresh"
		if d.exit < 0 {
			want = "stale"
		}
		if err != nil || cred.Access.Reveal() != want {
			t.Errorf("%s: %q, %v, want %s", name, cred.Access.Reveal(), err, want)
		}
		called := m.called(t)
		if d.exit < 0 {
			if called != "" {
				t.Errorf("%s: claude was run", name)
			}
			continue
		}
		lines := strings.Split(called, "\n")
		if lines[0] != "-p . --model claude-haiku-4-5" || !strings.Contains(lines[1], "opencode-claude-") {
			t.Errorf("%s: claude was run as %q in %q", name, lines[0], lines[1])
		}
		if strings.Contains(called, "key-secret") || !strings.Contains(called, "KEPT=1") {
			t.Errorf("%s: claude's environment is wrong: with a key it does not renew its session", name)
		}
		if _, err := os.Stat(lines[1]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the directory stayed: %v", name, err)
		}
	}
}

func TestClaudeSessionFailures(t *testing.T) {
	t.Parallel()
	stale := session("stale", start.Add(-time.Hour))
	for name, d := range map[string]struct {
		file, script string
		want         error
		text         string
	}{
		"nothing":        {"", "", oauth.ErrNoClaude, "Claude Code is not installed. Install it from https://claude.ai/download, then try again. Or use Browser sign-in."},
		"stale, no tool": {stale, "", oauth.ErrNoClaude, ""},
		"no session":     {"", "exit 0", oauth.ErrNoSession, "Claude Code is installed, but no session was found. Run `claude auth login --claudeai` and try again."},
		"still stale":    {stale, "exit 0", oauth.ErrSessionExpired, "Claude session is still expired. Run `claude auth login --claudeai` and try again."},
		"signs out":      {stale, `rm "$HOME/.claude/.credentials.json"`, oauth.ErrNoSession, ""},
		"breaks it":      {stale, `echo '{' > "$HOME/.claude/.credentials.json"`, nil, ""},
		"hangs":          {stale, "sleep 600", oauth.ErrSessionExpired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			if name == "hangs" {
				m.env["CLAUDE_CODE_AUTH_REFRESH_TIMEOUT_MS"] = "300"
			}
			if d.file != "" {
				m.write(t, credentialsFile, d.file)
			}
			if d.script != "" {
				m.install(t, d.script)
			}
			_, err := m.signIn(t)
			if err == nil || d.want != nil && !errors.Is(err, d.want) || d.text != "" && err.Error() != d.text || strings.Contains(shows(err), "rt-secret") {
				t.Errorf("%v, want %v", err, d.want)
			}
		})
	}
}

func TestClaudeIsFoundOnPATH(t *testing.T) {
	m := newMachine(t)
	m.write(t, credentialsFile, session("stale", start))
	m.write(t, "next", session("fresh", start.Add(time.Hour)))
	m.install(t, `cp "$HOME/next" "$HOME/.claude/.credentials.json"`)
	t.Setenv("PATH", m.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("HOME", m.home)
	s, err := oauth.NewClaudeSession(oauth.ClaudeConfig{Home: m.home, Now: m.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, always(500, ""), func(cfg *oauth.Config) { cfg.Session = s })
	cred, err := begin(t, c, "claude-code", oauth.Options{Accepted: true}).Wait(t.Context(), nil)
	if err != nil || cred.Access.Reveal() != "fresh" {
		t.Errorf("%v, %v, want the session that claude renewed", cred, err)
	}
}

// keychain is a double of the keychain.
type keychain struct {
	service string
	item    string
	err     error
	asked   []string
}

func (k *keychain) Item(_ context.Context, service string) (store.SecretText, error) {
	k.asked = append(k.asked, service)
	if k.err != nil || service != k.service {
		return store.SecretText{}, errors.Join(k.err, fmt.Errorf("item %w", store.ErrNotExist))
	}
	return store.NewSecretText(k.item), nil
}

func TestKeychainComesFirst(t *testing.T) {
	t.Parallel()
	hour := start.Add(time.Hour)
	sum := sha256.Sum256([]byte("/other/claude"))
	for name, d := range map[string]struct {
		keychain keychain
		env      map[string]string
		want     string
	}{
		"first":              {keychain{service: "Claude Code-credentials", item: session("keychain", hour)}, nil, "keychain"},
		"none":               {keychain{service: "another"}, nil, "file"},
		"locked":             {keychain{err: errors.New("is locked")}, nil, "file"},
		"nonsense":           {keychain{service: "Claude Code-credentials", item: "{"}, nil, "file"},
		"by name":            {keychain{service: "mine", item: session("mine", hour)}, map[string]string{"CLAUDE_CODE_AUTH_KEYCHAIN_SERVICE": "mine"}, "mine"},
		"blank name":         {keychain{service: "Claude Code-credentials", item: session("keychain", hour)}, map[string]string{"CLAUDE_CODE_AUTH_KEYCHAIN_SERVICE": "  "}, "keychain"},
		"of other directory": {keychain{service: "Claude Code-credentials-" + hex.EncodeToString(sum[:])[:8], item: session("other", hour)}, map[string]string{"CLAUDE_CONFIG_DIR": "/other/claude"}, "other"},
	} {
		m := newMachine(t)
		m.write(t, credentialsFile, session("file", hour))
		maps.Copy(m.env, d.env)
		m.keychain = &d.keychain
		if cred, err := m.signIn(t); err != nil || cred.Access.Reveal() != d.want {
			t.Errorf("%s: %q, %v after asking for %q, want %s", name, cred.Access.Reveal(), err, d.keychain.asked, d.want)
		}
	}
}

func TestClaudeOverrides(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, credentialsFile, session("usual", start.Add(time.Hour)))
	m.write(t, "elsewhere.json", session("elsewhere", start.Add(time.Hour)))
	m.write(t, "moved/.credentials.json", session("moved", start.Add(90*time.Second)))
	m.write(t, "next", session("renewed", start.Add(time.Hour)))
	m.install(t, `cp "$HOME/next" "$HOME/moved/.credentials.json"`)
	m.env["CLAUDE_CODE_AUTH_CREDENTIALS_PATH"] = filepath.Join(m.home, "elsewhere.json")
	if cred, err := m.signIn(t); err != nil || cred.Access.Reveal() != "elsewhere" {
		t.Errorf("by path: %q, %v", cred.Access.Reveal(), err)
	}
	m.env = map[string]string{
		"CLAUDE_CONFIG_DIR": filepath.Join(m.home, "moved"), "CLAUDE_CODE_AUTH_REFRESH_SKEW_MS": "120000", "CLAUDE_CODE_AUTH_REFRESH_MODEL": "small",
	}
	if cred, err := m.signIn(t); err != nil || cred.Access.Reveal() != "renewed" || !strings.HasPrefix(m.called(t), "-p . --model small\n") {
		t.Errorf("by directory, skew and model: %q, %v after %q", cred.Access.Reveal(), err, m.called(t))
	}
	for _, text := range []string{"soon", "-1", "1.5", "99999999999999999999"} {
		m.env["CLAUDE_CODE_AUTH_REFRESH_TIMEOUT_MS"] = text
		if _, err := m.newSession(); err == nil || !strings.Contains(err.Error(), "CLAUDE_CODE_AUTH_REFRESH_TIMEOUT_MS") {
			t.Errorf("NewClaudeSession with %q = %v, want an error that names the variable", text, err)
		}
	}
}

func TestClaudeFileThatIsNoFile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write(t, credentialsFile, "")
	path := filepath.Join(m.home, credentialsFile)
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.signIn(t); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a pipe: %v, want an error and no waiting", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"claudeAiOauth":null}`, `{"claudeAiOauth":{"accessToken":7}}`, `{"accessToken":""}`, `{"accessToken":"a b"}`,
		`{"accessToken":"a\u0000"}`, `{"accessToken":"a\nb"}`, `{"accessToken":"a","expiresAt":"soon"}`, `{"accessToken":"a","expiresAt":-1}`,
		`{"accessToken":"a","expiresAt":1e40}`, `{"ACCESSTOKEN":"a"}`, `{"accessToken":"` + strings.Repeat("rt-secret", 1<<16) + `"}`,
	} {
		m.write(t, credentialsFile, text)
		if _, err := m.signIn(t); err == nil || strings.Contains(err.Error(), "rt-secret") {
			t.Errorf("%.60s: %v, want an error", text, err)
		}
	}
}

func TestForcedRenewalOfSession(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	hour := start.Add(time.Hour)
	m.write(t, credentialsFile, session("first", hour))
	cred, err := m.signIn(t)
	if err != nil {
		t.Fatal(err)
	}
	vault := newMemory(cred)
	r, err := oauth.NewRefresher(oauth.RefresherConfig{Client: m.client(t), Store: vault})
	if err != nil {
		t.Fatal(err)
	}
	// Claude Code renewed it on its own meanwhile: it need not be run.
	m.install(t, `cp "$HOME/next" "$HOME/.claude/.credentials.json"`)
	m.write(t, credentialsFile, session("second", hour))
	second, again, err := r.Rejected(t.Context(), cred)
	if err != nil || !again || second.Access.Reveal() != "second" || m.called(t) != "" {
		t.Fatalf("Rejected = %q, %v, %v", second.Access.Reveal(), again, err)
	}
	m.clock.add(2 * time.Minute)
	m.write(t, "next", session("third", hour))
	third, again, err := r.Rejected(t.Context(), second)
	if err != nil || !again || third.Access.Reveal() != "third" {
		t.Fatalf("Rejected = %q, %v, %v, want what claude renewed", third.Access.Reveal(), again, err)
	}
	m.clock.add(2 * time.Minute)
	if _, _, err := r.Rejected(t.Context(), third); !errors.Is(err, oauth.ErrSessionKept) {
		t.Errorf("Rejected without a renewal = %v, want ErrSessionKept", err)
	}
	stored, _ := vault.Credential(t.Context(), "anthropic", "")
	if !stored.Access.Equal(third.Access) || stored.Method != "claude-code" {
		t.Errorf("the store has %v", stored)
	}
	// It needs no store to be written, since nothing rotates.
	vault.readOnly = true
	m.clock.add(2 * time.Hour)
	m.write(t, credentialsFile, session("fourth", start.Add(9*time.Hour)))
	if cred, err := r.Fresh(t.Context(), "anthropic", ""); err != nil || cred.Access.Reveal() != "fourth" {
		t.Errorf("Fresh with a read-only store = %v", err)
	}
}

func TestSecurityTool(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]struct {
		script, want string
		missing, ok  bool
	}{
		"found":     {`[ "$*" = "find-generic-password -s Claude Code-credentials -w" ] && echo secret-item`, "secret-item", false, true},
		"none":      {"exit 44", "", true, false},
		"locked":    {"echo secret-item; exit 51", "", false, false},
		"too large": {"head -c 400000 /dev/zero", "", false, false},
	} {
		path := filepath.Join(t.TempDir(), "security")
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+d.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		item, err := oauth.SecurityTool{Path: path}.Item(t.Context(), "Claude Code-credentials")
		if (err == nil) != d.ok || item.Reveal() != d.want || errors.Is(err, store.ErrNotExist) != d.missing || err != nil && strings.Contains(err.Error(), "secret-item") {
			t.Errorf("%s: Item = %q, %v", name, item.Reveal(), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (oauth.SecurityTool{Path: "/bin/sh"}).Item(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("Item that was cancelled = %v", err)
	}
}

func TestAnthropicProfile(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	c := m.client(t)
	get := func(o oauth.Options) (store.Credential, error) {
		return begin(t, c, "anthropic-cli", o).Wait(t.Context(), nil)
	}
	if _, err := get(oauth.Options{}); !errors.Is(err, store.ErrNotExist) || !strings.Contains(hint(err), "ant auth login") {
		t.Errorf("no profile: %v", err)
	}
	profile := func(name, access string, expires time.Time) {
		m.write(t, ".config/anthropic/credentials/"+name+".json", fmt.Sprintf(`{"access_token":%q,"refresh_token":"rt-secret","expires_at":%d}`, access, expires.Unix()))
	}
	profile("default", "one", start.Add(time.Hour))
	profile("work", "two", start.Add(2*time.Hour))
	cred, err := get(oauth.Options{})
	if err != nil || cred.Access.Reveal() != "one" || !cred.Expires.Equal(start.Add(time.Hour)) || !cred.Refresh.IsZero() {
		t.Errorf("default: %v until %v, %v", cred, cred.Expires, err)
	}
	m.write(t, ".config/anthropic/active_config", "work\n")
	if cred, err := get(oauth.Options{}); err != nil || cred.Access.Reveal() != "two" {
		t.Errorf("active: %v, %v", cred, err)
	}
	m.write(t, ".config/anthropic/configs/work.json", `{"authentication":{"type":"user_oauth","credentials_path":"elsewhere.json"}}`)
	m.write(t, ".config/anthropic/elsewhere.json", `{"access_token":"three"}`)
	if cred, err = get(oauth.Options{}); err != nil || cred.Access.Reveal() != "three" {
		t.Errorf("elsewhere: %v, %v", cred, err)
	}
	for _, name := range []string{"../work", "a/b", "..", "", "x\x00"} {
		if name == "" {
			continue
		}
		if _, err := get(oauth.Options{CLIProfile: name}); err == nil {
			t.Errorf("a profile named %q was read", name)
		}
	}
	profile("old", "four", start.Add(30*time.Second))
	if _, err := get(oauth.Options{CLIProfile: "old"}); !errors.Is(err, oauth.ErrExpiredProfile) || hint(err) == "" {
		t.Errorf("expired: %v, want a hint", err)
	}
	// A refresh is to read again what the CLI renewed.
	cred, err = get(oauth.Options{CLIProfile: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Renew(t.Context(), cred); !errors.Is(err, oauth.ErrNotRenewable) {
		t.Errorf("Renew with nothing new = %v", err)
	}
	profile("default", "five", start.Add(3*time.Hour))
	if cred, err := c.Renew(t.Context(), cred); err != nil || cred.Access.Reveal() != "five" {
		t.Errorf("Renew = %v, %v", cred, err)
	}
}
