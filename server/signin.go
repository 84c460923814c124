package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"opencode/provider"
	"opencode/provider/oauth"
	"opencode/provider/signin"
	"opencode/store"
)

// Clients hand credentials to the server and have it sign in; what they get
// back is true or false. A body with a credential is read here and nowhere
// else: policy is asked before there is one, no error repeats a part of it, and
// what is logged is whose credential it is.

// Errors of sign-in, in the names of the published API.
var (
	errAuthInvalid     = errors.New("cannot be done")
	errAuthMissing     = errors.New("is not under way")
	errAuthCodeMissing = errors.New("needs the code that the browser shows")
	errAuthFailed      = errors.New("did not succeed")
)

// providerAuthError is an error of a sign-in, which names the provider.
type providerAuthError struct {
	kind     error
	provider string
	why      string
}

func (e *providerAuthError) Error() string {
	text := fmt.Sprintf("sign-in to %s %v", e.provider, e.kind)
	if e.why != "" {
		text += ": " + e.why
	}
	return text
}

// Unwrap returns what the status goes by.
func (e *providerAuthError) Unwrap() error { return e.kind }

const (
	// maxAuthBytes bounds a body with a credential: two long tokens.
	maxAuthBytes = 256 << 10
	// maxMetadata bounds what a client keeps beside a key.
	maxMetadata = 32
	// revokeTime bounds how long a provider may take to be told.
	revokeTime = 10 * time.Second
	// methodAPI is what the command line calls sign-in by key, and so what
	// the credential remembers.
	methodAPI = "api"
)

