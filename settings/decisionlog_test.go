package settings_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/settings"
)

// TestDecisionLog reads where decisions are shipped, and nothing that would
// ship less or elsewhere than was meant.
func TestDecisionLog(t *testing.T) {
	t.Parallel()
	got, err := settings.Parse("f", []byte(`{"decision_log": {"url": "https://logs.example.com", "labels": {"team": "web"}}}`))
	want := settings.DecisionLog{URL: "https://logs.example.com", Labels: map[string]string{"team": "web"}}
	if diff := cmp.Diff(want, got.DecisionLog); err != nil || diff != "" || len(got.Ignored) > 0 {
		t.Errorf("Parse: %v, %v (-want +got)\n%s", err, got.Ignored, diff)
	}
	for text, want := range map[string]string{
		`{"decision_log": "https://x"}`:                                       "want an object",
		`{"decision_log": {}}`:                                                "want an object with a url",
		`{"decision_log": {"url": ""}}`:                                       "want an object with a url",
		`{"decision_log": {"url": 1}}`:                                        "decision_log.url: want a text",
		`{"decision_log": {"url": "https://x", "label": {}}}`:                 "decision_log.label: want url and labels alone",
		`{"decision_log": {"url": "https://x", "token": "SECRET"}}`:           "decision_log.token: want url and labels alone",
		`{"decision_log": {"url": "https://x", "labels": {"a": {}}}}`:         "decision_log.labels.a: want a text",
		`{"decision_log": {"url": "https://x", "labels": ["SECRET", "web"]}}`: "decision_log.labels: want an object",
	} {
		_, err := settings.Parse("f", []byte(text))
		if !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
}
