// Package remote reaches the servers that an operator has named: those that
// policies come from, and those that decisions are sent to.
//
// It speaks TLS alone, but for hosts that were named as plain or are this
// machine. A credential goes to the one host that it is for, whatever
// redirects to whom, and never over plain HTTP to another machine. What a
// server sends is bounded. It knows nothing of policies.
//
// A [Transport] is safe for concurrent use.
package remote

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Errors of what a server sends or leads to.
var (
	// ErrPlain means that a server would be reached without TLS.
	ErrPlain = errors.New("is not reached by https")
	// ErrTooLarge means that a server sends more than is read.
	ErrTooLarge = errors.New("is too large")
	// ErrStatus means that a server answered with another status than it
	// should.
	ErrStatus = errors.New("the server answered")
)

// Config says how a server is reached.
type Config struct {
	// Origin is the scheme and host of the server. Required; see [ParseURL].
	Origin *url.URL
	// Credential is for that host alone. The zero value is none.
	Credential Credential
	// AllowHTTP lets the server be on another machine without TLS.
	AllowHTTP bool
	// MaxBytes bounds the body of an answer; the default is 16 MiB.
	MaxBytes int64
	// Base carries requests out. It defaults to a transport of its own, with
	// the roots and the proxy of the system.
	Base http.RoundTripper
}

const (
	defaultMaxBytes = 16 << 20
	maxHeaderBytes  = 64 << 10
	dialTimeout     = 10 * time.Second
)

// ParseURL reads the address of a server. It has a host, and neither a
// credential nor a fragment: a credential in an address would be seen in lists
// of processes and in logs.
func ParseURL(text string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error of the parser quotes the text, which may hold a credential.
		return nil, errors.New("is not a URL")
	}
	known := false
	for _, scheme := range schemes {
		known = known || u.Scheme == scheme
	}
	switch {
	case !known:
		return nil, fmt.Errorf("scheme %q: want %s", u.Scheme, strings.Join(schemes, " or "))
	case u.User != nil:
		return nil, errors.New("holds a user or a password; name a credential for its host instead")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("has no host")
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, errors.New("has a fragment")
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// Show returns an address without what may be secret in it, which is its query.
func Show(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return shown.String()
}

// IsLoopback reports whether a host is this machine.
func IsLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}

// Transport carries requests to one server, and to those that it leads to.
type Transport struct {
	cfg  Config
	base http.RoundTripper
}

var _ http.RoundTripper = (*Transport)(nil)

// New returns a transport to a server.
func New(cfg Config) (*Transport, error) {
	if cfg.Origin == nil || cfg.Origin.Host == "" {
		return nil, errors.New("remote: Origin is required")
	}
	if cfg.MaxBytes < 0 {
		return nil, errors.New("remote: MaxBytes is negative")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	t := &Transport{cfg: cfg, base: cfg.Base}
	if err := t.checkScheme(cfg.Origin); err != nil {
		return nil, err
	}
	if t.base == nil {
		t.base = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    dialTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			MaxIdleConns:           4,
			IdleConnTimeout:        90 * time.Second,
			// What is compressed is compressed by whoever made it: a bundle that
			// was unpacked on the way would be no bundle.
			DisableCompression: true,
			ForceAttemptHTTP2:  true,
		}
	}
	return t, nil
}

// CloseIdleConnections lets go of connections that nothing waits for.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *Transport) checkScheme(u *url.URL) error {
	switch {
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && t.isOrigin(u) && (t.cfg.AllowHTTP || IsLoopback(u.Hostname())):
		return nil
	}
	return fmt.Errorf("%s://%s %w", u.Scheme, u.Host, ErrPlain)
}

// isOrigin reports whether an address is on the server that was named.
func (t *Transport) isOrigin(u *url.URL) bool {
	return u.Scheme == t.cfg.Origin.Scheme && canonicalHost(u) == canonicalHost(t.cfg.Origin)
}

func canonicalHost(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// RoundTrip implements [http.RoundTripper]. It is the last to see a request, so
// that nothing above it can send a credential elsewhere.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.checkScheme(req.URL); err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	switch {
	case !t.isOrigin(req.URL), req.URL.Scheme == "http" && !IsLoopback(req.URL.Hostname()):
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	case req.Header.Get("Authorization") == "" && !t.cfg.Credential.IsZero():
		value, err := t.cfg.Credential.header()
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", value)
	}
	// A redirect tells the next server which address led to it.
	req.Header.Del("Referer")
	res, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if req.Method != http.MethodHead && res.ContentLength > t.cfg.MaxBytes {
		return nil, errors.Join(t.tooLarge(), res.Body.Close())
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: t.cfg.MaxBytes, err: t.tooLarge()}
	return res, nil
}

func (t *Transport) tooLarge() error {
	return fmt.Errorf("the answer of %s %w: more than %d bytes", t.cfg.Origin.Host, ErrTooLarge, t.cfg.MaxBytes)
}

// boundedBody is a body that ends with an error when it is longer than it may
// be.
type boundedBody struct {
	io.ReadCloser
	left int64
	err  error
}

// Read implements [io.Reader].
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.err
	}
	// One byte more than there may be tells too long from just long enough.
	p = p[:min(int64(len(p)), b.left+1)]
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, b.err
	}
	return n, err
}

// Describe returns an error of a request without the address in it, whose query
// may be secret.
func Describe(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
