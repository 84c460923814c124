package policies_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
	"opencode/policy/shell"
)

// corpus reads a list of commands, one a line; ⏎ is a newline and ⇥ a tab.
func corpus(tb testing.TB, name string) []string {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("..", "policy", "shell", "testdata", "corpus", name+".txt"))
	if err != nil {
		tb.Fatal(err)
	}
	var list []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, "# ") {
			list = append(list, strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(line))
		}
	}
	return list
}

// decideCommand decides a command in a project, by the default policy.
func decideCommand(tb testing.TB, e *engine.Engine, root, command string) policy.Decision {
	tb.Helper()
	d, err := e.Decide(tb.Context(), policy.FromCall(time.Unix(1795188300, 0).UTC(), policy.Principal{
		Kind: policy.PrincipalToken, ID: "tok_test", Permissions: []string{"read", "write", "execute"},
	}, policy.Call{
		Tool: "bash", Args: map[string]any{"command": command}, Root: root, Directory: root, Home: "/home/somebody",
		Session: &policy.Session{ID: "ses_test", Agent: "build", Directory: root, Interactive: true},
	}))
	if err != nil {
		tb.Fatalf("Decide(%q): %v", command, err)
	}
	return d
}

// TestCorpus decides the commands of the corpus: a banned program is denied
// however it is reached, what must not pass in silence does not, and ordinary
// work is neither denied nor asked about, but for a tenth at most.
func TestCorpus(t *testing.T) {
	t.Parallel()
	e := defaultEngine(t)
	root := t.TempDir()
	total := 0
	count := func(name string) map[policy.Effect]int {
		n := map[policy.Effect]int{}
		for _, command := range corpus(t, name) {
			total++
			d := decideCommand(t, e, root, command)
			n[d.Effect]++
			var ids []string
			for _, r := range d.Rules {
				ids = append(ids, r.ID)
			}
			switch {
			case (name == "banned" || name == "unproven") && (d.Effect != policy.Deny || !strings.Contains(strings.Join(ids, " "), "bash.banned_command")):
				t.Errorf("%s: %q is %s by %s, want denied as banned", name, command, d.Effect, ids)
			case name == "silent" && d.Effect == policy.Allow:
				t.Errorf("%s: %q is allowed by %s", name, command, ids)
			case name == "harmless" && d.Effect == policy.Deny:
				t.Errorf("%s: %q is denied by %s", name, command, ids)
			case name == "harmless" && d.Effect == policy.Ask && testing.Verbose():
				t.Logf("%s: %q is asked about by %s", name, command, ids)
			}
		}
		t.Logf("%s: %d denied, %d asked, %d allowed", name, n[policy.Deny], n[policy.Ask], n[policy.Allow])
		return n
	}
	count("banned")
	count("unproven")
	count("silent")
	harmless := count("harmless")
	if asked, all := harmless[policy.Ask], harmless[policy.Ask]+harmless[policy.Allow]; asked*10 > all {
		t.Errorf("%d of %d ordinary commands are asked about", asked, all)
	}
	if total < 600 {
		t.Errorf("the corpus holds %d commands, want 600", total)
	}
	if proven := len(corpus(t, "banned")); proven < 900 {
		t.Errorf("%d commands are shown to run a banned program, want 900", proven)
	}
}

// TestCorpusBesideSecrets decides commands that read a secret without naming it,
// in a project that holds secrets and links out of it. In one that holds none
// the same commands are ordinary work.
func TestCorpusBesideSecrets(t *testing.T) {
	t.Parallel()
	e := defaultEngine(t)
	base := t.TempDir()
	root, empty := filepath.Join(base, "p"), t.TempDir()
	for _, name := range []string{"p/.env", "p/certs/server.key", "p/src/sub/a.go", "p/f", "notes"} {
		path := filepath.Join(base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "links"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(base, "notes"), filepath.Join(root, "links", "n")); err != nil {
		t.Fatal(err)
	}
	commands := corpus(t, "reach")
	if len(commands) < 40 {
		t.Errorf("the corpus holds %d commands, want more", len(commands))
	}
	for _, command := range commands {
		if d := decideCommand(t, e, root, command); d.Effect == policy.Allow {
			t.Errorf("%q is allowed by %v beside secrets", command, d.Rules)
		}
		if d := decideCommand(t, e, empty, command); d.Effect != policy.Allow {
			t.Errorf("%q is %s by %v without any secret", command, d.Effect, d.Rules)
		}
	}
}

// TestAskCommandsAreKnown: a command that is asked about by its sub-command is
// one of a program whose sub-commands are known.
func TestAskCommandsAreKnown(t *testing.T) {
	t.Parallel()
	data, err := policies.FS.ReadFile("opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Ask map[string]any `json:"ask_commands"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	for command := range config.Ask {
		words := strings.Fields(command)
		if len(words) < 2 {
			continue
		}
		calls := shell.Analyze(command).Calls
		if len(calls) == 0 || calls[0].Subcommand != words[1] {
			t.Errorf("%q is asked about, but no sub-command of %s is known", command, words[0])
		}
	}
}

func defaultEngine(tb testing.TB) *engine.Engine {
	tb.Helper()
	e, err := engine.New(tb.Context(), engine.Config{Default: policies.FS})
	if err != nil {
		tb.Fatal(err)
	}
	return e
}
