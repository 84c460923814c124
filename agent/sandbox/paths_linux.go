//go:build amd64 || arm64

package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"opencode/regular"

	"golang.org/x/sys/unix"
)

// Directories and files of the system, the same on every host. What is not
// there does not count.
const (
	// systemRead may be read, and programs in it run.
	systemRead = `/usr /bin /sbin /lib /lib32 /lib64 /libx32 /opt /etc /proc /sys
		/nix/store /nix/var/nix/profiles /run/current-system /gnu/store /snap /home/linuxbrew
		/run/systemd/resolve /run/resolvconf /run/NetworkManager /run/nscd
		/var/lib/ca-certificates /var/lib/dpkg /var/lib/rpm /var/lib/dbus/machine-id
		/var/cache/fontconfig /dev/fd`
	// systemWrite are devices that hold nothing.
	systemWrite = `/dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty`
	// systemLinks lead to files elsewhere on some hosts.
	systemLinks = `/etc/resolv.conf /etc/hosts /etc/localtime /etc/nsswitch.conf /etc/mtab /etc/ssl/certs/ca-certificates.crt`
	// systemHide can be read by root alone, and root is who may run this.
	systemHide = `/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/sudoers /etc/sudoers.d /etc/ssl/private
		/etc/krb5.keytab /etc/kubernetes /etc/rancher /etc/wireguard /etc/openvpn /etc/NetworkManager/system-connections
		/etc/ppp /etc/ipsec.secrets /etc/security/opasswd`
	// systemKernel are views of the kernel for root. What is in these file systems
	// comes and goes, so that no wall can be built there; without namespaces, the
	// missing capabilities keep the most of it closed.
	systemKernel = `/proc/kcore /proc/kmsg /proc/sysrq-trigger /proc/sys/kernel/core_pattern /sys/kernel/debug
		/sys/kernel/tracing /sys/kernel/security /sys/firmware/efi/efivars`
	// systemSockets are sockets of powerful services, and directories of such.
	systemSockets = `/run/docker.sock /run/docker /run/containerd /run/podman /run/crio /run/buildkit /run/snapd.socket
		/run/systemd/private /run/systemd/io.systemd.Manager /run/dbus /run/libvirt /run/lxd.socket /run/incus
		/run/avahi-daemon /run/cups /run/gnupg /run/user /run/screen /run/tmux /run/pcscd /run/NetworkManager-private
		/var/lib/lxd/unix.socket /var/snap/lxd/common/lxd/unix.socket /var/run/docker.sock`
	// systemLookup has sockets that names of hosts and users are looked up with.
	systemLookup = `/run/nscd /run/systemd/resolve /run/systemd/userdb`
	// systemPrograms are searched for banned programs besides PATH.
	systemPrograms = `/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /usr/games /usr/local/games
		/snap/bin /usr/libexec /run/current-system/sw/bin /home/linuxbrew/.linuxbrew/bin /usr/lib/busybox /usr/pkg/bin /opt/bin`
)

// expander turns the paths of a specification into absolute ones.
type expander struct {
	root string
	env  []string
}

func (e expander) variable(name string) string {
	for _, entry := range slices.Backward(e.env) { // the last one counts
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// home is taken from the environment of the command, and if that has none from
// ours: the files of the user must stay hidden from a command without HOME, too.
func (e expander) home() string {
	if home := e.variable("HOME"); filepath.IsAbs(home) {
		return home
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return ""
	}
	return home
}

// absolute returns the path, or "" if it has none here.
func (e expander) absolute(path string) string {
	switch {
	case path == "" || strings.ContainsRune(path, 0):
		return ""
	case path == "~" || strings.HasPrefix(path, "~/"):
		home := e.home()
		if home == "" {
			return ""
		}
		return filepath.Join(home, path[1:])
	case strings.HasPrefix(path, "$"):
		name, rest, _ := strings.Cut(path[1:], "/")
		value := e.variable(name)
		if !filepath.IsAbs(value) || filepath.Clean(value) == "/" {
			return ""
		}
		return filepath.Join(value, rest)
	case filepath.IsAbs(path):
		return filepath.Clean(path)
	}
	return filepath.Join(e.root, path)
}

// all returns the paths that there are here.
func (e expander) all(paths []string) []string {
	list := make([]string, 0, len(paths))
	for _, path := range paths {
		if path = e.absolute(path); path != "" {
			list = append(list, path)
		}
	}
	return list
}

// searchPath returns the absolute directories of PATH.
func (e expander) searchPath() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(e.variable("PATH")) {
		if filepath.IsAbs(dir) && filepath.Clean(dir) != "/" {
			dirs = append(dirs, filepath.Clean(dir))
		}
	}
	return dirs
}

// existing returns the real paths of those that exist, each once.
func existing(paths []string) []string {
	list := make([]string, 0, len(paths))
	for _, path := range paths {
		if found, ok := realPath(path); ok && !slices.Contains(list, found) {
			list = append(list, found)
		}
	}
	return list
}

// realPath returns the path of an existing file with all links resolved. The
// kernel knows it of an open file, which is quicker than looking at each
// directory, and there are hundreds of paths to each command.
func realPath(path string) (string, bool) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var buf [unix.PathMax]byte
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), buf[:])
	if err == nil && n < len(buf) && buf[0] == '/' {
		return string(buf[:n]), true
	}
	resolved, err := filepath.EvalSymlinks(path)
	return resolved, err == nil
}

// within reports whether a path is a directory or below it. Both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

func withinAny(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(path, dir) })
}

// readable reports whether the rights of this process let it read a file: one
// that they keep closed need not be hidden.
func readable(path string) bool {
	return unix.Access(path, unix.R_OK) == nil
}

// listening returns the sockets in the file system that programs listen on and
// that this process may connect to.
func listening() []string {
	text, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		// Number, references, protocol, flags, type, state, inode, path: the flag is
		// that of a socket that takes connections. Those that take datagrams have
		// none, and no state of being connected.
		if len(fields) < 8 || fields[3] != "00010000" && fields[4] != "0002" {
			continue
		}
		_, path, _ := strings.Cut(line, fields[6]+" ")
		path = strings.TrimSuffix(path, "\n")
		if filepath.IsAbs(path) && unix.Access(path, unix.W_OK) == nil {
			list = append(list, path)
		}
	}
	return list
}

// gitDirs returns the directories outside of a project that git works in when
// the project is a linked working tree. What the project says of itself proves
// nothing, since the command can write it; that the directory points back does,
// since there the command cannot write.
func gitDirs(root string) []string {
	link := filepath.Join(root, ".git")
	text, err := regular.Read(link, regular.RefuseLinks, maxGitFile)
	if err != nil {
		return nil
	}
	target, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
	if !ok {
		return nil
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(root, target)
	}
	dir, err := filepath.EvalSymlinks(target)
	if err != nil || within(dir, root) {
		return nil
	}
	back, err := regular.Read(filepath.Join(dir, "gitdir"), regular.RefuseLinks, maxGitFile)
	if err != nil {
		return nil
	}
	realLink, err := filepath.EvalSymlinks(strings.TrimSpace(string(back)))
	if err != nil || realLink != link {
		return nil
	}
	// A working tree's directory is <repository>/worktrees/<name>.
	common := filepath.Dir(filepath.Dir(dir))
	if filepath.Base(filepath.Dir(dir)) != "worktrees" || filepath.Base(common) != ".git" && !isRepository(common) {
		return []string{dir}
	}
	return []string{common}
}

// maxGitFile bounds the files in which git keeps one path.
const maxGitFile = 8 << 10

func isRepository(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}
