package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"opencode/policy"
	"opencode/store"
)

// authenticate turns the credential of a request into a principal. No
// credential makes an anonymous one, which is the policy's to judge; one that
// is not valid is an error.
func (s *Server) authenticate(r *http.Request, now time.Time) (policy.Principal, error) {
	hash, found, err := credential(r)
	if err != nil {
		return policy.Principal{}, err
	}
	if !found {
		if facts, _ := r.Context().Value(connKey{}).(connFacts); facts.local {
			return localPrincipal(), nil
		}
		return policy.Anonymous(), nil
	}
	token, err := s.cfg.Tokens.TokenByHash(r.Context(), hash)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return policy.Principal{}, fmt.Errorf("%w: the token is not known or was deleted", errUnauthenticated)
	case err != nil:
		return policy.Principal{}, err
	}
	if err := s.cfg.Tokens.TouchToken(r.Context(), token.ID, now); err != nil {
		// That a token was used is worth a line, not a refusal.
		s.touchFailed.Do(func() {
			s.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "token use not recorded", slog.String("token", token.ID), slog.Any("error", err))
		})
	}
	return tokenPrincipal(token, now), nil
}

func tokenPrincipal(t store.Token, now time.Time) policy.Principal {
	p := policy.Principal{
		Kind: policy.PrincipalToken, ID: t.ID, Name: t.Name,
		Permissions: t.Permissions, Attributes: t.Attributes,
	}
	if !t.Expires.IsZero() {
		p.Expired = !now.Before(t.Expires)
		days := max(0, int(t.Expires.Sub(now)/(24*time.Hour)))
		p.ExpiresInDays = &days
	}
	return p
}

// credential returns the hash of the token of a request. It may stand in one place only:
// two that differ would let one part of a chain see another than the next.
func credential(r *http.Request) (hash [32]byte, found bool, err error) {
	var text string
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return hash, false, fmt.Errorf("%w: more than one Authorization header", errUnauthenticated)
	}
	if len(headers) == 1 {
		if text, err = fromHeader(headers[0]); err != nil {
			return hash, false, err
		}
		found = true
	}
	if r.URL.RawQuery != "" && takesTokenFromQuery(r) {
		for _, v := range r.URL.Query()["auth_token"] {
			other := fromQuery(v)
			if found && other != text {
				return hash, false, fmt.Errorf("%w: more than one credential", errUnauthenticated)
			}
			text, found = other, true
		}
	}
	if !found {
		return hash, false, nil
	}
	if hash, err = store.HashSecret(text); err != nil {
		return hash, false, fmt.Errorf("%w: %w", errUnauthenticated, err)
	}
	return hash, true, nil
}

// fromHeader reads a token from Bearer, or from the password of Basic with any
// user name, as the existing clients send it.
func fromHeader(h string) (string, error) {
	scheme, rest, _ := strings.Cut(h, " ")
	rest = strings.TrimSpace(rest)
	if scheme != "Bearer" { // as all but all write it
		scheme = strings.ToLower(scheme)
	}
	switch scheme {
	case "Bearer", "bearer":
		return rest, nil
	case "basic":
		b, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return "", fmt.Errorf("%w: the Basic credential is not base64", errUnauthenticated)
		}
		_, password, ok := strings.Cut(string(b), ":")
		if !ok {
			return "", fmt.Errorf("%w: the Basic credential has no password", errUnauthenticated)
		}
		return password, nil
	}
	return "", fmt.Errorf("%w: want Authorization: Bearer TOKEN, or Basic with the token as password", errUnauthenticated)
}

// takesTokenFromQuery reports whether a request may carry its token in the
// query: a browser can set no header on a WebSocket and on an event stream.
// Elsewhere a token in the query would end in logs and in histories.
func takesTokenFromQuery(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	path := r.URL.Path
	return path == "/event" || path == "/global/event" || path == "/api/event" || isWebSocket(r) && strings.HasPrefix(path, "/pty/") && strings.HasSuffix(path, "/connect")
}

// fromQuery reads a token that stands plain, or as the base64 of user:password
// as the existing clients send it.
func fromQuery(v string) string {
	if strings.HasPrefix(v, store.SecretPrefix) {
		return v
	}
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(v); err == nil {
			if _, password, ok := strings.Cut(string(b), ":"); ok {
				return password
			}
		}
	}
	return v
}

// directory returns the project directory that a request names, nil if it
// names none.
func (s *Server) directory(r *http.Request) *policy.Directory {
	var raws []string
	if r.URL.RawQuery != "" {
		raws = directoriesOf(r.URL.Query())
	}
	for _, h := range r.Header["X-Opencode-Directory"] {
		if plain, err := url.PathUnescape(h); err == nil {
			h = plain
		}
		raws = append(raws, h)
	}
	return ResolveDirectory(s.cfg.Directories, raws)
}

// directoriesOf returns the directories that a query names.
func directoriesOf(q url.Values) []string {
	return append(append([]string(nil), q["directory"]...), q["location[directory]"]...)
}

// QueryDirectory returns the directory that a query names among the projects,
// nil if it names none.
func QueryDirectory(projects []string, q url.Values) *policy.Directory {
	return ResolveDirectory(projects, directoriesOf(q))
}

// ResolveDirectory returns the directory that a client named, nil if it named
// none. If it named several, all must be inside a project: a second one cannot
// hide behind the first, which counts.
func ResolveDirectory(projects, raws []string) *policy.Directory {
	var first *policy.Directory
	for _, raw := range raws {
		if raw == "" {
			continue
		}
		d := resolveOne(projects, raw)
		if !d.Inside {
			return d
		}
		if first == nil {
			first = d
		}
	}
	return first
}

func resolveOne(projects []string, raw string) *policy.Directory {
	d := &policy.Directory{Raw: raw}
	path := raw
	if !filepath.IsAbs(path) {
		path = filepath.Join(projects[0], path)
	}
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return d
	}
	if info, err := os.Stat(resolved); err != nil || !info.IsDir() { //nolint:gosec // G703: only looked at, to be judged by policy
		return d
	}
	d.Real = resolved
	for _, project := range projects {
		d.Inside = d.Inside || resolved == project || strings.HasPrefix(resolved, strings.TrimSuffix(project, "/")+"/")
	}
	return d
}
