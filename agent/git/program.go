package git

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// maxListing bounds what git may say about a commit.
	maxListing = 64 << 20
	// waitDelay is how long a killed git may keep its pipes open.
	waitDelay = 2 * time.Second
)

// reader runs git to read the objects of a repository. Git sees an empty
// repository of ours, whose objects are said to be in the project's. It reads
// none of the project's configuration, has no working tree, and starts nothing.
type reader struct {
	ctx     context.Context //nolint:containedctx // It lives as long as one call.
	program string
	dir     string // our empty repository
	objects string // the project's objects
}

// reader returns a reader for ids of the length of commit.
func (g *Git) reader(ctx context.Context, r *repository, commit string) (*reader, error) {
	if g.cfg.Program == "" {
		return nil, ErrUnavailable
	}
	program, err := filepath.EvalSymlinks(g.cfg.Program)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	if within(r.root, program) {
		// PATH named a directory of the project, which can put anything there.
		return nil, fmt.Errorf("%w: %q is a file of the project", ErrUnavailable, g.cfg.Program)
	}
	name, config := "read-sha1", "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
	if len(commit) == 2*idBytes {
		name, config = "read-sha256", snapshotConfig
	}
	dir := filepath.Join(g.cfg.Dir, name)
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		if err := initRepository(dir, config); err != nil {
			return nil, err
		}
	}
	return &reader{ctx: ctx, program: g.cfg.Program, dir: dir, objects: filepath.Join(r.common, "objects")}, nil
}

func (r *reader) command(args ...string) (*exec.Cmd, *bytes.Buffer) {
	args = append([]string{
		"--git-dir=" + r.dir, "--no-pager", "--no-replace-objects", "--literal-pathspecs",
		"-c", "core.hooksPath=" + os.DevNull, "-c", "core.fsmonitor=false", "-c", "protocol.allow=never",
		"-c", "core.bigFileThreshold=4m", "-c", "core.attributesFile=" + os.DevNull, "-c", "core.pager=cat",
	}, args...)
	cmd := exec.CommandContext(r.ctx, r.program, args...) //nolint:gosec // G204: the program is that of our configuration.
	cmd.Dir = r.dir
	cmd.Env = []string{
		"PATH=" + filepath.Dir(r.program), "HOME=" + r.dir, "XDG_CONFIG_HOME=" + r.dir, "LC_ALL=C",
		"GIT_OBJECT_DIRECTORY=" + r.objects,
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_SYSTEM=" + os.DevNull, "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1",
		"GIT_NO_REPLACE_OBJECTS=1", "GIT_ALLOW_PROTOCOL=none", "GIT_PAGER=cat", "GIT_ASKPASS=",
	}
	cmd.WaitDelay = waitDelay
	var stderr bytes.Buffer
	cmd.Stderr = &limitedWriter{w: &stderr, left: 4 << 10}
	return cmd, &stderr
}

// limitedWriter drops what is too much.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	_, err := l.w.Write(p[:n])
	return len(p), err
}

// listed is a file of a commit.
type listed struct {
	mode uint32
	id   string
}

// files lists the files of a commit.
func (r *reader) files(commit string) (map[string]listed, error) {
	cmd, stderr := r.command("ls-tree", "-r", "-z", "--full-tree", commit)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	data, err := io.ReadAll(io.LimitReader(out, maxListing+1))
	if err == nil && len(data) > maxListing {
		err = fmt.Errorf("commit %s %w", commit, ErrTooLarge)
	}
	if err != nil {
		_ = cmd.Process.Kill() // It may have ended.
		_ = cmd.Wait()         // The first error counts.
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, r.failed("ls-tree", stderr, err)
	}
	return parseListing(data)
}

func (r *reader) failed(what string, stderr *bytes.Buffer, err error) error {
	if r.ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", what, context.Cause(r.ctx))
	}
	return fmt.Errorf("git %s: %w: %q", what, err, strings.TrimSpace(stderr.String()))
}

