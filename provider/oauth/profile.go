package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"opencode/regular"
	"opencode/store"
)

const metaCLIProfile = "cli_profile"

// cliProfileName keeps the name of a profile from leading out of its directory.
var cliProfileName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$`) })

// profileCredential is what the profile of Anthropic's CLI holds at this
// moment. The CLI renews it; we only read, and take the access token alone.
func (c *Client) profileCredential(m Method, profile, cliProfile string) (store.Credential, error) {
	dir, err := c.cliDir()
	if err != nil {
		return store.Credential{}, err
	}
	signIn := "run `ant auth login` and try again"
	if cliProfile == "" {
		cliProfile = "default"
		text, err := regular.Read(filepath.Join(dir, "active_config"), regular.FollowLinks, maxFileBytes)
		switch {
		case err == nil && strings.TrimSpace(string(text)) != "":
			cliProfile = strings.TrimSpace(string(text))
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return store.Credential{}, fmt.Errorf("anthropic profile: %w", err)
		}
	}
	if !cliProfileName().MatchString(cliProfile) {
		return store.Credential{}, hinted(errors.New("anthropic profile: is not the name of a profile"), "name one of the files in "+filepath.Join(dir, "configs"))
	}
	path, err := credentialsPath(dir, cliProfile)
	if err != nil {
		return store.Credential{}, err
	}
	text, err := regular.Read(path, regular.FollowLinks, maxFileBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return store.Credential{}, hinted(fmt.Errorf("anthropic profile %q: %w", cliProfile, store.ErrNotExist), signIn)
	case err != nil:
		return store.Credential{}, fmt.Errorf("anthropic profile %q: %w", cliProfile, err)
	}
	t, err := localTokens(decodeObject(text, ""), "access_token", "expires_at", func(s int64) time.Time { return time.Unix(s, 0) })
	if err != nil {
		return store.Credential{}, hinted(fmt.Errorf("anthropic profile %q: %s: %w", cliProfile, path, err), signIn)
	}
	credential := tokens{access: t.access, expires: t.expires}.credential(m, m.Endpoint, profile, c.cfg.Now())
	credential.Metadata[metaCLIProfile] = cliProfile
	if credential.ExpiresWithin(c.cfg.Now(), refreshSkew) {
		return store.Credential{}, hinted(fmt.Errorf("anthropic profile %q: %w", cliProfile, ErrExpiredProfile), signIn)
	}
	return credential, valid(credential)
}

// ErrExpiredProfile means that Anthropic's CLI has to renew its profile.
var ErrExpiredProfile = errors.New("its access token is expired")

func (c *Client) cliDir() (string, error) {
	if dir, ok := c.cfg.Env("ANTHROPIC_CONFIG_DIR"); ok && strings.TrimSpace(dir) != "" {
		return strings.TrimSpace(dir), nil
	}
	home, _ := c.cfg.Env("HOME")
	if home == "" {
		return "", hinted(errors.New("anthropic profile: the home directory is not known"), "set HOME or ANTHROPIC_CONFIG_DIR")
	}
	return filepath.Join(home, ".config", "anthropic"), nil
}

// credentialsPath is where a profile keeps its tokens: the file of its name,
// unless its configuration says another.
func credentialsPath(dir, profile string) (string, error) {
	usual := filepath.Join(dir, "credentials", profile+".json")
	text, err := regular.Read(filepath.Join(dir, "configs", profile+".json"), regular.FollowLinks, maxFileBytes)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return usual, nil
	case err != nil:
		return "", fmt.Errorf("anthropic profile %q: %w", profile, err)
	}
	var config struct {
		Authentication struct {
			Path string `json:"credentials_path"`
		} `json:"authentication"`
	}
	if json.Unmarshal(text, &config) != nil {
		return "", fmt.Errorf("anthropic profile %q: its configuration is no JSON object", profile)
	}
	switch path := config.Authentication.Path; {
	case path == "":
		return usual, nil
	case filepath.IsAbs(path):
		return filepath.Clean(path), nil
	default:
		return filepath.Join(dir, path), nil
	}
}
