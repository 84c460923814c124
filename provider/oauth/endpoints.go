package oauth

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

//go:embed endpoints.json
var endpointsJSON []byte

// Flow is the way in which a method gets its credential.
type Flow string

// The flows.
const (
	FlowCode    Flow = "code"    // authorization code with PKCE
	FlowKey     Flow = "key"     // PKCE that ends in an API key at once, as OpenRouter has it
	FlowDevice  Flow = "device"  // RFC 8628
	FlowOIDC    Flow = "oidc"    // authorization code with endpoints found by discovery
	FlowSession Flow = "session" // the session of an installed Claude Code
	FlowProfile Flow = "profile" // a profile of Anthropic's own CLI
)

// Endpoint is the data of one method of sign-in. None of it is secret: client
// ids are public identifiers. Its JSON form is what endpoints.json and the
// configuration file have.
type Endpoint struct {
	Provider string `json:"provider,omitempty"`
	Label    string `json:"label,omitempty"`
	Flow     Flow   `json:"flow,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// DynamicClient means that the callback brings the client id for everything
	// after it.
	DynamicClient bool   `json:"dynamic_client,omitempty"`
	Issuer        string `json:"issuer,omitempty"`
	AuthorizeURL  string `json:"authorize_url,omitempty"`
	DeviceURL     string `json:"device_url,omitempty"`
	TokenURL      string `json:"token_url,omitempty"`
	RevokeURL     string `json:"revoke_url,omitempty"`
	// RedirectURL is a page of the provider that shows a code to paste. Without
	// it the browser is sent to RedirectPath on a port of this machine.
	RedirectURL  string            `json:"redirect_url,omitempty"`
	RedirectPath string            `json:"redirect_path,omitempty"`
	Scopes       []string          `json:"scopes,omitempty"`
	Params       map[string]string `json:"params,omitempty"`
	// TokenBody is "form", the default, or "json".
	TokenBody string `json:"token_body,omitempty"`
	// TokenState adds the state to the request for tokens.
	TokenState   bool              `json:"token_state,omitempty"`
	TokenHeaders map[string]string `json:"token_headers,omitempty"`
	// KeyURL makes an API key out of the tokens, which are then dropped.
	KeyURL string `json:"key_url,omitempty"`
	// ChainURL gives a short-lived API token for the tokens.
	ChainURL string `json:"chain_url,omitempty"`
	// APIURL is where the credential is for; DomainAPIURL takes its place for
	// another domain than Domain.
	APIURL       string            `json:"api_url,omitempty"`
	DomainAPIURL string            `json:"domain_api_url,omitempty"`
	APIHeaders   map[string]string `json:"api_headers,omitempty"`
	// Domain stands in the addresses for {domain}, unless the user has another.
	Domain string `json:"domain,omitempty"`
	// Notice is what the user must accept first.
	Notice string `json:"notice,omitempty"`
	// Env names the environment variables that replace members, by the JSON
	// name of the member.
	Env map[string]string `json:"env,omitempty"`
}

// Method is an [Endpoint] with its name.
type Method struct {
	ID string
	Endpoint
}

// maxEndpointsBytes bounds what [ParseEndpoints] reads.
const maxEndpointsBytes = 256 << 10

// ParseEndpoints reads endpoints by method, as the configuration file has them.
// A member that is not known is refused.
func ParseEndpoints(text []byte) (map[string]Endpoint, error) {
	if len(text) > maxEndpointsBytes {
		return nil, fmt.Errorf("endpoints: are larger than %d bytes", maxEndpointsBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var endpoints map[string]Endpoint
	if err := dec.Decode(&endpoints); err != nil {
		return nil, fmt.Errorf("endpoints: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("endpoints: want one JSON object and nothing after it")
	}
	return endpoints, nil
}

// methods returns the embedded endpoints with what replaces parts of them: the
// configuration first, then the environment.
func methods(overrides map[string]Endpoint, env func(string) (string, bool), plainLoopback bool) (map[string]Method, error) {
	embedded, err := ParseEndpoints(endpointsJSON)
	if err != nil {
		return nil, err
	}
	all := map[string]Method{}
	for id, e := range embedded {
		all[id] = Method{ID: id, Endpoint: e}
	}
	for id, e := range overrides {
		all[id] = Method{ID: id, Endpoint: e.over(all[id].Endpoint)}
	}
	var errs []error
	for id, m := range all {
		m.Endpoint = m.withEnv(env)
		all[id] = m
		if err := m.check(plainLoopback); err != nil {
			errs = append(errs, fmt.Errorf("sign-in method %q: %w", id, err))
		}
	}
	return all, errors.Join(errs...)
}

// texts returns the members that are texts, by their JSON names.
func (e *Endpoint) texts() map[string]*string {
	return map[string]*string{
		"provider": &e.Provider, "label": &e.Label, "client_id": &e.ClientID, "issuer": &e.Issuer,
		"authorize_url": &e.AuthorizeURL, "device_url": &e.DeviceURL, "token_url": &e.TokenURL,
		"revoke_url": &e.RevokeURL, "redirect_url": &e.RedirectURL, "redirect_path": &e.RedirectPath,
		"token_body": &e.TokenBody, "key_url": &e.KeyURL, "chain_url": &e.ChainURL, "api_url": &e.APIURL,
		"domain_api_url": &e.DomainAPIURL, "domain": &e.Domain,
	}
}

// over returns the base with every member replaced that is set here. A notice
// stays: nobody but the user can accept it. An address of "none" removes the
// base's, as for a provider that offers no revocation after all.
func (e Endpoint) over(base Endpoint) Endpoint {
	to := base.texts()
	for name, from := range e.texts() {
		switch *from {
		case "":
		case "none":
			*to[name] = ""
		default:
			*to[name] = *from
		}
	}
	if e.Flow != "" {
		base.Flow = e.Flow
	}
	base.DynamicClient = base.DynamicClient || e.DynamicClient
	base.TokenState = base.TokenState || e.TokenState
	if e.Scopes != nil {
		base.Scopes = e.Scopes
	}
	base.Params = merged(base.Params, e.Params)
	base.TokenHeaders = merged(base.TokenHeaders, e.TokenHeaders)
	base.APIHeaders = merged(base.APIHeaders, e.APIHeaders)
	base.Env = merged(base.Env, e.Env)
	if base.Notice == "" {
		base.Notice = e.Notice
	}
	return base
}

func merged(base, over map[string]string) map[string]string {
	if len(over) == 0 {
		return base
	}
	both := maps.Clone(base)
	if both == nil {
		both = map[string]string{}
	}
	maps.Copy(both, over)
	return both
}

// withEnv returns the endpoint with what the environment replaces. A blank
// variable counts as unset.
func (e Endpoint) withEnv(env func(string) (string, bool)) Endpoint {
	to := e.texts()
	for name, variable := range e.Env {
		value, ok := env(variable)
		if value = strings.TrimSpace(value); !ok || value == "" {
			continue
		}
		if name == "scopes" {
			e.Scopes = strings.Fields(value)
		} else if member := to[name]; member != nil {
			*member = value
		}
	}
	return e
}

// needs are the addresses that a flow cannot do without.
var needs = map[Flow][]string{
	FlowCode: {"authorize_url", "token_url"}, FlowKey: {"authorize_url", "token_url"},
	FlowDevice: {"device_url", "token_url"}, FlowOIDC: nil, FlowSession: nil, FlowProfile: nil,
}

var (
	hostName = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	})
	headerName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`) })
	pathText   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^/[A-Za-z0-9/_.-]{0,200}$`) })
)

// check reports all that is wrong with the endpoint.
func (e Endpoint) check(plainLoopback bool) error {
	var errs []error
	required, ok := needs[e.Flow]
	if !ok {
		errs = append(errs, fmt.Errorf("flow: want one of %q, not %q", slices.Sorted(maps.Keys(needs)), e.Flow))
	}
	if e.TokenBody != "" && e.TokenBody != "form" && e.TokenBody != "json" {
		errs = append(errs, fmt.Errorf("token_body: want form or json, not %q", e.TokenBody))
	}
	if e.Domain != "" && !hostName().MatchString(e.Domain) {
		errs = append(errs, fmt.Errorf("domain: %q is not the name of a host", e.Domain))
	}
	if e.RedirectPath != "" && !pathText().MatchString(e.RedirectPath) {
		errs = append(errs, fmt.Errorf("redirect_path: %q is not a plain path", e.RedirectPath))
	}
	texts := e.texts()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		value := *texts[name]
		if name != "issuer" && !strings.HasSuffix(name, "_url") {
			continue
		}
		if value == "" {
			if slices.Contains(required, name) {
				errs = append(errs, fmt.Errorf("%s: is required", name))
			}
			continue
		}
		if _, err := parseURL(e.at(value, e.Domain), plainLoopback); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, headers := range []map[string]string{e.TokenHeaders, e.APIHeaders} {
		for name, value := range headers {
			if !headerName().MatchString(name) || !printable(value) || strings.EqualFold(name, "Authorization") || strings.EqualFold(name, "User-Agent") {
				errs = append(errs, fmt.Errorf("header %q: cannot be set here", name))
			}
		}
	}
	return errors.Join(errs...)
}

// at fills the domain into an address.
func (Endpoint) at(address, domain string) string {
	return strings.ReplaceAll(address, "{domain}", domain)
}

// forDomain returns the endpoint with {domain} filled in. An empty domain is
// the provider's own.
func (e Endpoint) forDomain(domain string) (Endpoint, error) {
	if domain != "" && domain != e.Domain {
		if e.Domain == "" {
			return Endpoint{}, fmt.Errorf("domain %q: this method has no other domains", domain)
		}
		if !hostName().MatchString(domain) || strings.Contains(domain, "..") {
			return Endpoint{}, hinted(fmt.Errorf("domain %q: is not the name of a host", domain), "give it as company.ghe.com, without https:// and path")
		}
		if e.DomainAPIURL != "" {
			e.APIURL = e.DomainAPIURL
		}
		e.Domain = domain
	}
	for _, text := range e.texts() {
		*text = e.at(*text, e.Domain)
	}
	return e, nil
}

// parseURL reads an address that may be given secrets: https, or http to this
// very machine where the caller permits that, without user and fragment.
func parseURL(text string, plainLoopback bool) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" || !printable(text) {
		// The error of net/url repeats the text, which may hold a password.
		return nil, errors.New("is not an address of the form https://host/path")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("must not hold a user or a password")
	case u.Fragment != "":
		return nil, errors.New("must not hold a fragment")
	case u.Scheme == "https":
	case u.Scheme == "http" && plainLoopback && isLoopback(u.Hostname()):
	default:
		return nil, fmt.Errorf("%s://%s: want https", u.Scheme, u.Host)
	}
	return u, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// printable reports whether the text is visible ASCII and blanks only, so that
// it can neither break a header nor move a terminal's cursor.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}
