//go:build !pkcs11 || !cgo

package vault

import (
	"errors"

	"opencode/store"
)

// HasPKCS11 reports whether this build can use tokens of PKCS#11.
const HasPKCS11 = false

func openHSM(HSM, store.SecretText) (token, error) {
	return nil, errors.New("this build of opencode has no PKCS#11; build it with `CGO_ENABLED=1 go build -tags pkcs11 ./cmd/opencode`")
}
