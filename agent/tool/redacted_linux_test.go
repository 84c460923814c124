package tool_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/agent/tool"
	"opencode/redact"
)

// random returns random letters, for what must not stand in a file.
func random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghkmnpqrstuvwxyz23456789"[rand.IntN(54)]
	}
	return string(b)
}

func TestRunRedacts(t *testing.T) {
	t.Parallel()
	known := random(20)
	b := newBash(t, func(c *tool.BashConfig) {
		c.Redactor = redact.New(redact.Config{Known: func() []string { return []string{known} }})
	})
	c := call(t, "")
	body, path := random(36), filepath.Join(c.Directory, "go on")
	// The token comes in two parts, the second after progress was told.
	c.Command = "printf 'token gh'; printf p_" + body[:20] + "; while ! test -e 'go on'; do sleep 0.02; done; printf '" + body[20:] + "\\nand " + known + "\\n'"
	var seen []string
	res, err := b.Run(t.Context(), c, limits, func(output string) {
		seen = append(seen, output)
		if len(seen) == 1 {
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	if want := "token [redacted:github]\nand [redacted:known]\n"; err != nil || res.Output != want || res.Redacted != 2 {
		t.Errorf("Run = %+v, %v, want the output %q", res, err, want)
	}
	for _, output := range seen {
		if strings.Contains(output, body[:8]) || strings.Contains(output, known) {
			t.Errorf("progress %q, with a part of a credential", output)
		}
	}
}
