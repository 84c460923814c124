package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"opencode/provider"
	"opencode/store"
)

// signInHome gives the test a home of its own and returns the data directory.
func signInHome(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_CONFIG_HOME": filepath.Join(home, "config"), "XDG_DATA_HOME": filepath.Join(home, "data"),
		"DBUS_SESSION_BUS_ADDRESS": "", "XDG_RUNTIME_DIR": "",
		envAuthContent: "", envAuthReadOnly: "", envAuthProtection: "", envAuthPassphrase: "", envAuthNewPassphrase: "",
	} {
		t.Setenv(name, value)
	}
	return filepath.Join(home, "data", "opencode")
}

// execAuth runs a command below `auth`, with methods of the test's own.
func execAuth(t *testing.T, s signIn, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut strings.Builder
	cmd := authCommand(s)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func authCommand(s signIn) *cobra.Command {
	cmd := group("auth", "", "", newAuthLoginCmd(s), newAuthLogoutCmd(s), newAuthListCmd(s), newAuthStatusCmd(s),
		newAuthRefreshCmd(s), newAuthRotateCmd(s), newAuthProvidersCmd(s), newAuthEncryptCmd(), newAuthDecryptCmd(), newAuthRekeyCmd(), newAuthTokenForCmd())
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return cmd
}

func mustAuth(t *testing.T, s signIn, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := execAuth(t, s, stdin, args...)
	if err != nil {
		t.Fatalf("auth %q = %v, stderr %q", args, err, stderr)
	}
	return stdout, stderr
}

// browser is a method of sign-in that needs no browser.
type browser struct {
	name  string
	login func(ctx context.Context, u ui) (store.Credential, error)
}

func (b browser) Name() string { return b.name }

func (b browser) Login(ctx context.Context, u ui, _ provider.Provider, _ string) (store.Credential, error) {
	return b.login(ctx, u)
}

// gateway is a sign-in whose tokens are random, with what it was called for.
type gateway struct {
	secrets []string
	calls   []string
	fail    error
}

func (g *gateway) pair(c *store.Credential) {
	access, refresh := rand.Text(), rand.Text()
	g.secrets = append(g.secrets, access, refresh)
	c.Kind, c.Access, c.Refresh = store.CredentialOAuth, store.NewSecretText(access), store.NewSecretText(refresh)
	c.Expires = time.Now().Add(time.Hour)
}

func (g *gateway) signIn() signIn {
	return signIn{
		methods: func(_ *credentials, p provider.Provider, o loginOptions) ([]method, error) {
			if p.ID != "openai" && !isAddress(p.ID) {
				return nil, nil
			}
			return []method{browser{"browser", func(_ context.Context, u ui) (store.Credential, error) {
				g.calls = append(g.calls, fmt.Sprint("login ", o.acceptTerms, o.yes))
				u.Say("open the page")
				var c store.Credential
				g.pair(&c)
				return c, g.fail
			}}}, nil
		},
		refresh: func(ctx context.Context, kept *credentials, c store.Credential, force bool) (bool, error) {
			key := c.CredentialKey
			g.calls = append(g.calls, fmt.Sprint("refresh ", key, force))
			if g.fail != nil || !force {
				return false, g.fail
			}
			_, err := kept.store.UpdateCredential(ctx, key, func(c *store.Credential) error { g.pair(c); return nil })
			return err == nil, err
		},
		revoke: func(_ context.Context, _ *credentials, c store.Credential) error {
			g.calls = append(g.calls, fmt.Sprint("revoke ", c))
			return g.fail
		},
	}
}

// TestMethodsPlugIn goes through the life of a credential of another method.
func TestMethodsPlugIn(t *testing.T) {
	data := signInHome(t)
	g := &gateway{}
	s := g.signIn()
	_, _, err := execAuth(t, s, "", "login", "openai")
	if err == nil || exitCode(err) != exitUsage || !strings.Contains(err.Error(), "--method api|browser") {
		t.Errorf("login without a method = %v, want a usage error that names both", err)
	}
	out, errOut := mustAuth(t, s, "", "login", "openai", "--method", "browser", "--accept-provider-terms")
	if !strings.Contains(out, "signed in to OpenAI (openai) with browser") || !strings.Contains(errOut, "opencode: open the page") {
		t.Errorf("login: %q, %q", out, errOut)
	}
	mustAuth(t, s, "", "login", "https://corp.example.com/", "--yes")
	out, _ = mustAuth(t, s, "", "refresh", "--all")
	if want := "https://corp.example.com is not due\nopenai is not due\n"; out != want {
		t.Errorf("refresh --all = %q, want %q", out, want)
	}
	out, _ = mustAuth(t, s, "", "refresh", "openai", "--force")
	if want := "openai is renewed\n"; out != want {
		t.Errorf("refresh --force = %q, want %q", out, want)
	}
	before, err := os.ReadFile(filepath.Join(data, "auth.json.age"))
	if err != nil {
		t.Fatal(err)
	}
	out, _ = mustAuth(t, s, "", "rotate")
	if !strings.Contains(out, "new key") || !strings.Contains(out, "openai is renewed") {
		t.Errorf("rotate = %q", out)
	}
	if after, err := os.ReadFile(filepath.Join(data, "auth.json.age")); err != nil || bytes.Equal(before, after) {
		t.Errorf("rotate left the file as it was, %v", err)
	}
	// What a provider refuses changes nothing, and the exit code tells.
	g.fail = errors.New("the provider refuses")
	for _, args := range [][]string{{"refresh", "--all"}, {"refresh", "openai"}, {"rotate"}, {"login", "openai", "--method", "browser"}} {
		if _, _, err := execAuth(t, s, "", args...); !errors.Is(err, g.fail) {
			t.Errorf("auth %q = %v, want the refusal", args, err)
		}
	}
	out, errOut = mustAuth(t, s, "", "logout", "openai")
	if out != "signed out of openai\n" || !strings.Contains(errOut, "warning: the provider was not told") {
		t.Errorf("logout: %q, %q", out, errOut)
	}
	want := []string{"login true false", "login false true", "refresh https://corp.example.com false", "refresh openai false", "refresh openai true"}
	if diff := cmp.Diff(want, g.calls[:5]); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(g.calls, "revoke openai (oauth)") {
		t.Errorf("calls %q, want a revocation", g.calls)
	}
}

// TestNoSecretInCommands greps everything that any command prints.
func TestNoSecretInCommands(t *testing.T) {
	data := signInHome(t)
	g := &gateway{}
	s := g.signIn()
	key, variable, odd := "sk-ant-api03-"+rand.Text(), "gsk_"+rand.Text(), rand.Text()
	g.secrets = append(g.secrets, key, variable, odd)
	t.Setenv("GROQ_API_KEY", variable)
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"odd": {"type": %q, "x": %q}, "meta": {"type":"api","key":%q,"metadata":{"a":%q}}}`, odd, odd, odd, odd)
	if err := os.WriteFile(filepath.Join(data, "auth.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	run := func(stdin string, args ...string) {
		out, errOut, err := execAuth(t, s, stdin, args...)
		all.WriteString(out + errOut)
		if err != nil {
			report(&all, err)
			fmt.Fprintf(&all, "%v %+v %#v", err, err, err)
		}
	}
	run(key, "login", "anthropic", "--stdin")
	run(key, "login", "openai", "--stdin", "--method", "api")
	run(key+"\n"+key, "login", "anthropic", "--stdin")
	run("", "login", key)
	run("", "login", "openai", "--method", "browser")
	run("", "login", "groq", "--from-env")
	for _, protect := range [][]string{{"list", "--json"}, {"encrypt", "--protection", "keyfile"}} {
		run("", protect...)
		for _, args := range [][]string{
			{"list"},
			{"list", "--json"},
			{"status", "anthropic"},
			{"status", "openai", "--json"},
			{"status", "odd"},
			{"status", "meta", "--json"},
			{"providers"},
			{"providers", "--json"},
			{"refresh", "--all", "--force"},
			{"refresh", "odd"},
			{"rotate"},
			{"rekey"},
			{"logout", "nobody"},
		} {
			run("", args...)
		}
	}
	// Then with nothing that can be read.
	if err := os.WriteFile(filepath.Join(data, "auth.json"), []byte(`{"p": `+key), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}, {"rotate"}, {"decrypt", "--yes"}, {"logout", "p"}, {"login", "groq", "--from-env"}} {
		run("", args...)
	}
	t.Setenv(envAuthContent, `{"p": `+key)
	run("", "list")
	for _, secret := range g.secrets {
		if secret == odd {
			// The type of an entry is not shown either.
			continue
		}
		if strings.Contains(all.String(), secret) {
			i := strings.Index(all.String(), secret)
			t.Errorf("a secret is shown after %q", all.String()[max(i-200, 0):i])
		}
	}
	if strings.Contains(all.String(), odd) || strings.Contains(all.String(), "AGE-SECRET-KEY") {
		t.Error("what another program wrote, or a key of the store, is shown")
	}
	for _, want := range []string{"is renewed", `"protection": "plain"`, `"protection": "keyfile"`, "is corrupt: line 1", "looks like"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("nothing says %q: the test did not test", want)
		}
	}
}

// TestSignInOnATerminal types the answers. What is typed for a key is not shown.
func TestSignInOnATerminal(t *testing.T) {
	signInHome(t)
	ptmx, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(ptmx.Close(), tty.Close()) }()
	if err := pty.Setsize(ptmx, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	screen := make(chan []byte)
	go func() {
		defer close(screen)
		for {
			b := make([]byte, 4096)
			n, err := ptmx.Read(b)
			if err != nil {
				return
			}
			screen <- b[:n]
		}
	}()
	key := "sk-ant-api03-" + rand.Text()
	var out strings.Builder
	cmd := authCommand(signIn{})
	cmd.SetIn(tty)
	cmd.SetErr(tty)
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"login", "anthropic"})
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(t.Context()) }()
	var seen bytes.Buffer
	typed := false
	for done := false; !done; {
		select {
		case b := <-screen:
			seen.Write(b)
			if !typed && strings.Contains(seen.String(), "API key for Anthropic") {
				typed = true
				if _, err := io.WriteString(ptmx, key+"\r"); err != nil {
					t.Fatal(err)
				}
			}
		case err := <-ended:
			done = true
			if err != nil {
				t.Fatalf("login: %v; the screen has %q", err, seen.String())
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no end; the screen has %q", seen.String())
		}
	}
	if strings.Contains(seen.String(), key[13:]) || !strings.Contains(out.String(), "signed in to Anthropic") {
		t.Errorf("output %q, screen %q", out.String(), seen.String())
	}
	stdout, _ := mustAuth(t, signIn{}, "", "status", "anthropic", "--json")
	if !strings.Contains(stdout, `"source": "store"`) {
		t.Errorf("status = %s", stdout)
	}
}
