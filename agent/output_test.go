package agent_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"opencode/agent/tool"
)

func TestOutputIsKeptWithoutCredentials(t *testing.T) {
	t.Parallel()
	body := strings.Map(func(rune) rune { return rune("ABCDEFGHJKLMNPQRSTUVWXYZ23456789"[rand.IntN(32)]) }, strings.Repeat("x", 36))
	for name, row := range map[string]struct {
		result   tool.Result
		output   string
		redacted any
		raw      any
	}{
		"plain":            {tool.Result{Output: "ok\n"}, "ok\n", nil, nil},
		"redacted before":  {tool.Result{Output: "ok [redacted:github]\n", Redacted: 1}, "ok [redacted:github]\n", 1.0, nil},
		"raw":              {tool.Result{Output: "\x1b[1mok\x1b[0m\n"}, "\x1b[1mok\x1b[0m\n", nil, true},
		"hidden by colour": {tool.Result{Output: "\x1b[1mgh" + "p_\x1b[0m" + body + "\n", Redacted: 1}, "[redacted:github]\n", 2.0, nil},
		"by a zero width":  {tool.Result{Output: "gh" + "p_\u200b" + body + "\n"}, "[redacted:github]\n", 1.0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{})
			r.bash.run = func(context.Context, tool.BashCall) (tool.Result, error) { return row.result, nil }
			s := r.session()
			if got := r.shell(s, "ls"); got.err != nil {
				t.Fatal(got.err)
			}
			_, state := r.last(s)
			if state.Output == nil || *state.Output != row.output || state.Metadata["output"] != row.output ||
				state.Metadata["redacted"] != row.redacted || state.Metadata["raw"] != row.raw {
				t.Errorf("kept %+v, want %q", state, row.output)
			}
		})
	}
}

func TestErrorsAreKeptWithoutCredentials(t *testing.T) {
	t.Parallel()
	token := "gh" + "p_" + strings.Repeat("aB3dE5gH7", 4)
	r := newRig(t, options{})
	r.bash.run = func(context.Context, tool.BashCall) (tool.Result, error) {
		return tool.Result{}, errors.New("bash: cannot use " + token)
	}
	s := r.session()
	if got := r.shell(s, "ls"); got.err == nil || strings.Contains(got.err.Error(), token) {
		t.Errorf("Shell = %v, want an error without the token", got.err)
	}
	if _, state := r.last(s); !strings.Contains(state.Error, "[redacted:github]") || strings.Contains(state.Error, token) {
		t.Errorf("kept the error %q", state.Error)
	}
}
