//go:build unix

package regular

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

func open(path string, links Links) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
	if !links {
		flags |= syscall.O_NOFOLLOW
	}
	f, err := os.OpenFile(path, flags, 0) //nolint:gosec // G304: it is the caller who says what path is right
	// A link that is refused, and a socket, cannot even be opened.
	if errors.Is(err, syscall.ENXIO) || !bool(links) && (errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)) {
		return nil, fmt.Errorf("%s: %w", path, ErrNotRegular)
	}
	return f, err
}
