package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/provider"
	"opencode/store"
)

// person answers the questions of methods, as somebody at a terminal does.
type person struct {
	said strings.Builder
	// confirm and secret answer, given all that was said before.
	confirm func(question string) (bool, error)
	secret  func(said string) string
	// asked are the questions.
	asked []string
}

var _ ui = (*person)(nil)

func (p *person) Say(format string, args ...any) { fmt.Fprintf(&p.said, format+"\n", args...) }
func (*person) Interactive() bool                { return true }

func (p *person) Choose(context.Context, string, string, []option) (string, error) {
	return "", errors.New("there is nothing to choose")
}

func (p *person) Text(context.Context, string, string) (string, error) {
	return "", errors.New("what is pasted must not be shown")
}

func (p *person) Secret(_ context.Context, question, _ string) (store.SecretText, error) {
	p.asked = append(p.asked, question)
	return store.NewSecretText(p.secret(p.said.String())), nil
}

func (p *person) Confirm(_ context.Context, question, _ string) (bool, error) {
	p.asked = append(p.asked, question)
	return p.confirm(question)
}

func (p *person) Progress() (show func(time.Duration, string), end func()) {
	return func(_ time.Duration, text string) { p.Say("%s", text) }, func() {}
}

// methodNamed returns a method of the real ones.
func methodNamed(t *testing.T, p provider.Provider, name string, o loginOptions) method {
	t.Helper()
	o.noBrowser = true
	kept, err := openCredentials(console{out: os.Stderr}, nil, protectionFlags{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := newSignIn().methodsFor(kept, p, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Name() == name {
			return m
		}
	}
	t.Fatalf("%s has no method %q", p.ID, name)
	return nil
}

// TestSomebodyIsAsked shows the questions of methods and what their answers do.
func TestSomebodyIsAsked(t *testing.T) {
	signInHome(t)
	s := newAuthServer(t)
	s.configure(t)
	corp := provider.Provider{ID: "corp", Name: "corp"}
	no := func(string) (bool, error) { return false, nil }
	yes := func(string) (bool, error) { return true, nil }

	u := &person{confirm: no}
	_, err := methodNamed(t, corp, "restricted", loginOptions{}).Login(t.Context(), u, corp, "")
	if !errors.Is(err, errCancelled) || !strings.Contains(u.said.String(), "notice: The vendor does not permit this.") || strings.Contains(u.said.String(), "open this address") {
		t.Errorf("a no to the notice = %v, %q", err, u.said.String())
	}
	pasted := func(said string) string {
		_, rest, _ := strings.Cut(said, "open this address in a browser: ")
		address, _, _ := strings.Cut(rest, "\n")
		return "http://127.0.0.1/callback?code=c&state=" + parameter(t, address, "state")
	}
	u = &person{confirm: yes, secret: pasted}
	c, err := methodNamed(t, corp, "restricted", loginOptions{paste: true}).Login(t.Context(), u, corp, "work")
	if err != nil || c.Kind != store.CredentialOAuth || c.Profile != "work" || len(u.asked) != 2 {
		t.Errorf("a yes to the notice = %v, %v after %q", c, err, u.asked)
	}

	ran := filepath.Join(t.TempDir(), "ran")
	s.wellKnown = fmt.Sprintf(`{"auth":{"command":[%q],"env":"CORP_TOKEN"}}`, script(t, "login", "echo x >"+ran+"; echo token"))
	gateway := provider.Provider{ID: s.URL + "/gateway"}
	u = &person{confirm: no}
	_, err = methodNamed(t, gateway, methodWellKnown, loginOptions{acceptTerms: true}).Login(t.Context(), u, gateway, "")
	if _, statErr := os.Stat(ran); !errors.Is(err, errCancelled) || !errors.Is(statErr, os.ErrNotExist) {
		t.Errorf("a no to the command = %v, and it ran: %v", err, statErr)
	}
	u = &person{confirm: yes}
	c, err = methodNamed(t, gateway, methodWellKnown, loginOptions{}).Login(t.Context(), u, gateway, "")
	if err != nil || c.Token.Reveal() != "token" {
		t.Errorf("a yes to the command = %v, %v", c, err)
	}

	// The order in which they are offered: the key first, the restricted last.
	kept, err := openCredentials(console{out: os.Stderr}, nil, protectionFlags{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := newSignIn().methodsFor(kept, corp, loginOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if last, ok := all[len(all)-1].(restricted); !ok || !last.Restricted() || all[0].Name() != methodAPI {
		t.Errorf("methods start with %s and end with %s", all[0].Name(), all[len(all)-1].Name())
	}
}

// TestProgressIsALineEachMinute is what a log gets, where there is no terminal.
func TestProgressIsALineEachMinute(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	show, end := console{out: &out}.Progress()
	for left := 179 * time.Second; left > 0; left -= time.Second {
		show(left, fmt.Sprintf("code X, %s left", showLeft(left)))
	}
	end()
	if want := "opencode: code X, 2:59 left\nopencode: code X, 1:59 left\nopencode: code X, 0:59 left\n"; out.String() != want {
		t.Errorf("progress = %q, want %q", out.String(), want)
	}
}
