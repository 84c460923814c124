package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"opencode/store"
)

const (
	// defaultInterval and slowDown are those of RFC 8628.
	defaultInterval = 5 * time.Second
	slowDown        = 5 * time.Second
	maxInterval     = 2 * time.Minute
	// maxDeviceLife bounds how long a code is polled for.
	maxDeviceLife = time.Hour
	// progressEvery is how often the user sees the time that is left.
	progressEvery = time.Second
	deviceGrant   = "urn:ietf:params:oauth:grant-type:device_code"
)

// device is what a server says at the start of a device flow.
type device struct {
	code     store.SecretText
	userCode string
	url      string
	expires  time.Time
	interval time.Duration
}

// beginDevice starts a device flow.
func (c *Client) beginDevice(ctx context.Context, m Method, e Endpoint, o Options) (*Attempt, error) {
	asked := c.cfg.Now()
	params := url.Values{"client_id": {e.ClientID}}
	if len(e.Scopes) > 0 {
		params.Set("scope", strings.Join(e.Scopes, " "))
	}
	for name, value := range e.Params {
		params.Set(name, value)
	}
	got, err := c.do(ctx, call{op: "sign-in", method: http.MethodPost, address: e.DeviceURL, params: params})
	if err != nil {
		return nil, err
	}
	// A server elsewhere must not lead the browser to a port of this machine.
	d, err := got.device(asked, strings.HasPrefix(strings.ToLower(e.DeviceURL), "http://"))
	if err != nil {
		return nil, err
	}
	a := &Attempt{Method: m.ID, URL: d.url, UserCode: d.userCode, Expires: d.expires, now: c.cfg.Now}
	a.wait = func(ctx context.Context, progress func(Progress)) (store.Credential, error) {
		if err := a.claim(); err != nil {
			return store.Credential{}, err
		}
		t, err := c.poll(ctx, e, d, progress)
		if err != nil {
			return store.Credential{}, err
		}
		credential := t.credential(m, e, o.Profile, c.cfg.Now())
		if e.ClientID != m.ClientID {
			credential.Metadata[metaClientID] = e.ClientID
		}
		if e.Domain != m.Domain {
			credential.EnterpriseURL = e.Domain
		}
		if credential.Refresh.IsZero() && credential.Expires.IsZero() {
			// Other programs that read the file look for the token in both.
			credential.Refresh = credential.Access
		}
		return credential, valid(credential)
	}
	return a, nil
}

// device reads the answer to a request for a device code.
func (a *answer) device(asked time.Time, plainLoopback bool) (device, error) {
	if err := a.check(); err != nil {
		return device{}, advice(err)
	}
	code, err := a.text("device_code", maxTokenBytes)
	if err != nil {
		return device{}, err
	}
	d := device{code: store.NewSecretText(code), interval: defaultInterval}
	if d.userCode, err = a.text("user_code", 64); err != nil {
		return device{}, err
	}
	for _, name := range []string{"verification_uri", "verification_url"} {
		if d.url == "" {
			if d.url, err = a.text(name, 2<<10); err != nil {
				return device{}, err
			}
		}
	}
	if d.code.IsZero() || d.userCode == "" || d.url == "" {
		return device{}, a.unusable("lacks device_code, user_code or verification_uri")
	}
	// The browser gets this address, and so may a program that opens it.
	if _, err := parseURL(d.url, plainLoopback); err != nil {
		return device{}, a.unusable("verification_uri " + err.Error())
	}
	seconds, ok, err := a.number("expires_in")
	switch {
	case err != nil:
		return device{}, err
	case !ok || seconds <= 0:
		return device{}, a.unusable("has no expires_in")
	}
	d.expires = lifeFrom(asked, min(seconds, maxDeviceLife.Seconds()))
	if seconds, _, err = a.number("interval"); err != nil {
		return device{}, err
	}
	if seconds > 0 {
		d.interval = max(time.Second, time.Duration(min(seconds, maxInterval.Seconds())*float64(time.Second)))
	}
	return d, nil
}

// poll asks for the tokens until the user decides or the code expires.
func (c *Client) poll(ctx context.Context, e Endpoint, d device, progress func(Progress)) (tokens, error) {
	interval := d.interval
	params := url.Values{"grant_type": {deviceGrant}, "device_code": {d.code.Reveal()}, "client_id": {e.ClientID}}
	var lost error
	for {
		if err := c.pause(ctx, d, interval, progress); err != nil {
			if lost != nil && errors.Is(err, ErrExpired) {
				return tokens{}, errors.Join(err, lost)
			}
			return tokens{}, err
		}
		asked := c.cfg.Now()
		a, err := c.do(ctx, call{op: "sign-in", method: http.MethodPost, address: e.TokenURL, headers: e.TokenHeaders, params: params, json: e.TokenBody == "json"})
		switch {
		case ctx.Err() != nil:
			return tokens{}, fmt.Errorf("sign-in: %w", ctx.Err())
		case errors.Is(err, ErrAnswer):
			return tokens{}, err
		case err != nil || a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError:
			// A network that is away for a while must not cost the code.
			interval = min(2*interval, maxInterval)
			if lost = err; err == nil {
				lost = &ServerError{Op: "sign-in", Host: a.host, Status: a.status}
			}
			continue
		}
		lost = nil
		t, err := a.tokens(asked)
		server, refused := errors.AsType[*ServerError](err)
		switch {
		case err == nil:
			return t, nil
		case refused && server.Code == "authorization_pending":
		case refused && server.Code == "slow_down":
			interval = min(interval+slowDown, maxInterval)
			if seconds, ok, err := a.number("interval"); err == nil && ok {
				interval = min(max(interval, time.Duration(min(seconds, maxInterval.Seconds())*float64(time.Second))), maxInterval)
			}
		default:
			return tokens{}, err
		}
	}
}

// pause waits until the next request, and shows the time that is left.
func (c *Client) pause(ctx context.Context, d device, interval time.Duration, progress func(Progress)) error {
	for until := c.cfg.Now().Add(interval); ; {
		now := c.cfg.Now()
		left := d.expires.Sub(now)
		if left <= 0 {
			return hinted(fmt.Errorf("sign-in: %w", ErrExpired), "start again; the code has to be entered before it expires")
		}
		progress(Progress{UserCode: d.userCode, URL: d.url, Left: left})
		if !now.Before(until) {
			return nil
		}
		if err := c.cfg.Wait(ctx, min(progressEvery, until.Sub(now), left)); err != nil {
			return fmt.Errorf("sign-in: %w", err)
		}
	}
}
