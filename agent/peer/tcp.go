package peer

import (
	"errors"
	"net"
)

// Child reports whether a process below this program holds the other end of a
// TCP connection. It is to be called as soon as the connection is accepted.
//
// Unlike [Check] it names only what it has found: a connection whose other end
// nobody can be seen to hold, such as one from another machine or by another
// user, is no child's. A process that forks all the time so as not to be found
// may get through, to where whoever calls needs a token.
func Child(conn *net.TCPConn) (bool, error) {
	if conn == nil {
		return false, errors.New("peer: no connection")
	}
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	remote, also := conn.RemoteAddr().(*net.TCPAddr)
	if !ok || !also {
		return false, errors.New("peer: a connection without addresses")
	}
	return child(local.AddrPort(), remote.AddrPort())
}
