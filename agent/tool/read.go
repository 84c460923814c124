package tool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Content is what a file holds.
type Content struct {
	Data []byte
	// Binary reports that it is not text in UTF-8.
	Binary bool
	// MediaType is what the data look like, whatever the file is called.
	MediaType string
}

// Read returns what a file holds, if that is not more than so many bytes.
func (t *Tree) Read(name string, most int64) (Content, error) {
	f, size, err := t.file(name)
	if err != nil {
		return Content{}, err
	}
	defer func() { _ = f.Close() }()
	if size > most {
		return Content{}, fmt.Errorf("%q: %w: it has %d bytes, and at most %d are read", name, ErrTooLarge, size, most)
	}
	// It may have grown since.
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return Content{}, fmt.Errorf("read: %w", err)
	}
	if int64(len(data)) > most {
		return Content{}, fmt.Errorf("%q: %w: it has more than %d bytes", name, ErrTooLarge, most)
	}
	return newContent(data), nil
}

func newContent(data []byte) Content {
	c := Content{Data: data, Binary: isBinary(data) || !utf8.Valid(data), MediaType: "text/plain; charset=utf-8"}
	if c.Binary {
		c.MediaType = "application/octet-stream"
		if sniffed := http.DetectContentType(data); !strings.HasPrefix(sniffed, "text/") {
			c.MediaType = sniffed
		}
	}
	return c
}

// isBinary reports whether data cannot be text.
func isBinary(data []byte) bool { return bytes.IndexByte(data, 0) >= 0 }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
