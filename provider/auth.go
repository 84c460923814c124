package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// maxAuthBytes bounds the file with credentials.
const maxAuthBytes = 1 << 20

// ErrAuthFile means that the file with credentials cannot be used.
var ErrAuthFile = errors.New("the file with credentials cannot be used")

// signedIn returns the ids that the file with credentials has an entry for. The
// entries themselves are dropped here, and no error tells anything of the text.
func signedIn(path string) (map[string]bool, error) {
	text, err := readAuth(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAuthFile, err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, nil
	}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil || entries == nil {
		line := 1
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			line += bytes.Count(text[:min(int(syntax.Offset), len(text))], []byte("\n"))
		}
		return nil, fmt.Errorf("%w: %s:%d: want a JSON object", ErrAuthFile, path, line)
	}
	ids := make(map[string]bool, len(entries))
	for id, entry := range entries {
		if bytes.HasPrefix(entry, []byte("{")) {
			ids[id] = true
		}
	}
	return ids, nil
}

// readAuth returns the text of the file, nothing if it does not exist.
func readAuth(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	// Opening something else than a file could wait for ever.
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	f, err := os.Open(path) //nolint:gosec // G304: the path is the program's own
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxAuthBytes+1))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if len(text) > maxAuthBytes {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, maxAuthBytes)
	}
	return text, nil
}
