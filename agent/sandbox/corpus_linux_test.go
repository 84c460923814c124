//go:build amd64 || arm64

package sandbox_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"opencode/agent/sandbox"
)

// corpus are commands that run a banned program, which the tests of command
// facts use as well.
const corpus = "../../policy/shell/testdata/corpus/banned.txt"

// stride is how many commands of the corpus a run leaves out at a time, unless
// OPENCODE_TEST_CORPUS is "all": that takes minutes.
const stride = 24

// TestCorpus runs commands that run a banned program as if policy had allowed
// them, with stubs in the place of the programs. The ban alone differs between
// the two runs of each: nothing of a corpus runs without a sandbox.
//
// Of a command that reaches no stub without the ban the two runs show nothing.
// Where that is because this machine lacks a program that it goes through, it is
// run again with a stand-in for that: it shows nothing of the program, but that
// the kernel holds what comes through it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	names := bannedNames(t)
	// Two of everything: what a command leaves in the background may run late.
	banned, open := newCorpusRig(t, names), newCorpusRig(t, names)
	open.spec.DenyExec = nil
	standIns(t, banned)
	standIns(t, open)

	all := os.Getenv("OPENCODE_TEST_CORPUS") == "all"
	f, err := os.Open(corpus)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	total, reached, stood := 0, 0, 0
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "# ") || !all && n%stride != 0 {
			continue
		}
		total++
		standing := false
		switch {
		case open.reaches(open.placed(line, names), false):
			reached++
		case open.reaches(open.placed(line, names), true):
			standing = true
			stood++
		default:
			standing = true
			if testing.Verbose() {
				t.Logf("reaches no program: %s", line)
			}
		}
		if banned.reaches(banned.placed(line, names), standing) {
			t.Errorf("reaches the program, with stand-ins %v: %q", standing, line)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d commands without the ban: %d reach a program, %d more do with stand-ins for launchers, %d do not; with it none does", total, reached, stood, total-reached-stood)
	if (reached+stood)*10 < total*6 {
		t.Error("too few reach a program without the ban, so it shows little")
	}
}

// bannedNames returns the names that the default policy bans.
func bannedNames(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../policies/opencode/config/data.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Banned map[string]any `json:"banned_commands"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config.Banned
}

// standIn is a script that runs its command as launchers do, by its name, and
// launchers are their names.
const (
	standIn   = "testdata/standin.sh"
	launchers = `sudo doas chpst tini dumb-init cpulimit trickle softlimit gosu su-exec setuidgid envdir flock faketime runcon chrt taskset
		unshare setarch nsenter chroot busybox toybox bwrap systemd-nspawn cgexec proxychains proxychains4 fakeroot xvfb-run dotenv numactl
		strace ltrace valgrind perf pkexec torsocks torify tsocks rlwrap unbuffer catchsegv firejail daemonize dbus-launch dbus-run-session
		fakechroot run-one caffeinate chronic ifne cross-env eatmydata linux64 linux32 x86_64 i386 setpriv bunx uvx npx pnpx systemd-run
		start-stop-daemon hyperfine concurrently pee watch nodemon cargo nix-shell vagrant script su runuser nix fd fdfind entr rg fzf bat
		rsync zip man sort uv poetry pipenv pdm bundle pnpm yarn npm mise conda direnv docker podman kubectl xterm konsole gnome-terminal
		cmake tmux screen socat at batch parallel zsh ksh ash mksh rbash yash fish vim vi nvim view ex less gdb`
)

// standIns puts stand-ins for the launchers that are not installed into a
// directory of a rig's own.
func standIns(t *testing.T, r *rig) {
	t.Helper()
	script, err := os.ReadFile(standIn)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.launchers(), 0o700); err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(launchers) {
		if _, err := exec.LookPath(name); err != nil {
			r.write(filepath.Join(r.launchers(), name), string(script), 0o755)
		}
	}
}

// launchers is where the stand-ins are.
func (r *rig) launchers() string { return filepath.Join(filepath.Dir(r.home), "launchers") }

// installed finds the paths of programs in a command.
var installed = regexp.MustCompile(`(^|[\s='"(;{])(?:/usr)?/bin/([\w.-]+)`)

// placed returns a line of the corpus as a command text, in which the paths of
// banned programs are those of the stubs.
func (r *rig) placed(line string, names map[string]any) string {
	text := strings.NewReplacer("⏎", "\n", "⇥", "\t").Replace(line)
	return installed.ReplaceAllStringFunc(text, func(found string) string {
		parts := installed.FindStringSubmatch(found)
		if _, banned := names[parts[2]]; !banned {
			return found
		}
		return parts[1] + r.bin + "/" + parts[2]
	})
}

// newCorpusRig returns a rig with a stub for each name, which leaves a mark when
// it runs.
func newCorpusRig(t *testing.T, names map[string]any) *rig {
	t.Helper()
	r := newRig(t, nil)
	host(t, r.sandbox, sandbox.Exec, sandbox.Write, sandbox.Network)
	homeBin := filepath.Join(r.home, "bin")
	if err := os.Mkdir(homeBin, 0o700); err != nil {
		t.Fatal(err)
	}
	r.spec.Network, r.spec.DenyExec, r.spec.Create = false, nil, []string{r.mark()}
	for name := range names {
		r.spec.DenyExec = append(r.spec.DenyExec, name)
		for _, dir := range []string{r.bin, homeBin} {
			r.write(filepath.Join(dir, name), "#!/bin/sh\necho REACHED >>"+r.mark()+"\n", 0o755)
		}
	}
	r.path = r.bin + ":" + homeBin + ":/usr/local/bin:/usr/bin:/bin"
	r.before = fixture(t, r)
	return r
}

// fixture fills a directory with what the commands of the corpus work on, and
// returns the script that copies it into the project.
func fixture(t *testing.T, r *rig) string {
	t.Helper()
	dir := filepath.Join(filepath.Dir(r.home), "fixture")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const script = `printf 'x\ny\n' | tee f urls main.go >/dev/null
tar cf a.tar f
! command -v git >/dev/null || {
	git init -q -b main && git config user.name x && git config user.email x@example.com && git add -A && git commit -qm 1 &&
		for n in 2 3 4 5; do echo $n >>f && git commit -qam $n; done
} >/dev/null`
	cmd := r.command("bash", "-c", script)
	cmd.Dir = dir
	if out, err := r.run(cmd, nil); err != nil {
		t.Fatalf("fixture: %v\n%s", err, out)
	}
	return "cp -a '" + dir + "/.' ."
}

// mark is the file in which a stub notes that it has run.
func (r *rig) mark() string { return filepath.Join(r.home, "mark") }

// reaches runs a command, with stand-ins for launchers or without, and reports
// whether a stub has run.
func (r *rig) reaches(command string, standing bool) bool {
	r.tb.Helper()
	r.empty()
	r.write(r.mark(), "", 0o600)
	ctx, cancel := context.WithTimeout(r.tb.Context(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "--noprofile", "--norc", "-c", "--", command)
	plain := r.command("true")
	if standing {
		plain.Env = append(plain.Env, "PATH="+r.launchers()+":"+r.path)
	}
	cmd.Dir, cmd.Env, cmd.SysProcAttr, cmd.WaitDelay = plain.Dir, plain.Env, plain.SysProcAttr, time.Second
	_, _ = r.run(cmd, &r.spec) // how it ends does not matter
	text, err := os.ReadFile(r.mark())
	if err != nil {
		r.tb.Fatal(err)
	}
	return len(text) > 0
}
