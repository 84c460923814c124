package redact

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Handler is a slog.Handler that takes credentials out of messages and
// attributes before another handler sees them.
type Handler struct {
	inner    slog.Handler
	redactor *Redactor
}

var _ slog.Handler = (*Handler)(nil)

// NewHandler returns a Handler in front of another one.
func NewHandler(inner slog.Handler, r *Redactor) *Handler { return &Handler{inner, r} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.inner.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, h.redactor.String(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(h.attr(a))
		return true
	})
	return h.inner.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		clean = append(clean, h.attr(a))
	}
	return &Handler{h.inner.WithAttrs(clean), h.redactor}
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.inner.WithGroup(name), h.redactor}
}

func (h *Handler) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.text(a.Key, a.Value.String()))
	case slog.KindGroup:
		group := a.Value.Group()
		clean := make([]slog.Attr, 0, len(group))
		for _, member := range group {
			clean = append(clean, h.attr(member))
		}
		a.Value = slog.GroupValue(clean...)
	case slog.KindAny:
		a.Value = h.any(a.Key, a.Value)
	default: // numbers and times
	}
	return a
}

// text redacts a text that stands under a name.
func (h *Handler) text(name, text string) string {
	if isSecret(keyOf(name), []byte(text), notation{quoted: true}) {
		return "[redacted:secret]"
	}
	return h.redactor.String(text)
}

// any redacts a value of any other kind. If it holds a credential its text
// stands in for it; otherwise it stays what it is.
func (h *Handler) any(name string, v slog.Value) slog.Value {
	var text string
	switch x := v.Any().(type) {
	case nil:
		return v
	case error:
		text = x.Error()
	case fmt.Stringer:
		text = x.String()
	case []byte:
		text = string(x)
	default:
		// A JSON handler encodes what a text handler prints: both are looked at.
		text = fmt.Sprintf("%+v", x)
		if encoded, err := json.Marshal(x); err == nil {
			if clean := h.text(name, string(encoded)); clean != string(encoded) {
				return slog.StringValue(clean)
			}
		}
	}
	if clean := h.text(name, text); clean != text {
		return slog.StringValue(clean)
	}
	return v
}
