package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"opencode/agent/tool"
	"opencode/redact"
)

// newRedactor returns a redactor that knows the credentials of the user: those
// that providers are signed in with, and those in the environment of this
// program.
func newRedactor(env func() []string, more ...string) (*redact.Redactor, error) {
	data, err := dataDir()
	if err != nil {
		return nil, err
	}
	c := &knownSecrets{path: filepath.Join(data, "auth.json"), env: append(secretVariables(env()), more...)}
	return redact.New(redact.Config{Known: c.values}), nil
}

// knownSecrets are the values of a file with credentials and of an environment.
// The file is read again when it has changed.
type knownSecrets struct {
	path string
	env  []string

	mu   sync.Mutex
	time time.Time
	size int64
	list []string
}

// maxCredentials bounds the file.
const maxCredentials = 1 << 20

func (c *knownSecrets) values() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.path)
	switch {
	case err != nil || !info.Mode().IsRegular() || info.Size() > maxCredentials:
		// What was there is still secret when the file is gone.
		if c.list == nil {
			return c.env
		}
		return c.list
	case c.list != nil && info.ModTime().Equal(c.time) && info.Size() == c.size:
		return c.list
	}
	text, err := fs.ReadFile(os.DirFS(filepath.Dir(c.path)), filepath.Base(c.path))
	var entries map[string]any
	if err != nil || json.Unmarshal(text, &entries) != nil {
		return slices.Concat(c.env, c.list)
	}
	c.time, c.size = info.ModTime(), info.Size()
	list := slices.Concat(c.env, c.list)
	for _, entry := range entries {
		list = appendSecrets(list, "", entry)
	}
	slices.Sort(list)
	c.list = slices.Compact(list)
	return c.list
}

// publicMembers are the members of a credential that tell nothing.
var publicMembers = []string{"type", "expires", "enterpriseUrl", "url", "baseURL", "accountId", "scope", "scopes", "metadata"}

// appendSecrets appends all text of an entry but what is known to be public.
func appendSecrets(list []string, name string, v any) []string {
	switch x := v.(type) {
	case string:
		if !slices.Contains(publicMembers, name) {
			list = append(list, x)
		}
	case map[string]any:
		for member, value := range x {
			if !slices.Contains(publicMembers, member) {
				list = appendSecrets(list, member, value)
			}
		}
	case []any:
		for _, value := range x {
			list = appendSecrets(list, name, value)
		}
	}
	return list
}

// secretVariables returns the values of the variables whose names say that they
// are secret.
func secretVariables(env []string) []string {
	var list []string
	for _, entry := range env {
		name, value, ok := strings.Cut(entry, "=")
		if ok && tool.IsSecretName(name) && len(value) >= 8 && !filepath.IsAbs(value) {
			list = append(list, value)
		}
	}
	return list
}
