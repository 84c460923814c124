package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"opencode/regular"
	"opencode/store"
)

const (
	claudeService    = "Claude Code-credentials"
	claudeModel      = "claude-haiku-4-5"
	claudeTime       = 60 * time.Second
	claudeSkew       = 60 * time.Second
	maxFileBytes     = 256 << 10
	envClaudeDir     = "CLAUDE_CONFIG_DIR"
	envClaudePath    = "CLAUDE_CODE_AUTH_CREDENTIALS_PATH"
	envClaudeService = "CLAUDE_CODE_AUTH_KEYCHAIN_SERVICE"
	envClaudeModel   = "CLAUDE_CODE_AUTH_REFRESH_MODEL"
	envClaudeTime    = "CLAUDE_CODE_AUTH_REFRESH_TIMEOUT_MS"
	envClaudeSkew    = "CLAUDE_CODE_AUTH_REFRESH_SKEW_MS"
)

// ClaudeConfig is what finding the session of Claude Code works with.
type ClaudeConfig struct {
	// Home is the user's home directory. Required.
	Home string
	// Env looks an environment variable up; without it none is set.
	Env func(name string) (value string, ok bool)
	// Keychain is asked first; nil where there is none, which is everywhere but
	// on macOS.
	Keychain Keychain
	// Command is the program, by path or by a name on PATH; the default is
	// "claude".
	Command string
	// Environ is the environment that it runs with; the default is that of
	// this process. Keys for the API are left out of it: with one, the program
	// uses that and lets its session be.
	Environ []string
	// Now is the clock; the default is the system's.
	Now func() time.Time
	// Logger gets what is worth knowing and not an error; the default drops it.
	Logger *slog.Logger
}

// ClaudeSession finds the session of an installed Claude Code and has Claude
// Code itself renew it. It reads the tokens where that program keeps them and
// never writes there, nor does it use the refresh token: that would end the
// program's own session.
type ClaudeSession struct {
	cfg           ClaudeConfig
	path, service string
	model         string
	limit, skew   time.Duration
}

// claudeTokens is a session. It holds no refresh token.
type claudeTokens struct {
	access  store.SecretText
	expires time.Time // zero is never
}

// NewClaudeSession returns what finds the session. A blank variable counts as
// unset, and one that is no number is an error.
func NewClaudeSession(cfg ClaudeConfig) (*ClaudeSession, error) {
	if cfg.Env == nil {
		cfg.Env = func(string) (string, bool) { return "", false }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Command == "" {
		cfg.Command = "claude"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	get := func(name, byDefault string) string {
		if value, ok := cfg.Env(name); ok && strings.TrimSpace(value) != "" {
			return strings.TrimSpace(value)
		}
		return byDefault
	}
	var errs []error
	if cfg.Home == "" {
		errs = append(errs, errors.New("claude session: the home directory is not known"))
	}
	milliseconds := func(name string, byDefault time.Duration) time.Duration {
		text := get(name, "")
		if text == "" {
			return byDefault
		}
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			errs = append(errs, fmt.Errorf("%s: want milliseconds, a whole number", name))
		}
		return time.Duration(n) * time.Millisecond
	}
	s := &ClaudeSession{
		cfg: cfg, service: claudeService, model: get(envClaudeModel, claudeModel),
		limit: milliseconds(envClaudeTime, claudeTime), skew: milliseconds(envClaudeSkew, claudeSkew),
	}
	usual := filepath.Join(cfg.Home, ".claude")
	dir := get(envClaudeDir, usual)
	if dir != usual {
		sum := sha256.Sum256([]byte(dir))
		s.service += "-" + hex.EncodeToString(sum[:4])
	}
	s.service = get(envClaudeService, s.service)
	s.path = get(envClaudePath, filepath.Join(dir, ".credentials.json"))
	return s, errors.Join(errs...)
}

// tokens returns a session that has some life left, and is not the rejected
// one. A stale session is renewed by running Claude Code.
func (s *ClaudeSession) tokens(ctx context.Context, rejected store.SecretText) (claudeTokens, error) {
	t, found, err := s.read(ctx)
	if err != nil {
		return claudeTokens{}, err
	}
	if found && s.good(t, rejected) {
		return t, nil
	}
	command, err := exec.LookPath(s.cfg.Command)
	switch {
	case err != nil:
		return claudeTokens{}, ErrNoClaude
	case !found:
		return claudeTokens{}, ErrNoSession
	}
	s.run(ctx, command)
	if ctx.Err() != nil {
		return claudeTokens{}, fmt.Errorf("claude session: %w", ctx.Err())
	}
	// How the program ended says nothing: it renews first and may fail after.
	t, found, err = s.read(ctx)
	switch {
	case err != nil:
		return claudeTokens{}, err
	case !found:
		return claudeTokens{}, ErrNoSession
	case s.good(t, rejected):
		return t, nil
	case t.expires.IsZero() || t.expires.After(s.cfg.Now()):
		return claudeTokens{}, ErrSessionKept
	}
	return claudeTokens{}, ErrSessionExpired
}

func (s *ClaudeSession) good(t claudeTokens, rejected store.SecretText) bool {
	stale := !t.expires.IsZero() && !t.expires.After(s.cfg.Now().Add(s.skew))
	return !stale && (rejected.IsZero() || !t.access.Equal(rejected))
}

// run has Claude Code do the least it can, in an empty directory: in a project
// it would run what the project tells it to.
func (s *ClaudeSession) run(ctx context.Context, command string) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	dir, err := os.MkdirTemp("", "opencode-claude-")
	if err != nil {
		s.cfg.Logger.WarnContext(ctx, "claude was not run: no temporary directory", "error", err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()                                // an empty directory that stays does no harm
	cmd := exec.CommandContext(ctx, command, "-p", ".", "--model", s.model) //nolint:gosec // G204: the program is the user's own
	cmd.Dir = dir
	environ := s.cfg.Environ
	if environ == nil {
		environ = os.Environ()
	}
	cmd.Env = slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		return strings.HasPrefix(entry, "ANTHROPIC_API_KEY=") || strings.HasPrefix(entry, "ANTHROPIC_AUTH_TOKEN=")
	})
	// What it started may hold its output open for longer than it lives.
	cmd.WaitDelay = time.Second
	ownGroup(cmd)
	if err := cmd.Run(); err != nil {
		s.cfg.Logger.DebugContext(ctx, "claude ended with an error", "exit", cmd.ProcessState.ExitCode())
	}
}

