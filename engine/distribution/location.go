package distribution

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"opencode/remote"
)

// location is the address of a bundle.
type location struct {
	// url is the address with http or https as its scheme.
	url *url.URL
	// reference is REGISTRY/REPO:TAG or REGISTRY/REPO@DIGEST, "" if the bundle
	// is not in a registry.
	reference string
	// digest is what the manifest in the registry must have, "" for any.
	digest string
	text   string
}

// IsSource reports whether the name of a policy is the address of a server and
// not a path.
func IsSource(text string) bool { return strings.Contains(text, "://") }

// Host returns the host of a source, with its port if one is given.
func Host(text string) (string, error) {
	l, err := parseLocation(text)
	if err != nil {
		return "", err
	}
	return l.url.Host, nil
}

var (
	repository = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	})
	tag    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`) })
	digest = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) })
)

func parseLocation(text string) (location, error) {
	u, err := remote.ParseURL(text, "https", "oci", "http", "oci+http")
	if err != nil {
		return location{}, fmt.Errorf("policy source: %w", err)
	}
	l := location{url: u, text: remote.Show(u)}
	switch u.Scheme {
	case "http", "https":
		if strings.Trim(u.Path, "/") == "" {
			return location{}, fmt.Errorf("policy source %s: names no bundle, such as https://%s/bundle.tar.gz", l.text, u.Host)
		}
		return l, nil
	case "oci":
		u.Scheme = "https"
	default:
		u.Scheme = "http"
	}
	if err := l.parseReference(); err != nil {
		return location{}, fmt.Errorf("policy source %s: %w", l.text, err)
	}
	return l, nil
}

func (l *location) parseReference() error {
	path := strings.TrimPrefix(l.url.Path, "/")
	repo, sum, pinned := strings.Cut(path, "@")
	name := ""
	if !pinned {
		i := strings.LastIndexByte(path, ':')
		if i < 0 {
			return errors.New("names neither a tag nor a digest: want oci://REGISTRY/REPO:TAG or oci://REGISTRY/REPO@sha256:…")
		}
		repo, name = path[:i], path[i+1:]
	}
	switch {
	case l.url.RawQuery != "":
		return errors.New("has a query, which a registry does not know")
	case !repository().MatchString(repo):
		return errors.New("is no name of a repository")
	case pinned && !digest().MatchString(sum):
		return errors.New("the digest must be sha256: and 64 hexadecimal digits")
	case !pinned && !tag().MatchString(name):
		return errors.New("is no name of a tag")
	}
	l.reference, l.digest = l.url.Host+"/"+path, sum
	return nil
}

// String returns the address without its query, which may be secret.
func (l location) String() string { return l.text }

// name returns the name of the directory for what is kept of the source.
func (l location) name() string {
	full := *l.url
	sum := sha256.Sum256([]byte(l.reference + " " + full.String()))
	host := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, full.Hostname())
	return strings.Trim(host, ".") + "-" + hex.EncodeToString(sum[:8])
}
