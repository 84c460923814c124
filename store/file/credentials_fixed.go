package file

import (
	"context"
	"fmt"

	"opencode/store"
)

// FixedCredentials are credentials that stand in a text, such as an
// environment variable of a managed machine. They cannot be changed.
type FixedCredentials struct {
	// A function, so that printing the value shows nothing of the text.
	entries func() object
}

var _ store.Credentials = (*FixedCredentials)(nil)

// ParseCredentials returns the credentials of a text in the form of auth.json.
func ParseCredentials(text string) (*FixedCredentials, error) {
	entries, err := decodeDocument([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	return &FixedCredentials{entries: func() object { return entries }}, nil
}

// Credentials implements [store.Credentials].
func (f *FixedCredentials) Credentials(ctx context.Context) ([]store.Credential, error) {
	known, _ := f.entries().credentials()
	return known, ctx.Err()
}

// Unknown returns the names of the entries that are not understood.
func (f *FixedCredentials) Unknown() []string {
	_, unknown := f.entries().credentials()
	return unknown
}

// Credential implements [store.Credentials].
func (f *FixedCredentials) Credential(ctx context.Context, provider, profile string) (store.Credential, error) {
	key, err := store.NewCredentialKey(provider, profile)
	if err != nil {
		return store.Credential{}, err
	}
	found, err := f.entries().credential(key)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return store.Credential{}, fmt.Errorf("credential %q: %w", key, err)
	}
	return found, nil
}

// PutCredential implements [store.Credentials].
func (*FixedCredentials) PutCredential(_ context.Context, c store.Credential) error {
	return fmt.Errorf("put credential %q: %w", c.CredentialKey, store.ErrReadOnly)
}

// UpdateCredential implements [store.Credentials].
func (*FixedCredentials) UpdateCredential(_ context.Context, key store.CredentialKey, _ func(*store.Credential) error) (store.Credential, error) {
	return store.Credential{}, fmt.Errorf("update credential %q: %w", key, store.ErrReadOnly)
}

// DeleteCredential implements [store.Credentials].
func (*FixedCredentials) DeleteCredential(_ context.Context, key store.CredentialKey) error {
	return fmt.Errorf("delete credential %q: %w", key, store.ErrReadOnly)
}
