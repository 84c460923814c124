package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"opencode/store"
)

// maxAnswerBytes bounds an answer. Tokens with many claims have some
// kilobytes.
const maxAnswerBytes = 256 << 10

// call is one request to a server.
type call struct {
	op      string
	method  string
	address string
	// bearer is sent as Authorization, if there is one.
	bearer  store.SecretText
	headers map[string]string
	// params are the body, as a form or as JSON, of a POST.
	params url.Values
	json   bool
	// plainLoopback permits http to this machine for this request.
	plainLoopback bool
}

// answer is what a server said.
type answer struct {
	call   call
	host   string
	status int
	// members are those of the JSON object that was sent, nil if it was none.
	members map[string]json.RawMessage
}

// do makes one request. Only a request that got no usable answer at all is an
// error: the status is the caller's to judge.
func (c *Client) do(ctx context.Context, call call) (*answer, error) {
	u, err := parseURL(call.address, c.cfg.PlainLoopback || call.plainLoopback)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	var body io.Reader
	contentType := ""
	switch {
	case call.method != http.MethodPost:
	case call.json:
		members := map[string]string{}
		for name := range call.params {
			members[name] = call.params.Get(name)
		}
		encoded, err := json.Marshal(members)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", call.op, err)
		}
		body, contentType = bytes.NewReader(encoded), "application/json"
	default:
		body, contentType = strings.NewReader(call.params.Encode()), "application/x-www-form-urlencoded"
	}
	req, err := http.NewRequestWithContext(ctx, call.method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", call.op, withoutURL(err))
	}
	for name, value := range call.headers {
		req.Header.Set(name, value)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	if !call.bearer.IsZero() {
		req.Header.Set("Authorization", "Bearer "+call.bearer.Reveal())
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, hinted(fmt.Errorf("%s: %s: %w", call.op, u.Host, withoutURL(err)), "see that the network and any proxy let this machine reach "+u.Host)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", call.op, u.Host, withoutURL(err))
	}
	a := &answer{call: call, host: u.Host, status: res.StatusCode}
	if len(text) > maxAnswerBytes {
		return nil, a.unusable(fmt.Sprintf("is larger than %d bytes", maxAnswerBytes))
	}
	a.members = decodeObject(text, res.Header.Get("Content-Type"))
	return a, nil
}

// decodeObject returns the members of a JSON object, or nil. The names are
// taken as they are: package json would take ACCESS_TOKEN for access_token.
func decodeObject(text []byte, contentType string) map[string]json.RawMessage {
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == "text/html" {
		return nil
	}
	if !utf8.Valid(text) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil
	}
	return members
}

// unusable is the error of an answer that nobody can use.
func (a *answer) unusable(why string) error {
	return hinted(fmt.Errorf("%s: %s (HTTP status %d): %w: %s", a.call.op, a.host, a.status, ErrAnswer, why),
		"see that the address is the provider's and that no proxy answers in its place")
}

// check returns a [ServerError] unless the answer is a JSON object that reports
// no error. Some servers report errors with status 200.
func (a *answer) check() error {
	if a.status >= 200 && a.status < 300 {
		if a.members == nil {
			return a.unusable("is no JSON object")
		}
		if raw, ok := a.members["error"]; !ok || string(raw) == "null" {
			return nil
		}
	}
	e := &ServerError{Op: a.call.op, Host: a.host, Status: a.status}
	var code string
	if raw, ok := a.members["error"]; ok && json.Unmarshal(raw, &code) == nil {
		e.Code = knownCode(code)
	}
	var nested struct{ Type string }
	if raw, ok := a.members["error"]; ok && e.Code == "" && json.Unmarshal(raw, &nested) == nil && nested.Type == "invalid_request_error" {
		e.Code = "invalid_request"
	}
	return e
}

// text returns a member that is a text of visible ASCII, "" if there is none.
func (a *answer) text(name string, limit int) (string, error) {
	raw, ok := a.members[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", a.unusable(name + " is no text")
	}
	if len(s) > limit {
		return "", a.unusable(name + " is too long")
	}
	if !printable(s) {
		return "", a.unusable(name + " has characters that cannot be printed")
	}
	return s, nil
}

// number returns a member that is a number, or a text with one as some servers
// write it.
func (a *answer) number(name string) (value float64, ok bool, err error) {
	raw, ok := a.members[name]
	if !ok || string(raw) == "null" {
		return 0, false, nil
	}
	raw = bytes.TrimSuffix(bytes.TrimPrefix(raw, []byte(`"`)), []byte(`"`))
	if err := json.Unmarshal(raw, &value); err != nil || string(raw) == "null" {
		return 0, false, a.unusable(name + " is no number")
	}
	return value, true, nil
}

// withoutURL returns what is behind an error of package url or http: its text
// repeats the address, and addresses have held secrets.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
