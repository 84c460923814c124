package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Errors of the stores of credentials, beside those of all stores.
var (
	// ErrReadOnly means that this store is never written.
	ErrReadOnly = errors.New("is read-only")
	// ErrLocked means that what is kept is encrypted and the key for it is not
	// to be had. It is never overwritten.
	ErrLocked = errors.New("is locked")
	// ErrUnknown means that a credential is kept in a form that this version
	// does not understand. It is kept as it is, and can be replaced or deleted.
	ErrUnknown = errors.New("is not understood")
	// ErrCredential means that a credential is not one that can be kept.
	ErrCredential = errors.New("is no credential that can be kept")
)

// CredentialKind says of what form a credential is. Its zero value is none.
type CredentialKind string

// The kinds of credentials, as auth.json writes them.
const (
	// CredentialAPI is a key that is sent as it is.
	CredentialAPI CredentialKind = "api"
	// CredentialOAuth is an access token with what renews it.
	CredentialOAuth CredentialKind = "oauth"
	// CredentialWellKnown is a token that a command of a company's gateway
	// gave, for an environment variable that the gateway named.
	CredentialWellKnown CredentialKind = "wellknown"
)

// DefaultProfile is how the profile without a name may be written as well.
const DefaultProfile = "default"

// CredentialKey says whose credential it is. At most one is kept for a key.
type CredentialKey struct {
	// Provider is the id of a provider, or the URL of a gateway without a
	// slash at its end.
	Provider string
	// Profile tells several credentials for one provider apart; "" is the
	// profile that is used where none is named.
	Profile string
}