var errListing = errors.New("git ls-tree: unexpected output")

// parseListing parses the output of ls-tree -z: for each file its mode, its
// kind, its id and its path.
func parseListing(data []byte) (map[string]listed, error) {
	out := map[string]listed{}
	for len(data) > 0 {
		record, rest, ok := bytes.Cut(data, []byte{0})
		head, path, ok2 := bytes.Cut(record, []byte{'\t'})
		fields := strings.Split(string(head), " ")
		if !ok || !ok2 || len(fields) != 3 || len(path) == 0 || !isHexID(fields[2]) {
			return nil, errListing
		}
		mode, err := strconv.ParseUint(fields[0], 8, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errListing, err)
		}
		if mode&modeType == modeFile {
			// Old commits have more modes; git only looks at this bit.
			mode = 0o100644 | mode&0o100 | mode&0o100>>3 | mode&0o100>>6
		}
		out[string(path)] = listed{mode: uint32(mode), id: fields[2]}
		if len(out) > maxFiles {
			return nil, fmt.Errorf("commit: %w: it has more than %d files", ErrTooLarge, maxFiles)
		}
		data = rest
	}
	return out, nil
}

// batch is a git cat-file that answers one question after the other.
type batch struct {
	reader *reader
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	in     io.WriteCloser
	out    *bufio.Reader
}

func (r *reader) batch(mode string) (*batch, error) {
	cmd, stderr := r.command("cat-file", mode)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrUnavailable, err)
	}
	return &batch{reader: r, cmd: cmd, stderr: stderr, in: in, out: bufio.NewReader(out)}, nil
}

// ask returns the size of a blob.
func (b *batch) ask(id string) (int64, error) {
	if _, err := io.WriteString(b.in, id+"\n"); err != nil {
		return 0, b.reader.failed("cat-file", b.stderr, err)
	}
	line, err := b.out.ReadSlice('\n')
	if err != nil {
		return 0, b.reader.failed("cat-file", b.stderr, err)
	}
	size, ok := strings.CutPrefix(strings.TrimSuffix(string(line), "\n"), id+" blob ")
	n, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("git cat-file: no blob %s", id)
	}
	return n, nil
}

// blob returns the content of a blob, whose size is known to be in bounds.
func (b *batch) blob(id string, limit int64) ([]byte, error) {
	n, err := b.ask(id)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("blob %s %w", id, ErrTooLarge)
	}
	data := make([]byte, n+1) // A newline follows.
	if _, err := io.ReadFull(b.out, data); err != nil {
		return nil, b.reader.failed("cat-file", b.stderr, err)
	}
	return data[:n], nil
}

func (b *batch) close() {
	_ = b.in.Close()         // It ends git, which has nothing to lose.
	_ = b.cmd.Process.Kill() // In case it does not.
	_ = b.cmd.Wait()
}

// blobs reads the blobs of a commit that are not larger than a limit.
type blobs struct {
	reader        *reader
	sizes, bodies *batch
}

// size returns the size of a blob, without reading it.
func (b *blobs) size(id string) (int64, error) {
	if b.sizes == nil {
		var err error
		if b.sizes, err = b.reader.batch("--batch-check"); err != nil {
			return 0, err
		}
	}
	return b.sizes.ask(id)
}

// get returns a blob, not ok if it is larger than limit.
func (b *blobs) get(id string, limit int64) (data []byte, ok bool, err error) {
	// The size first: git would send, and unpack, whatever the project claims.
	n, err := b.size(id)
	if err != nil || n > limit {
		return nil, false, err
	}
	if b.bodies == nil {
		if b.bodies, err = b.reader.batch("--batch"); err != nil {
			return nil, false, err
		}
	}
	data, err = b.bodies.blob(id, limit)
	return data, err == nil, err
}

func (b *blobs) close() {
	for _, c := range []*batch{b.sizes, b.bodies} {
		if c != nil {
			c.close()
		}
	}
}
