package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script writes a program that sh runs.
func script(tb testing.TB, name, text string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		tb.Fatal(err)
	}
	return path
}

func TestGatewayCommand(t *testing.T) {
	signInHome(t)
	t.Setenv(envAuthPassphrase, "a-passphrase-of-the-store")
	t.Setenv(envAuthProtection, "keyfile")
	s := newAuthServer(t)
	marks := t.TempDir()
	program := script(t, "gateway-login", fmt.Sprintf(`env >%q/env; pwd >%[1]q/pwd; printf '%%s\n' "$@" >%[1]q/args; echo "note to the user" >&2; echo token-of-the-gateway`, marks))
	s.wellKnown = fmt.Sprintf(`{"auth":{"command":[%q,"a b","$(touch %s/shell)",";"],"env":"CORP_TOKEN"}}`, program, marks)
	gateway := s.URL + "/gateway"

	// Nothing runs without a yes.
	_, errOut, err := execAuth(t, newSignIn(), "", "login", gateway)
	if err == nil || !strings.Contains(err.Error(), "want --yes") || !strings.Contains(errOut, program+` "a b" "$(touch `) {
		t.Errorf("login = %v, %q, want the command and the flag", err, errOut)
	}
	if _, err := os.Stat(filepath.Join(marks, "args")); err == nil {
		t.Fatal("the command was run without a yes")
	}
	out, errOut := mustAuth(t, newSignIn(), "", "login", gateway+"/", "--yes")
	if !strings.Contains(out, "signed in to "+gateway) || !strings.Contains(errOut, program) || !strings.Contains(errOut, "note to the user") {
		t.Errorf("login: %q, %q, want the command shown although --yes is given", out, errOut)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(marks, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	if args := read("args"); args != fmt.Sprintf("a b\n$(touch %s/shell)\n;\n", marks) {
		t.Errorf("arguments %q: a shell had them", args)
	}
	if strings.Contains(read("env"), "a-passphrase-of-the-store") || strings.TrimSpace(read("pwd")) != os.Getenv("HOME") {
		t.Errorf("the command ran in %s, or knows the passphrase", read("pwd"))
	}
	if token, _ := mustAuth(t, newSignIn(), "", "token-for", gateway, "--reveal", "--yes"); token != "token-of-the-gateway\n" {
		t.Errorf("token-for = %q", token)
	}
	if out, _ := mustAuth(t, newSignIn(), "", "list"); !strings.Contains(out, "wellknown") || strings.Contains(out, "token-of-the-gateway") {
		t.Errorf("list = %q", out)
	}
}

func TestGatewayIsRefused(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	gateway := s.URL + "/gateway"
	for name, d := range map[string]struct{ command, env, want string }{
		"fails":          {script(t, "fails", "echo token-not-kept; exit 4"), "T", "exit status 4"},
		"prints nothing": {script(t, "silent", "true"), "T", "printed no token"},
		"prints more":    {script(t, "verbose", "echo a; echo b"), "T", "printed no token"},
		"prints a lot":   {script(t, "flood", "head -c 1000000 /dev/zero | tr '\\\\0' x"), "T", "the command:"},
		"relative":       {"./login", "T", "is a relative path"},
		"not there":      {"no-such-program-anywhere", "T", "cannot be run"},
		"hidden":         {"login\\u001b[2K", "T", "characters that cannot be shown"},
		"variable":       {"true", "LD_PRELOAD", "is not the name of a variable for a token"},
	} {
		s.mu.Lock()
		s.wellKnown = fmt.Sprintf(`{"auth":{"command":["%s"],"env":%q}}`, d.command, d.env)
		s.mu.Unlock()
		_, _, err := execAuth(t, newSignIn(), "", "login", gateway, "--yes")
		if err == nil || !strings.Contains(err.Error(), d.want) || strings.Contains(err.Error(), "token-not-kept") {
			t.Errorf("%s: login = %v, want %q", name, err, d.want)
		} else if hintOf(err) == "" {
			t.Errorf("%s: %v says not what to do", name, err)
		}
	}
	for _, address := range []string{"http://gateway.example", "https://user:secret@gateway.example", "ftp://x"} {
		_, _, err := execAuth(t, newSignIn(), "", "login", address, "--yes")
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("login %s = %v", address, err)
		}
	}
	if out, _ := mustAuth(t, newSignIn(), "", "list", "--json"); !strings.Contains(out, `"credentials": []`) {
		t.Errorf("something is kept: %s", out)
	}
}
