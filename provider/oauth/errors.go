package oauth

import (
	"errors"
	"fmt"
)

// message is an error that users see as it stands: other programs print the
// very same sentences, and people look for them.
type message string

// Error implements error.
func (m message) Error() string { return string(m) }

// Errors of sign-in that are the same whatever the provider.
const (
	// ErrState means that the answer belongs to another attempt.
	ErrState = message("Authorization state mismatch.")
	// ErrCodeRequired means that nothing was pasted.
	ErrCodeRequired = message("Authorization code required.")
	// ErrNoClaude means that there is neither Claude Code nor a session of it.
	ErrNoClaude = message("Claude Code is not installed. Install it from https://claude.ai/download, then try again. Or use Browser sign-in.")
	// ErrNoSession means that Claude Code is there and nobody is signed in.
	ErrNoSession = message("Claude Code is installed, but no session was found. Run `claude auth login --claudeai` and try again.")
	// ErrSessionExpired means that Claude Code could not renew its session.
	ErrSessionExpired = message("Claude session is still expired. Run `claude auth login --claudeai` and try again.")
	// ErrSessionKept means that Claude Code was asked for a new token, and kept
	// the one that it has, which is not expired.
	ErrSessionKept = message("Claude session is not expired, and Claude Code did not renew it. If requests are refused, run `claude auth login --claudeai` and try again.")
)

// Errors of sign-in that are told apart.
var (
	// ErrMethod means that there is no such method of sign-in.
	ErrMethod = errors.New("method of sign-in is not known")
	// ErrNotice means that the method's notice was not accepted.
	ErrNotice = errors.New("the provider restricts this method, and its notice was not accepted")
	// ErrDenied means that the user or the provider said no.
	ErrDenied = errors.New("sign-in was denied")
	// ErrExpired means that the time for the sign-in is over.
	ErrExpired = errors.New("the code expired")
	// ErrUsed means that the attempt was finished before.
	ErrUsed = errors.New("this sign-in is over")
	// ErrGrant means that the provider takes the code or the refresh token no
	// more: only signing in again helps.
	ErrGrant = errors.New("the provider no longer accepts it")
	// ErrCode means that what was pasted is no code.
	ErrCode = errors.New("is no authorization code")
	// ErrAnswer means that a server answered what nobody can use.
	ErrAnswer = errors.New("answer cannot be used")
	// ErrNotRenewable means that there is nothing to renew the credential with.
	ErrNotRenewable = errors.New("cannot be renewed")
)

// HintedError is an error with a sentence that says what to do about it.
type HintedError struct {
	err  error
	hint string
}

// Error implements error.
func (e *HintedError) Error() string { return e.err.Error() }

// Unwrap returns the error itself.
func (e *HintedError) Unwrap() error { return e.err }

// Hint returns what to do.
func (e *HintedError) Hint() string { return e.hint }

func hinted(err error, hint string) error { return &HintedError{err, hint} }

// ServerError is a refusal by a server. It repeats nothing that the server
// wrote but an error code that a standard knows: anything else could hold what
// was sent to it.
type ServerError struct {
	Op   string
	Host string
	// Status is that of HTTP; some servers refuse with 200.
	Status int
	// Code is that of OAuth, "" for one that no standard knows.
	Code string
}

// Error implements error.
func (e *ServerError) Error() string {
	if e.Code != "" {
		return fmt.Sprintf("%s: %s refused with %s", e.Op, e.Host, e.Code)
	}
	return fmt.Sprintf("%s: %s refused with HTTP status %d", e.Op, e.Host, e.Status)
}

// Unwrap returns what the code means for the user.
func (e *ServerError) Unwrap() error {
	switch e.Code {
	case "access_denied", "authorization_declined":
		return ErrDenied
	case "expired_token":
		return ErrExpired
	case "invalid_grant":
		return ErrGrant
	}
	return nil
}

// knownCode returns the code if a standard knows it.
func knownCode(code string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
		"access_denied", "unsupported_response_type", "server_error", "temporarily_unavailable",
		"authorization_pending", "slow_down", "expired_token", "authorization_declined", "device_flow_disabled",
		"incorrect_client_credentials", "incorrect_device_code", "interaction_required", "login_required",
		"account_selection_required", "consent_required", "invalid_target", "invalid_token", "insufficient_scope":
		return code
	}
	return ""
}

// advice adds to a refusal what to do about it.
func advice(err error) error {
	var server *ServerError
	if !errors.As(err, &server) {
		return err
	}
	switch server.Code {
	case "access_denied", "authorization_declined":
		return hinted(err, "start again and allow the access in the browser")
	case "expired_token":
		return hinted(err, "start again; the code has to be entered before it expires")
	case "invalid_grant", "incorrect_device_code":
		return hinted(err, "start again; a code works once and for a short time")
	case "invalid_client", "unauthorized_client", "incorrect_client_credentials":
		return hinted(err, "see that the client id is the one that the provider gave")
	case "device_flow_disabled":
		return hinted(err, "enable the device flow in the settings of the OAuth app")
	case "invalid_scope", "invalid_target":
		return hinted(err, "see that the scopes are ones that the provider grants to this client")
	case "server_error", "temporarily_unavailable":
		return hinted(err, "try again later")
	}
	switch {
	case server.Status >= 300 && server.Status < 400:
		return hinted(err, "the server wants to lead elsewhere, which is not followed; see that the address is right")
	case server.Status == 429 || server.Status >= 500:
		return hinted(err, "try again later")
	}
	return hinted(err, "see that the addresses of this method are right, or sign in by another")
}