// authBody is a credential: an api key, OAuth tokens, or what a gateway gave.
type authBody struct {
	Type string `json:"type"`
	// Of api.
	Key      string            `json:"key,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Of oauth.
	Refresh string `json:"refresh,omitempty"`
	Access  string `json:"access,omitempty"`
	// Expires is in milliseconds since 1970; 0 is never.
	Expires       int64  `json:"expires,omitempty"`
	AccountID     string `json:"accountId,omitempty"`
	EnterpriseURL string `json:"enterpriseUrl,omitempty"`
	// Of wellknown, with the name of a variable as key.
	Token string `json:"token,omitempty"`
}

// credential returns the credential of a body. No error of it repeats any part.
func (b authBody) credential(key store.CredentialKey, now time.Time) (store.Credential, error) {
	c := store.Credential{CredentialKey: key, Created: now.Truncate(time.Millisecond)}
	switch b.Type {
	case "api":
		c.Kind, c.Key, c.Metadata, c.Method = store.CredentialAPI, store.NewSecretText(b.Key), b.Metadata, methodAPI
	case "oauth":
		c.Kind, c.Key, c.Metadata = store.CredentialOAuth, store.NewSecretText(b.Key), b.Metadata
		c.Access, c.Refresh = store.NewSecretText(b.Access), store.NewSecretText(b.Refresh)
		c.AccountID, c.EnterpriseURL = b.AccountID, b.EnterpriseURL
		if b.Expires < 0 || b.Expires > maxMillis {
			return c, fmt.Errorf("expires: %w: want milliseconds since 1970, or 0 for never", errBadRequest)
		}
		if b.Expires > 0 {
			c.Expires = time.UnixMilli(b.Expires)
		}
		if len(b.Metadata) > 0 {
			return c, fmt.Errorf("metadata: %w: stand beside an api key only", errBadRequest)
		}
	case "wellknown":
		// A gateway's well-known document names a command to run and a variable
		// to set. Only somebody at the machine agrees to that.
		return c, fmt.Errorf("type: %w: a gateway is signed in to with `opencode auth login URL` on the server's machine", errBadRequest)
	default:
		return c, fmt.Errorf("type: %w: want api or oauth", errBadRequest)
	}
	if !b.isOf(c.Kind) || c.Validate() != nil {
		return c, fmt.Errorf("%w: the body is no credential of type %s", errBadRequest, c.Kind)
	}
	if len(b.Metadata) > maxMetadata {
		return c, fmt.Errorf("metadata: %w: at most %d", errBadRequest, maxMetadata)
	}
	return c, nil
}

// maxMillis is the last moment that every reader of the file can take.
const maxMillis = 253402300799999

// isOf reports whether the body has nothing that another kind has.
func (b authBody) isOf(kind store.CredentialKind) bool {
	if kind == store.CredentialAPI {
		return b.Refresh+b.Access+b.AccountID+b.EnterpriseURL+b.Token == "" && b.Expires == 0
	}
	return b.Key+b.Token == ""
}

// decodeSecret reads a body that may hold a secret. What is wrong with it is
// told without a word of it.
func decodeSecret(w http.ResponseWriter, r *http.Request, v any) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxAuthBytes)
	err := decode(w, r, v, false)
	switch {
	case errors.Is(err, errTooLarge):
		return fmt.Errorf("%w: at most %d bytes", errTooLarge, maxAuthBytes)
	case err != nil:
		return fmt.Errorf("%w: the body is not the JSON that is wanted", errBadRequest)
	}
	return nil
}

// credentialKey returns the key of the provider that a request names.
func credentialKey(r *http.Request) (store.CredentialKey, error) {
	id := chi.URLParam(r, "providerID")
	key, err := store.NewCredentialKey(id, "")
	if err == nil && (key.Provider != id || strings.ContainsAny(id, "/:") || id == provider.Placeholder) {
		err = fmt.Errorf("provider %q: %w", id, store.ErrCredential)
	}
	return key, err
}

// putAuth keeps a credential that the client has.
func (s *Server) putAuth(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Credentials == nil {
		return s.notOffered(w, r)
	}
	key, err := credentialKey(r)
	if err != nil {
		return err
	}
	var body authBody
	if err := decodeSecret(w, r, &body); err != nil {
		return err
	}
	c, err := body.credential(key, s.cfg.Now())
	if err != nil {
		return err
	}
	if err := s.cfg.Credentials.PutCredential(r.Context(), c); err != nil {
		return err
	}
	s.logSignIn(r, "signed in", key)
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// deleteAuth forgets a credential, as `opencode auth logout` does: where that
// is offered the provider is told. One that is not there is forgotten already.
func (s *Server) deleteAuth(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Credentials == nil {
		return s.notOffered(w, r)
	}
	key, err := credentialKey(r)
	if err != nil {
		return err
	}
	s.revoke(r, key)
	err = s.cfg.Credentials.DeleteCredential(r.Context(), key)
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return err
	}
	if err == nil {
		s.logSignIn(r, "signed out", key)
	}
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// revoke tells the provider that a credential is not used any more, if it can.
// A provider that does not answer must not keep anybody signed in.
func (s *Server) revoke(r *http.Request, key store.CredentialKey) {
	if s.cfg.SignIn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), revokeTime)
	defer cancel()
	c, err := s.cfg.Credentials.Credential(ctx, key.Provider, key.Profile)
	if err == nil {
		_, err = s.cfg.SignIn.Client().Revoke(ctx, c)
	}
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		s.cfg.Logger.LogAttrs(r.Context(), slog.LevelWarn, "the provider was not told of the end of a credential",
			slog.String("provider", key.Provider), slog.Any("error", err))
	}
}

func (s *Server) logSignIn(r *http.Request, what string, key store.CredentialKey) {
	s.cfg.Logger.LogAttrs(r.Context(), slog.LevelInfo, what, slog.String("provider", key.Provider), slog.String("principal", passedBy(r).principal.ID))
}

// authMethod is a way in which a client can have a provider signed in to.
type authMethod struct {
	Type  string `json:"type"`
	Label string `json:"label"`
	// Prompts are what the client asks the user first.
	Prompts []authPrompt `json:"prompts,omitempty"`
}

// authPrompt is a question with a few answers.
type authPrompt struct {
	Type    string       `json:"type"`
	Key     string       `json:"key"`
	Message string       `json:"message"`
	Options []authOption `json:"options"`
}

type authOption struct {
	Label string `json:"label"`
	Value string `json:"value"`
}

const (
	methodTypeOAuth = "oauth"
	methodTypeAPI   = "api"
	// acceptKey is the input that accepts a provider's notice.
	acceptKey = "accept"
	accepted  = "yes"
)

// authMethods returns the ways to sign in to a provider, and what carries each
// out; the last is its key. Where only the machine's user can sign in, there
// is one that says so: without it clients would ask for a key, send it here,
// and not show that it was refused.
func (s *Server) authMethods(id string) (ways []authMethod, methods []oauth.Method) {
	if s.cfg.SignIn != nil {
		for _, m := range s.cfg.SignIn.Methods(id) {
			if !isRemote(m) {
				continue
			}
			way := authMethod{Type: methodTypeOAuth, Label: m.Label}
			if way.Label == "" {
				way.Label = m.ID
			}
			if m.Notice != "" {
				way.Prompts = []authPrompt{{Type: "select", Key: acceptKey, Message: m.Notice, Options: []authOption{
					{"No", "no"}, {"I have read this and want to go on", accepted},
				}}}
			}
			ways, methods = append(ways, way), append(methods, m)
		}
	}
	if s.cfg.Credentials != nil {
		return append(ways, authMethod{Type: methodTypeAPI, Label: "API key"}), methods
	}
	return append(ways, authMethod{Type: methodTypeOAuth, Label: "opencode auth login, on the server's machine"}), methods
}

// isRemote reports whether a method works for somebody who is not at the
// server's machine. A session or a profile of another program is that of the
// machine's user, and reading it runs that program.
func isRemote(m oauth.Method) bool {
	switch m.Flow {
	case oauth.FlowCode, oauth.FlowDevice, oauth.FlowOIDC:
		return m.ClientID != ""
	case oauth.FlowKey:
		return true
	case oauth.FlowSession, oauth.FlowProfile:
	}
	return false
}

// listAuthMethods answers with the ways to sign in to each provider.
func (s *Server) listAuthMethods(w http.ResponseWriter, r *http.Request) error {
	all, err := s.cfg.Providers.Providers()
	if err != nil {
		return err
	}
	methods := make(map[string][]authMethod, len(all))
	for _, p := range all {
		methods[p.ID], _ = s.authMethods(p.ID)
	}
	s.encode(w, r, http.StatusOK, methods)
	return nil
}

// authorizeBody names a method by its place in the answer of GET /provider/auth.
type authorizeBody struct {
	Method int `json:"method"`
	// Inputs are the answers to the prompts of the method.
	Inputs map[string]string `json:"inputs,omitempty"`
}

// authorizationBody says where the user goes on.
type authorizationBody struct {
	URL string `json:"url"`
	// Method is code where the user has to paste what the browser shows, and
	// auto where the sign-in ends by itself.
	Method       string `json:"method"`
	Instructions string `json:"instructions"`
}

// signInMethod returns the method that a request means.
func (s *Server) signInMethod(r *http.Request, index int) (key store.CredentialKey, m oauth.Method, err error) {
	if key, err = credentialKey(r); err != nil {
		return key, m, err
	}
	ways, methods := s.authMethods(key.Provider)
	switch {
	case index < 0 || index >= len(ways):
		err = &providerAuthError{errAuthInvalid, key.Provider, fmt.Sprintf("there is no method %d; GET /provider/auth lists them", index)}
	case index >= len(methods):
		err = &providerAuthError{errAuthInvalid, key.Provider, "this method takes a key: PUT /auth/" + key.Provider}
	default:
		m = methods[index]
	}
	return key, m, err
}

// authorize begins a sign-in for the principal.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if s.pending == nil || s.cfg.Credentials == nil {
		return s.notOffered(w, r)
	}
	var body authorizeBody
	if err := decodeSecret(w, r, &body); err != nil {
		return err
	}
	key, m, err := s.signInMethod(r, body.Method)
	if err != nil {
		return err
	}
	isAccepted := body.Inputs[acceptKey] == accepted
	if m.Notice != "" && !isAccepted {
		return &providerAuthError{errAuthInvalid, key.Provider, m.Notice + ` Send "inputs": {"accept": "yes"} to go on.`}
	}
	begun, err := s.pending.Begin(r.Context(), owner(r), key.Provider, m.ID, oauth.Options{Accepted: isAccepted})
	if err != nil {
		return signInError(key.Provider, err)
	}
	answer := authorizationBody{URL: begun.URL, Method: "auto"}
	switch {
	case begun.Paste:
		answer.Method, answer.Instructions = "code", "Paste the code that the browser shows: "
	case begun.UserCode != "":
		answer.Instructions = "Enter code: " + begun.UserCode
	default:
		answer.Instructions = "Finish in a browser on the machine that the server runs on."
	}
	s.encode(w, r, http.StatusOK, answer)
	return nil
}

// callbackBody ends a sign-in.
type callbackBody struct {
	Method int `json:"method"`
	// Code is what the browser shows, or the whole address that it was sent
	// to. Without one the answer waits until the user is done.
	Code string `json:"code,omitempty"`
}

// callback ends a sign-in that the same principal has begun, and keeps the
// credential.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) error {
	if s.pending == nil || s.cfg.Credentials == nil {
		return s.notOffered(w, r)
	}
	var body callbackBody
	if err := decodeSecret(w, r, &body); err != nil {
		return err
	}
	key, m, err := s.signInMethod(r, body.Method)
	if err != nil {
		return err
	}
	// It can wait for minutes, in which the token may be deleted: whoever had it
	// must not have the user's words sent under another account after that.
	ctx, stop := s.whileValid(r)
	defer stop()
	if _, err = s.pending.Finish(ctx, owner(r), key.Provider, m.ID, body.Code); err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errUnauthenticated) {
			return cause
		}
		return signInError(key.Provider, err)
	}
	s.logSignIn(r, "signed in", key)
	s.encode(w, r, http.StatusOK, true)
	return nil
}

// owner names who a sign-in belongs to.
func owner(r *http.Request) string {
	p := passedBy(r).principal
	return string(p.Kind) + " " + p.ID
}

// signInError gives an error of a sign-in its published name. Errors of package
// oauth hold no secret and nothing that a provider wrote freely.
func signInError(id string, err error) error {
	kind := errAuthFailed
	switch {
	case errors.Is(err, store.ErrReadOnly), errors.Is(err, signin.ErrStopped), errors.Is(err, signin.ErrTooMany):
		return err
	case errors.Is(err, store.ErrLocked), errors.Is(err, store.ErrCorrupt):
		return err
	case errors.Is(err, signin.ErrNoAttempt):
		kind = errAuthMissing
	case errors.Is(err, oauth.ErrCodeRequired):
		kind = errAuthCodeMissing
	}
	why := err.Error()
	if hinted, ok := errors.AsType[*oauth.HintedError](err); ok {
		why += "; " + hinted.Hint()
	}
	return &providerAuthError{kind, id, why}
}
