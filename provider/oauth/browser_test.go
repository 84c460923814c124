//go:build unix

package oauth_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"opencode/provider/oauth"
)

func TestSystemBrowser(t *testing.T) {
	bin := t.TempDir()
	t.Setenv("PATH", bin)
	t.Setenv("SEEN", filepath.Join(bin, "seen"))
	for _, name := range []string{"open", "xdg-open", "mine"} {
		script := "#!/bin/sh\necho \"$(basename \"$0\") $*\" >> \"$SEEN\"\n"
		script = strings.Replace(script, "$(basename \"$0\")", name, 1)
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const address = "https://auth.example/authorize?a=1&state=x;y"
	for name, d := range map[string]struct {
		goos string
		env  map[string]string
		want string // "" is no browser
	}{
		"no display":        {"linux", nil, ""},
		"X":                 {"linux", map[string]string{"DISPLAY": ":0"}, "xdg-open"},
		"Wayland":           {"linux", map[string]string{"WAYLAND_DISPLAY": "w"}, "xdg-open"},
		"over SSH":          {"linux", map[string]string{"DISPLAY": ":10", "SSH_CONNECTION": "1 2"}, ""},
		"a Mac":             {"darwin", nil, "open"},
		"a Mac over SSH":    {"darwin", map[string]string{"SSH_TTY": "x"}, ""},
		"chosen":            {"linux", map[string]string{"BROWSER": "mine"}, "mine"},
		"chosen, with more": {"linux", map[string]string{"BROWSER": "mine -x %s", "DISPLAY": ":0"}, "xdg-open"},
	} {
		_ = os.Remove(filepath.Join(bin, "seen")) // there is none at first
		open := oauth.SystemBrowser(d.goos, func(name string) (string, bool) { v, ok := d.env[name]; return v, ok })
		if open == nil {
			if d.want != "" {
				t.Errorf("%s: no browser, want %s", name, d.want)
			}
			continue
		}
		err := open(t.Context(), address)
		seen, _ := os.ReadFile(filepath.Join(bin, "seen"))
		if err != nil || string(seen) != d.want+" "+address+"\n" {
			t.Errorf("%s: %v after %q, want %s", name, err, seen, d.want)
		}
		for _, bad := range []string{"--version", "file:///etc/passwd", "javascript:alert(1)", "/etc/passwd", "http://evil.example"} {
			if err := open(t.Context(), bad); err == nil {
				t.Errorf("%s: %q was opened", name, bad)
			}
		}
	}
	if err := oauth.SystemBrowser("windows", nil)(t.Context(), address); err == nil {
		t.Error("a browser that is not there was opened")
	}
}
