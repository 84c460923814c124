package git

import (
	"io/fs"
	"syscall"
	"time"
)

// openFlags keep an open from waiting for the other end of a pipe.
const openFlags = syscall.O_NONBLOCK | syscall.O_NOFOLLOW

func stampOf(info fs.FileInfo) stamp {
	s := stamp{size: info.Size(), mtime: info.ModTime().UnixNano(), mode: uint32(info.Mode())}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ino, s.dev = st.Ino, uint64(st.Dev) //nolint:unconvert // Dev has other types on other machines.
		s.ctime = time.Unix(st.Ctim.Unix()).UnixNano()
	}
	return s
}