// read returns the session from the first place that has one.
func (s *ClaudeSession) read(ctx context.Context) (t claudeTokens, found bool, err error) {
	if s.cfg.Keychain != nil {
		item, err := s.cfg.Keychain.Item(ctx, s.service)
		switch {
		case err == nil:
			t, err := parseClaude([]byte(item.Reveal()))
			if err == nil {
				return t, true, nil
			}
			s.cfg.Logger.WarnContext(ctx, "the keychain's session cannot be read", "error", err)
		case !errors.Is(err, store.ErrNotExist):
			// A keychain that is locked must not hide the file.
			s.cfg.Logger.WarnContext(ctx, "the keychain cannot be read", "error", err)
		}
	}
	text, err := regular.Read(s.path, regular.FollowLinks, maxFileBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return claudeTokens{}, false, nil
	case err != nil:
		return claudeTokens{}, false, fmt.Errorf("claude session: %w", err)
	}
	t, err = parseClaude(text)
	if err != nil {
		return claudeTokens{}, false, hinted(fmt.Errorf("claude session: %s: %w", s.path, err), "run `claude auth login --claudeai` and try again")
	}
	return t, true, nil
}

// parseClaude reads a session as Claude Code keeps it. No error repeats any of
// it.
func parseClaude(text []byte) (claudeTokens, error) {
	members := decodeObject(text, "")
	if inner, ok := members["claudeAiOauth"]; ok {
		members = decodeObject(inner, "")
	}
	return localTokens(members, "accessToken", "expiresAt", time.UnixMilli)
}

// localTokens reads an access token and its end from the file of another
// program. One without an end never expires.
func localTokens(members map[string]json.RawMessage, accessName, expiresName string, unix func(int64) time.Time) (claudeTokens, error) {
	// An answer has the readers that are needed here.
	a := &answer{members: members}
	if members == nil {
		return claudeTokens{}, errors.New("is no JSON object with a session")
	}
	access, err := a.text(accessName, maxTokenBytes)
	if err != nil || access == "" || strings.Contains(access, " ") {
		return claudeTokens{}, fmt.Errorf("has no %s that can be used", accessName)
	}
	at, ok, err := a.number(expiresName)
	if err != nil || at < 0 || at > 1<<52 {
		return claudeTokens{}, fmt.Errorf("has an %s that is no time", expiresName)
	}
	t := claudeTokens{access: store.NewSecretText(access)}
	if ok && at > 0 {
		t.expires = unix(int64(at))
	}
	return t, nil
}

// sessionOf is the credential of the session, other than the rejected one.
func (c *Client) sessionOf(ctx context.Context, m Method, profile string, rejected store.SecretText) (store.Credential, error) {
	if c.cfg.Session == nil {
		return store.Credential{}, ErrNoClaude
	}
	t, err := c.cfg.Session.tokens(ctx, rejected)
	if err != nil {
		return store.Credential{}, err
	}
	credential := tokens{access: t.access, expires: t.expires}.credential(m, m.Endpoint, profile, c.cfg.Now())
	return credential, valid(credential)
}
