package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// CredentialSource gives the credential for requests to one provider.
type CredentialSource interface {
	// Apply sets the headers of the credential. The mark stands for what was
	// used, and tells nothing of it.
	Apply(ctx context.Context, h http.Header) (mark [32]byte, err error)
	// Renew is called after the provider refused what the mark stands for, and
	// reports whether there is another credential to try.
	Renew(ctx context.Context, mark [32]byte) (bool, error)
}

// TransportConfig is what a transport works with.
type TransportConfig struct {
	// Base sends the requests; the default is [http.DefaultTransport].
	Base http.RoundTripper
	// Source gives the credential. Required.
	Source CredentialSource
	// BaseURL is the provider's; the credential is for its host alone. Required.
	BaseURL string
	// PlainLoopback permits http to this very machine, for tests and gateways
	// that run beside us.
	PlainLoopback bool
	// Logger gets what is worth knowing and not an error; the default drops it.
	Logger *slog.Logger
}

// ErrPlain means that a request would have shown the credential to the network.
var ErrPlain = errors.New("a credential is sent over https only")

// Transport is an http.RoundTripper that puts a credential on the requests to
// its provider, and on no others: a request to another host, and one that
// comes of a redirect, goes out as it came in. A request that the provider
// refuses with 401 or 403 is sent once more with a renewed credential, if there
// is one and the body can be had again. Nothing of the credential is in its
// errors, its log, or the request that comes with a response.
//
// It is safe for concurrent use.
type Transport struct {
	cfg  TransportConfig
	host string
}

var _ http.RoundTripper = (*Transport)(nil)

// maxDrainBytes is how much of a refusal is read so that its connection can be
// used again.
const maxDrainBytes = 64 << 10

// NewTransport returns a transport.
func NewTransport(cfg TransportConfig) (*Transport, error) {
	var errs []error
	if cfg.Source == nil {
		errs = append(errs, errors.New("transport: needs a source of credentials"))
	}
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Host == "" || u.User != nil {
		// The error of net/url repeats the text, which may hold a password.
		errs = append(errs, errors.New("transport: want a base URL of the form https://host/path"))
	} else if !secure(u, cfg.PlainLoopback) {
		errs = append(errs, fmt.Errorf("transport: %s: %w", u.Host, ErrPlain))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if cfg.Base == nil {
		cfg.Base = http.DefaultTransport
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Transport{cfg: cfg, host: hostPort(u)}, nil
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	// A redirect is the server's idea and not the caller's, even back here.
	if req.URL == nil || hostPort(req.URL) != t.host || req.Response != nil {
		return t.cfg.Base.RoundTrip(req)
	}
	if !secure(req.URL, t.cfg.PlainLoopback) {
		closeBody(req)
		return nil, fmt.Errorf("%s: %w", req.URL.Host, ErrPlain)
	}
	ctx := req.Context()
	res, mark, err := t.send(req, req.Body)
	if err != nil || res.StatusCode != http.StatusUnauthorized && res.StatusCode != http.StatusForbidden {
		return res, err
	}
	replay, ok := bodyAgain(req)
	if !ok {
		t.cfg.Logger.DebugContext(ctx, "request was refused and its body cannot be sent again", "host", t.host, "status", res.StatusCode)
		return res, nil
	}
	renewed, err := t.cfg.Source.Renew(ctx, mark)
	if err != nil {
		t.cfg.Logger.WarnContext(ctx, "credential was refused and not renewed", "host", t.host, "status", res.StatusCode, "error", err)
	}
	if err != nil || !renewed {
		if replay != nil {
			_ = replay.Close() // it was never read
		}
		return res, nil
	}
	// What cannot be drained costs a connection and nothing else.
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxDrainBytes))
	_ = res.Body.Close()
	t.cfg.Logger.DebugContext(ctx, "request is sent again with a renewed credential", "host", t.host, "status", res.StatusCode)
	res, _, err = t.send(req, replay)
	return res, err
}

// send sends a copy of the request with the credential. The response shows the
// request without it.
func (t *Transport) send(req *http.Request, body io.ReadCloser) (*http.Response, [32]byte, error) {
	signed := req.Clone(req.Context())
	signed.Body = body
	mark, err := t.cfg.Source.Apply(req.Context(), signed.Header)
	if err != nil {
		closeBody(signed)
		return nil, mark, fmt.Errorf("credential for %s: %w", t.host, err)
	}
	res, err := t.cfg.Base.RoundTrip(signed)
	if err != nil {
		return nil, mark, err
	}
	res.Request = req
	return res, mark, nil
}

// bodyAgain returns the body once more, nil for none, and whether it can be
// had.
func bodyAgain(req *http.Request) (io.ReadCloser, bool) {
	if req.Body == nil || req.Body == http.NoBody {
		return req.Body, true
	}
	if req.GetBody == nil {
		return nil, false
	}
	body, err := req.GetBody()
	return body, err == nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // a transport closes it, whatever happens
	}
}

// hostPort names the server of an address in one way.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}

// secure reports whether nobody on the way can read what is sent there.
func secure(u *url.URL, plainLoopback bool) bool {
	if strings.EqualFold(u.Scheme, "https") {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return plainLoopback && strings.EqualFold(u.Scheme, "http") && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}
