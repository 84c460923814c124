//go:build amd64 || arm64

package sandbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// corpus is where the commands are, which the tests of command facts use as
// well.
const corpus = "../../policy/shell/testdata/corpus"

// stride is one in how many commands of the corpus are run: all with
// OPENCODE_TEST_CORPUS=all, some in CI, and fewer elsewhere.
func stride() int {
	switch {
	case os.Getenv("OPENCODE_TEST_CORPUS") == "all":
		return 1
	case os.Getenv("OPENCODE_TEST_E2E") == "1":
		return 24
	}
	return 96
}

// Bounds on a run without the ban, until it reaches a stub and after it has ended
// without, and on a run with the ban, which is given longer if that without needed
// longer.
const (
	openLimit   = 20 * time.Second
	openLinger  = 2 * time.Second
	bannedLimit = time.Second
)

// entry is a command of the corpus.
type entry struct {
	line     string
	terminal bool // it is run on a terminal
}

// TestCorpus runs commands that run a banned program as if policy had allowed
// them, with stubs in the place of the programs. The ban alone differs between
// the two runs of each: nothing of a corpus runs without a sandbox. Without the
// ban each of them must reach a stub, with it none may.
//
// Some go through a launcher that no machine with Debian has or that a sandbox
// keeps from working. They are run with a stand-in for it, and counted apart.
func TestCorpus(t *testing.T) {
	t.Parallel()
	needed := neededPrograms(t)
	var entries []entry
	lacks := map[string]int{}
	for _, e := range sample(t, "banned.txt") {
		if name := lacking(needed, e.line); name != "" {
			lacks[name]++
			continue
		}
		entries = append(entries, e)
	}
	untested := 0
	for name, n := range lacks {
		untested += n
		t.Logf("NOT TESTED: %d commands, since this machine has no %s", n, name)
		if os.Getenv("OPENCODE_TEST_E2E") == "1" {
			t.Errorf("this machine has no %s; packages.txt beside the corpus names the package", name)
		}
	}
	var mu sync.Mutex
	installed, stood, unreached, held := 0, 0, 0, 0
	inRigs(t, entries, func(t *testing.T, open, banned *corpusRig, e entry) {
		t.Helper()
		free := open.try(t, e, openLimit, openLinger)
		linger := time.Duration(0)
		if free.after {
			linger = max(4*free.took, bannedLimit)
		}
		kept := banned.try(t, e, max(4*free.took, bannedLimit), linger)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case !free.reached:
			unreached++
			t.Errorf("reaches no program without the ban, so it shows nothing: %q\n%s", e.line, free.out)
		case free.standing:
			stood++
		default:
			installed++
		}
		if kept.reached {
			t.Errorf("reaches the program with the ban: %q\n%s", e.line, kept.out)
		} else {
			held++
		}
	})
	t.Logf("%d commands. Without the ban %d reach a program through what is installed, %d through stand-ins for launchers, %d reach none. With the ban %d reach none. Not tested: %d",
		len(entries)+untested, installed, stood, unreached, held, untested)
}

// TestUnprovenCorpus runs commands of which it cannot be shown here that they
// run a banned program: with the ban they do not either.
func TestUnprovenCorpus(t *testing.T) {
	t.Parallel()
	entries := sample(t, "unproven.txt")
	inRigs(t, entries, func(t *testing.T, _, banned *corpusRig, e entry) {
		t.Helper()
		if o := banned.try(t, e, bannedLimit, 0); o.reached {
			t.Errorf("reaches the program with the ban: %q\n%s", e.line, o.out)
		}
	})
	t.Logf("%d commands, of which with the ban none reaches a program", len(entries))
}

