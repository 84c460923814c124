package redact_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"opencode/redact"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	r := source(11)
	token, known := "gh"+"p_"+draw(r, alnums, 36), "known value"
	rd := redact.New(redact.Config{Known: func() []string { return []string{known} }})
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var out bytes.Buffer
		l := slog.New(redact.NewHandler(handler(&out), rd))
		l.With(slog.String("a", token)).WithGroup("g").Info("message "+token,
			slog.String("b", known), slog.Any("c", errors.New("error "+token)), slog.Any("d", []string{"x", known}),
			slog.Group("e", slog.String("f", token)), slog.Any("h", map[string]string{"k": token}), slog.Any("i", []byte(token)),
			slog.String("password", "hunt"+"er2"), slog.Any("j", stringer(token)), slog.Any("k", valuer(token)), slog.Int("n", 42),
			slog.Any("l", struct{ A string }{token}), slog.Any("m", []string{"plain", "list"}))
		got := out.String()
		for _, secret := range []string{token, known, "hunt" + "er2"} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: %q is in %s", name, secret, got)
			}
		}
		for _, kept := range []string{"message", "error", "42", "plain"} {
			if !strings.Contains(got, kept) {
				t.Errorf("%s: %q is not in %s", name, kept, got)
			}
		}
	}
}

type stringer string

func (s stringer) String() string { return string(s) }

type valuer string

func (v valuer) LogValue() slog.Value { return slog.StringValue(string(v)) }
