package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"opencode/store"
)

// WellKnown is what a company's gateway says about signing in to it: a command
// whose output is the token, and the variable that the token is for. Nothing
// here runs the command. Whoever does shows it first and has it confirmed, and
// runs it without a shell.
type WellKnown struct {
	// URL is the gateway, without a slash at its end.
	URL     string
	Command []string
	Env     string

	now func() time.Time
}

var envName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`) })

// WellKnown reads the document of a gateway, over https or from this very
// machine.
func (c *Client) WellKnown(ctx context.Context, gateway string) (WellKnown, error) {
	u, err := parseURL(gateway, true)
	if err != nil || u.RawQuery != "" {
		return WellKnown{}, hinted(errors.New("gateway: want an address of the form https://host/path"), "give the address that your company names, with https")
	}
	base := strings.TrimRight(u.String(), "/")
	a, err := c.do(ctx, call{op: "gateway", method: http.MethodGet, address: base + "/.well-known/opencode", plainLoopback: true})
	if err != nil {
		return WellKnown{}, err
	}
	if err := a.check(); err != nil {
		return WellKnown{}, hinted(err, "see that "+base+" is a gateway for opencode")
	}
	var auth struct {
		Command []string `json:"command"`
		Env     string   `json:"env"`
	}
	if err := json.Unmarshal(a.members["auth"], &auth); err != nil {
		return WellKnown{}, a.unusable("has no auth with a command and an env")
	}
	if len(auth.Command) == 0 || len(auth.Command) > 64 || auth.Command[0] == "" {
		return WellKnown{}, a.unusable("has no command")
	}
	for _, arg := range auth.Command {
		// The user decides by what is shown, so that it must be all there is.
		if len(arg) > 4<<10 || !printable(arg) {
			return WellKnown{}, a.unusable("its command has characters that cannot be shown")
		}
	}
	if !envName().MatchString(auth.Env) || steers(auth.Env) {
		return WellKnown{}, a.unusable("its env is not the name of a variable for a token")
	}
	return WellKnown{URL: base, Command: auth.Command, Env: auth.Env, now: c.cfg.Now}, nil
}

// steers reports whether a variable changes what programs do.
func steers(name string) bool {
	name = strings.ToUpper(name)
	for _, prefix := range []string{"LD_", "DYLD_", "GIT_", "NODE_", "PYTHON", "PERL", "RUBY", "BASH", "XDG_", "OPENCODE_", "GO"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case "PATH", "HOME", "SHELL", "IFS", "ENV", "PAGER", "EDITOR", "VISUAL", "BROWSER", "TMPDIR", "USER", "PS4", "PROMPT_COMMAND",
		"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "CLAUDE_CONFIG_DIR", "ANTHROPIC_CONFIG_DIR":
		return true
	}
	return false
}

// Credential makes a credential of what the command printed.
func (w WellKnown) Credential(output string) (store.Credential, error) {
	token := strings.TrimSpace(output)
	if token == "" || len(token) > maxTokenBytes || !printable(token) || strings.Contains(token, " ") {
		return store.Credential{}, hinted(fmt.Errorf("gateway %s: the command printed no token", w.URL), "run the command by hand and see what it says")
	}
	cred := store.Credential{
		CredentialKey: store.CredentialKey{Provider: w.URL}, Kind: store.CredentialWellKnown,
		EnvName: w.Env, Token: store.NewSecretText(token), Method: "wellknown",
	}
	if w.now != nil {
		cred.Created = w.now().Truncate(time.Millisecond)
	}
	return cred, valid(cred)
}
