package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"opencode/agent/tool"
	"opencode/redact"
	"opencode/store/file"
)

// newRedactor returns a redactor that knows the credentials of the user: those
// that providers are signed in with, and those in the environment of this
// program. They are read when they are first needed.
func newRedactor(env func() []string, logger *slog.Logger) (*redact.Redactor, error) {
	c, err := newKnownSecrets(env)
	if err != nil {
		return nil, err
	}
	c.marks = [2]mark{}
	c.follow(logger)
	return redact.New(redact.Config{Known: c.values}), nil
}

// knownSecrets are the values of the store of credentials and of an
// environment. What was one of them stays one, as the last that were replaced
// do: all would be without end, since tokens are renewed as long as the program
// runs, and whoever may write a credential may write as many as they like.
//
// It is told of what its program reads and writes. What other programs write it
// reads itself when a file has changed, through a store of its own: values is
// called by whoever logs, be it the program's own store, which must not wait
// for itself.
type knownSecrets struct {
	paths [2]string // the plain file and the encrypted one

	mu sync.Mutex
	// fixed are those that no file has, and recent those that one has or had,
	// the last that were told of at the end.
	fixed, recent []string
	// list is both, sorted. Nobody changes one that was given away.
	list []string
	// marks tell whether a file is another than the last time.
	marks [2]mark
	// read reads the files, without asking anybody; nil until follow.
	read    func(context.Context) error
	logger  *slog.Logger
	reading bool
	warned  bool
}

// mark is what tells one state of a file from the next.
type mark struct {
	time time.Time
	size int64
}

const (
	// maxFormer bounds the bytes of values that are in no file any more; they are
	// looked for in every line. A short one takes as much as one of shortValue.
	maxFormer  = 1 << 20
	shortValue = 1 << 10
)

// maxWait bounds how long a line of a log can wait for a store to open.
const maxWait = 30 * time.Second

// newKnownSecrets returns what is known from the environment, and more that the
// caller knows. It reads no file yet, and looks at none before follow.
func newKnownSecrets(env func() []string, more ...string) (*knownSecrets, error) {
	data, err := dataDir()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(data, "auth.json")
	c := &knownSecrets{paths: [2]string{path, path + file.SealedSuffix}, fixed: append(secretVariables(env()), more...)}
	c.fixed = append(c.fixed, secretsOf([]byte(os.Getenv(envAuthContent)))...)
	c.marks = c.look()
	c.keep(nil)
	return c, nil
}

// follow makes values look whether other programs have changed the files.
func (c *knownSecrets) follow(logger *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logger = logger
	var kept *credentials
	c.read = func(ctx context.Context) error {
		if kept == nil {
			opened, err := openFiles(console{out: io.Discard}, logger, protectionFlags{}, c.add)
			if err != nil {
				return err
			}
			kept = opened
		}
		_, err := kept.store.Credentials(ctx)
		return err
	}
}

// look returns the marks of the files.
func (c *knownSecrets) look() (marks [2]mark) {
	for i, path := range c.paths {
		if info, err := os.Stat(path); err == nil {
			marks[i] = mark{info.ModTime(), info.Size()}
		}
	}
	return marks
}

// add takes in the entries of a store, as JSON.
func (c *knownSecrets) add(text []byte) {
	if found := secretsOf(text); len(found) > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keep(found)
	}
}

// secretsOf returns the secrets of the entries of a store, as JSON.
func secretsOf(text []byte) []string {
	var entries map[string]any
	if len(text) == 0 || json.Unmarshal(text, &entries) != nil {
		return nil
	}
	var found []string
	for _, entry := range entries {
		found = appendEntry(found, entry)
	}
	return found
}

// keep takes in what is in a file now. The lock must be held.
func (c *knownSecrets) keep(now []string) {
	isNow := make(map[string]bool, len(now))
	for _, value := range now {
		isNow[value] = true
	}
	former := slices.DeleteFunc(c.recent, func(value string) bool { return isNow[value] })
	from, size := len(former), 0
	for from > 0 {
		if size += max(len(former[from-1]), shortValue); size > maxFormer {
			break
		}
		from--
	}
	c.recent = slices.AppendSeq(slices.Clone(former[from:]), maps.Keys(isNow))
	c.list = slices.Concat(c.fixed, c.recent)
	slices.Sort(c.list)
	c.list = slices.Compact(c.list)
}

// values returns what is known. Whoever comes while the files are read gets
// what was known before. Nothing is read and nothing logged under the lock: both
// may ask for the values.
func (c *knownSecrets) values() []string {
	read := c.begin()
	if read == nil {
		return c.known()
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxWait)
	defer cancel()
	if err := read(ctx); err != nil && c.isFirst() {
		c.logger.Warn("credentials cannot be read, and are not taken out of texts unless they look like some", slog.Any("error", err))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	return c.list
}

// begin returns what reads the files, if they have changed and nobody else does.
func (c *knownSecrets) begin() func(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.read == nil || c.reading {
		return nil
	}
	marks := c.look()
	if marks == c.marks {
		return nil
	}
	c.marks, c.reading = marks, true
	return c.read
}

func (c *knownSecrets) known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list
}

// isFirst reports whether nobody was warned yet.
func (c *knownSecrets) isFirst() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.warned
	c.warned = true
	return !was
}

// publicMembers are the members of a credential that tell nothing.
var publicMembers = []string{"type", "method", "expires", "enterpriseUrl", "url", "baseURL", "accountId", "scope", "scopes", "metadata"}

// appendEntry appends the secrets of an entry.
func appendEntry(list []string, entry any) []string {
	members, ok := entry.(map[string]any)
	if ok && members["type"] == "wellknown" {
		// Its key is the name of a variable.
		members = maps.Clone(members)
		delete(members, "key")
		entry = members
	}
	return appendSecrets(list, "", entry)
}

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
