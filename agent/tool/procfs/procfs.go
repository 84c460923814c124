// Package procfs reads what the Linux kernel tells about processes below
// /proc. It only states what it read: a process may be gone, and its number
// taken by another, before the caller looks at the answer. A process is the
// same as before only if its number and its [Stat.Start] are.
//
// Where there is no /proc every function returns an error. All functions are
// safe for concurrent use.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Stat is the state of a process.
type Stat struct {
	PID     int
	Parent  int
	Session int
	Group   int
	// State is the kernel's letter. 'Z' is a zombie, or a process whose first
	// thread has ended while others go on.
	State byte
	// Start is when it started, in clock ticks since the machine did.
	Start uint64
}

// errStat means that the kernel's text does not have the known shape.
var errStat = errors.New("stat: unknown shape")

// maxEnviron bounds how much of an environment is read.
const maxEnviron = 256 << 10

// Read returns the state of a process.
func Read(pid int) (Stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	s, err := Parse(b)
	if err == nil && s.PID != pid {
		err = errStat
	}
	if err != nil {
		return Stat{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return s, nil
}

// Parse reads the text of a stat file. The name of the program stands in it
// unescaped, so that a process can put brackets and numbers there: all that
// counts comes after the last bracket.
func Parse(b []byte) (Stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Stat{}, errStat
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return Stat{}, errStat
	}
	s := Stat{State: fields[0][0]}
	var errs [5]error
	s.PID, errs[0] = strconv.Atoi(strings.TrimSpace(string(b[:open])))
	s.Parent, errs[1] = strconv.Atoi(fields[1])
	s.Group, errs[2] = strconv.Atoi(fields[2])
	s.Session, errs[3] = strconv.Atoi(fields[3])
	s.Start, errs[4] = strconv.ParseUint(fields[19], 10, 64)
	if errors.Join(errs[:]...) != nil {
		return Stat{}, errStat
	}
	return s, nil
}

// Exhausted reports whether a read failed for want of file descriptors or
// memory, so that it says nothing about the process.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// All returns the processes that could be read, by number.
func All() (map[int]Stat, error) {
	names, err := list("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]Stat, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := Read(pid)
		if Exhausted(err) {
			return nil, err
		}
		if err == nil {
			all[pid] = s
		}
	}
	return all, nil
}

// Children returns the numbers of this program's own children, the adopted ones
// included. A child that another thread reaps meanwhile may hide another one.
func Children() ([]int, error) { return ChildrenOf(os.Getpid()) }

// ChildrenOf returns the numbers of a process's children, as [Children] does. A
// process that is gone has none.
func ChildrenOf(parent int) ([]int, error) {
	tasks := "/proc/" + strconv.Itoa(parent) + "/task"
	threads, err := list(tasks)
	if errors.Is(err, os.ErrNotExist) && parent != os.Getpid() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, thread := range threads {
		b, err := os.ReadFile(tasks + "/" + thread + "/children") //nolint:gosec // G304: the kernel named the thread
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			if _, err := os.Stat(tasks + "/" + thread); errors.Is(err, os.ErrNotExist) {
				continue // the thread has ended
			}
			return childrenAmongAll(parent) // the kernel was built without it
		}
		if err != nil {
			return nil, err
		}
		for field := range strings.FieldsSeq(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return nil, fmt.Errorf("children: %w", err)
			}
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// childrenAmongAll finds the children of a process among all processes.
func childrenAmongAll(parent int) ([]int, error) {
	all, err := All()
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid, s := range all {
		if s.Parent == parent {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Env returns the value of a variable in the environment that a process
// started with, as far as the process has not written over it. The second
// value is false if there is none or it cannot be read.
func Env(pid int, name string) (string, bool) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return "", false
	}
	defer func() { _ = f.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, maxEnviron))
	if err != nil {
		return "", false
	}
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			return string(value), true
		}
	}
	return "", false
}

// list returns the names in a folder.
func list(dir string) ([]string, error) {
	f, err := os.Open(dir) //nolint:gosec // G304: the callers pass places below /proc
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	return f.Readdirnames(-1)
}