// NewCredentialKey returns the key as stores write it: [DefaultProfile] is "",
// and the address of a gateway has no slash at its end. It returns
// [ErrCredential] for a provider or a profile that no store keeps.
func NewCredentialKey(provider, profile string) (CredentialKey, error) {
	k := CredentialKey{Provider: strings.TrimRight(provider, "/"), Profile: profile}
	if profile == DefaultProfile {
		k.Profile = ""
	}
	switch {
	case k.Provider == "":
		return CredentialKey{}, fmt.Errorf("provider %q: %w", provider, ErrCredential)
	case len(k.Provider) > 512 || !printable(k.Provider) || strings.ContainsAny(k.Provider, "# \\"):
		return CredentialKey{}, fmt.Errorf("provider %q: %w: want an id or an address without blanks and #", provider, ErrCredential)
	case len(k.Profile) > 64 || strings.Trim(k.Profile, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != "":
		return CredentialKey{}, fmt.Errorf("profile %q: %w: want at most 64 of a-z, A-Z, 0-9, dot, _ and -", profile, ErrCredential)
	}
	return k, nil
}

// String returns "provider" or "provider#profile".
func (k CredentialKey) String() string {
	if k.Profile == "" {
		return k.Provider
	}
	return k.Provider + "#" + k.Profile
}

// Credential is what a user is signed in to a provider with. Printed, logged
// or encoded it shows whose it is and of what kind, never a secret.
type Credential struct {
	CredentialKey
	Kind CredentialKind
	// Key is the key of CredentialAPI.
	Key SecretText
	// Access and Refresh are the tokens of CredentialOAuth. Either may be
	// empty, not both.
	Access, Refresh SecretText
	// Expires is when Access ends, to the millisecond; zero is never.
	Expires time.Time
	// AccountID and EnterpriseURL are facts of some OAuth providers.
	AccountID     string
	EnterpriseURL string
	// EnvName is the variable that Token, of CredentialWellKnown, is for.
	EnvName string
	Token   SecretText
	// Method is the name of the method of sign-in that it came by, "" if that
	// is not known. Refreshing goes by it.
	Method string
	// Created is when the user signed in, to the millisecond; zero if that is
	// not known, as for what another program wrote.
	Created time.Time
	// Metadata are facts that the method needs again, such as the id of a
	// client that was issued. They are not for secrets.
	Metadata map[string]string
}

// Secrets returns everything in the credential that must not be seen.
func (c Credential) Secrets() []SecretText {
	var out []SecretText
	for _, s := range []SecretText{c.Key, c.Access, c.Refresh, c.Token} {
		if !s.IsZero() {
			out = append(out, s)
		}
	}
	return out
}

// ExpiresWithin reports whether the credential ends before now + skew. One
// that never expires does not.
func (c Credential) ExpiresWithin(now time.Time, skew time.Duration) bool {
	return !c.Expires.IsZero() && !c.Expires.After(now.Add(skew))
}

// String returns whose the credential is and of what kind.
func (c Credential) String() string { return c.CredentialKey.String() + " (" + string(c.Kind) + ")" }

// GoString implements fmt.GoStringer.
func (c Credential) GoString() string { return c.String() }

// Format implements fmt.Formatter, so that no verb shows more than String.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue implements slog.LogValuer.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText implements encoding.TextMarshaler, and so says what JSON shows.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Validate returns [ErrCredential] unless the credential has what its kind
// needs and nothing that another kind has.
func (c Credential) Validate() error {
	key, err := NewCredentialKey(c.Provider, c.Profile)
	if err != nil {
		return err
	}
	wrong := func(why string) error { return fmt.Errorf("credential %q: %w: %s", key, ErrCredential, why) }
	hasKey, hasToken := !c.Key.IsZero(), !c.Token.IsZero() || c.EnvName != ""
	hasOAuth := !c.Access.IsZero() || !c.Refresh.IsZero()
	switch c.Kind {
	case CredentialAPI:
		if !hasKey || hasOAuth || hasToken || !c.Expires.IsZero() {
			return wrong("an api credential has a key and nothing else")
		}
	case CredentialOAuth:
		if !hasOAuth || hasKey || hasToken {
			return wrong("an oauth credential has an access or a refresh token and nothing else")
		}
	case CredentialWellKnown:
		if c.Token.IsZero() || c.EnvName == "" || hasKey || hasOAuth || !c.Expires.IsZero() {
			return wrong("a wellknown credential has a token and the name of a variable and nothing else")
		}
		if key.Profile != "" {
			return wrong("a wellknown credential has no profile")
		}
	default:
		return wrong("its kind is not known")
	}
	for _, s := range c.Secrets() {
		// Anything else would end up in an HTTP header, where a line break
		// starts another one.
		if raw := s.Reveal(); len(raw) > MaxSecretText || !printable(raw) {
			return wrong("a secret has a line break or another character that cannot be printed, or is too long")
		}
	}
	for _, text := range []string{c.AccountID, c.EnterpriseURL, c.EnvName, c.Method} {
		if !printable(text) {
			return wrong("a text has a character that cannot be printed")
		}
	}
	for name, value := range c.Metadata {
		if name == "" || !printable(name) || !printable(value) {
			return wrong("metadata have a character that cannot be printed")
		}
	}
	return nil
}

// MaxSecretText is the most bytes of a [SecretText] that stores keep; signed
// tokens with many claims have some thousand.
const MaxSecretText = 64 << 10

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// SecretText is a secret of somebody else's making: a key, a token. Everything
// that prints, logs or encodes it shows "[redacted]"; only [SecretText.Reveal]
// gives it away. Its zero value is no secret, and reveals "". Compare with
// [SecretText.Equal].
type SecretText struct {
	// raw is behind a function, as in [Secret].
	raw func() string
}

// NewSecretText returns the text as a secret; "" is the zero value.
func NewSecretText(s string) SecretText {
	if s == "" {
		return SecretText{}
	}
	return SecretText{raw: func() string { return s }}
}

// Reveal returns the secret itself, for the one who is to get it.
func (s SecretText) Reveal() string {
	if s.raw == nil {
		return ""
	}
	return s.raw()
}

// IsZero reports whether there is no secret.
func (s SecretText) IsZero() bool { return s.raw == nil }

// Equal reports whether both are the same secret, in constant time.
func (s SecretText) Equal(other SecretText) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements fmt.Stringer.
func (SecretText) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (SecretText) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (SecretText) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler. There is no way back: nothing
// may read what was encoded and take it for the secret.
func (SecretText) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format implements fmt.Formatter, so that no verb shows the secret.
func (SecretText) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Credentials keeps what a user is signed in to providers with.
//
// Every method returns [ErrLocked] if the store is encrypted and its key is
// not to be had, and [ErrCorrupt] if what is kept cannot be read; neither is
// ever overwritten. A single credential that is not understood is left out of
// all of them, and is [ErrUnknown] where it is asked for. A read-only store returns [ErrReadOnly] for each change.
type Credentials interface {
	// Credentials returns all credentials, by provider and profile.
	Credentials(ctx context.Context) ([]Credential, error)
	// Credential returns the credential of a provider, or [ErrNotExist].
	Credential(ctx context.Context, provider, profile string) (Credential, error)
	// PutCredential adds a credential or replaces the one with its key.
	PutCredential(ctx context.Context, c Credential) error
	// UpdateCredential reads a credential, lets change modify it and writes
	// it, and returns what it wrote; [ErrNotExist] if there is none. From the
	// reading to the end of the writing nobody else, in this process or
	// another, updates, puts or deletes the credential with that key; others
	// are not held up. So change may take its time, as a refresh does: it
	// sees what the last one wrote, and what it writes is durable on return.
	// An error of change leaves all as it was and is returned, wrapped. If
	// change modifies nothing, nothing is written. Calling the store from
	// change may block for ever.
	UpdateCredential(ctx context.Context, key CredentialKey, change func(*Credential) error) (Credential, error)
	// DeleteCredential removes a credential, or returns [ErrNotExist].
	DeleteCredential(ctx context.Context, key CredentialKey) error
}