// TestStandIns checks that a stand-in runs what its launcher would, and nothing
// where that would not.
func TestStandIns(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs(standIn)
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"sudo -u x -- echo ran":                 "ran\n",
		"sudo -E A=ran sh -c 'echo $A'":         "ran\n",
		"sudo -i sh -c 'echo ran'":              "ran\n",
		"sudo -u echo ran":                      "",
		"sudo --nosuch echo ran":                "",
		"sudo":                                  "",
		"doas -u x echo ran":                    "ran\n",
		"doas A=1 echo ran":                     "",
		"su x -c 'echo ran'":                    "ran\n",
		"su -c 'echo $0' x ran":                 "ran\n",
		"runuser -u x -- echo ran":              "ran\n",
		"sg x echo ran":                         "",
		"chroot / echo ran":                     "ran\n",
		"chroot /nosuch echo ran":               "",
		"chroot echo ran":                       "",
		"bwrap --ro-bind / / --dev /d echo ran": "ran\n",
		"bwrap --nosuch echo ran":               "",
		"strace -o f -f echo ran":               "ran\n",
		"strace -o echo ran":                    "",
		"perf echo ran":                         "",
		"concurrently 'echo ran'":               "ran\n",
		"nodemon echo ran":                      "",
		"nodemon -x 'echo ran'":                 "ran\n",
		"cross-env A=1 echo ran":                "ran\n",
		"yarn echo ran":                         "",
		"mise exec echo ran":                    "",
		"cargo run -- echo ran":                 "",
		"systemd-run echo ran":                  "",
	} {
		name, _, _ := strings.Cut(command, " ")
		dir := t.TempDir()
		if err := os.Symlink(script, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
		out, err := cmd.Output()
		if string(out) != want || want == "" && err == nil {
			t.Errorf("%s: prints %q, %v; want %q", command, out, err, want)
		}
	}
}

// pairs is how many pairs of rigs are at work at a time.
const pairs = 4

// inRigs tests entries, each in one of some pairs of rigs. There are two rigs, for
// what a command leaves in the background may run late.
func inRigs(t *testing.T, entries []entry, test func(t *testing.T, open, banned *corpusRig, e entry)) {
	t.Helper()
	names, elf := bannedNames(t), elfStub(t)
	queue := make(chan entry, len(entries))
	for _, e := range entries {
		queue <- e
	}
	close(queue)
	t.Run("rigs", func(t *testing.T) {
		for range min(pairs, len(entries)) {
			t.Run("pair", func(t *testing.T) {
				t.Parallel()
				open, banned := newCorpusRig(t, names, elf), newCorpusRig(t, names, elf)
				open.spec.DenyExec = nil
				for e := range queue {
					test(t, open, banned, e)
				}
			})
		}
	})
}

// sample reads commands of the corpus: all, or some of them. Those below the
// comment "# On a terminal." are run on one.
func sample(t *testing.T, name string) []entry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	var list []entry
	terminal, n, every := false, 0, stride()
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "# On a terminal." {
			terminal = true
		}
		if line == "" || strings.HasPrefix(line, "# ") {
			continue
		}
		if n++; n%every == 0 {
			list = append(list, entry{line, terminal})
		}
	}
	return list
}

// neededPrograms returns where the programs are that commands of the corpus go
// through and that a machine may lack: "" is somewhere in PATH.
func neededPrograms(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(corpus, "packages.txt"))
	if err != nil {
		t.Fatal(err)
	}
	needed := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case len(fields) == 2:
			needed[fields[0]] = append(needed[fields[0]], "")
		case len(fields) == 3:
			needed[fields[0]] = append(needed[fields[0]], fields[2])
		default:
			t.Fatalf("packages.txt: %q: want a name, a package and perhaps a file", line)
		}
	}
	return needed
}

// word finds what may be the name of a program.
var word = regexp.MustCompile(`[\w.-]+`)

// lacking returns a program that a command names and this machine lacks.
func lacking(needed map[string][]string, line string) string {
	for _, name := range word.FindAllString(line, -1) {
		for _, file := range needed[name] {
			if !there(name, file) {
				return name
			}
		}
	}
	return ""
}

func there(name, file string) bool {
	files := []string{file}
	if file == "" {
		files = nil
		for _, dir := range filepath.SplitList(systemPath) {
			files = append(files, filepath.Join(dir, name))
		}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err == nil {
			return true
		}
	}
	return false
}
