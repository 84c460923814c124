package remote

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode"

	"opencode/regular"
)

// Credential says where the credential for a server is: in a variable of the
// environment or in a file. Its zero value is none. What is in a file is read
// for each request, so that it can be replaced while the program runs.
type Credential struct {
	env, file string
}

// maxSecretBytes bounds the file of a credential.
const maxSecretBytes = 64 << 10

// ParseCredential reads "env:NAME" or "file:PATH". The credential itself is not
// taken: whoever lists the processes of a machine sees their arguments.
func ParseCredential(text string) (Credential, error) {
	kind, name, _ := strings.Cut(text, ":")
	switch {
	case kind == "env" && name != "" && !strings.ContainsAny(name, "=\x00"):
		return Credential{env: name}, nil
	case kind == "file" && name != "":
		return Credential{file: name}, nil
	}
	return Credential{}, errors.New("want env:NAME or file:PATH, where the credential is")
}

// ParseHostCredential reads "HOST=env:NAME" or "HOST=file:PATH".
func ParseHostCredential(text string) (host string, c Credential, err error) {
	host, where, ok := strings.Cut(text, "=")
	if !ok || host == "" || strings.ContainsAny(host, "/@ ") {
		return "", Credential{}, errors.New("want HOST=env:NAME or HOST=file:PATH")
	}
	c, err = ParseCredential(where)
	return strings.ToLower(host), c, err
}

// IsZero reports whether there is no credential.
func (c Credential) IsZero() bool { return c == Credential{} }

// String says where the credential is, and not what it is.
func (c Credential) String() string {
	switch {
	case c.env != "":
		return "env:" + c.env
	case c.file != "":
		return "file:" + c.file
	}
	return "none"
}

// Check reads the credential, so that a missing one is told at the start and
// not by the first server that refuses.
func (c Credential) Check() error {
	_, err := c.header()
	return err
}

// Secrets returns the texts that must be taken out of whatever is shown.
func (c Credential) Secrets() []string {
	text, err := c.text()
	if err != nil || text == "" {
		return nil
	}
	_, value := split(text)
	_, password, isBasic := strings.Cut(value, ":")
	if isBasic {
		return []string{value, password}
	}
	return []string{value}
}

// header returns the value of the Authorization header: "Bearer TOKEN", or
// "Basic" with what stands there as USER:PASSWORD. A text without either word is
// a bearer token.
func (c Credential) header() (string, error) {
	text, err := c.text()
	if err != nil {
		return "", fmt.Errorf("credential %s: %w", c, err)
	}
	if c.IsZero() {
		return "", nil
	}
	scheme, value := split(text)
	if value == "" || strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return "", fmt.Errorf("credential %s: is empty, or holds what no header can", c)
	}
	if scheme == "Basic" {
		if !strings.Contains(value, ":") {
			return "", fmt.Errorf("credential %s: after Basic want USER:PASSWORD", c)
		}
		value = base64.StdEncoding.EncodeToString([]byte(value))
	}
	return scheme + " " + value, nil
}

func split(text string) (scheme, value string) {
	first, rest, ok := strings.Cut(text, " ")
	switch {
	case ok && strings.EqualFold(first, "basic"):
		return "Basic", strings.TrimSpace(rest)
	case ok && strings.EqualFold(first, "bearer"):
		return "Bearer", strings.TrimSpace(rest)
	}
	return "Bearer", text
}

func (c Credential) text() (string, error) {
	switch {
	case c.env != "":
		value, ok := os.LookupEnv(c.env)
		if !ok {
			return "", errors.New("the variable is not set")
		}
		return strings.TrimSpace(value), nil
	case c.file != "":
		return readSecret(c.file)
	}
	return "", nil
}

func readSecret(path string) (string, error) {
	f, info, err := regular.Open(path, regular.FollowLinks)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("its mode is %#o, so that others can read it; `chmod 600` closes it", info.Mode().Perm())
	}
	b, err := regular.ReadOpen(f, maxSecretBytes)
	if errors.Is(err, regular.ErrTooLarge) {
		return "", fmt.Errorf("%w: more than %d bytes", ErrTooLarge, maxSecretBytes)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}
