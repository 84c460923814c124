// Package peer tells who is at the other end of a local socket: which user, and
// whether it is this program's own offspring.
//
// A command that the agent runs has the user's id, so the id alone would let
// the agent approve its own requests. What descends from this program is
// therefore never the user. For that to hold, this program must adopt its
// orphaned descendants, as package tool makes it do on Linux; a descendant can
// then not leave by forking twice.
//
// Any doubt counts as a descendant: a process that is gone, one that cannot be
// read (as with another user's below a /proc that hides them), one in a
// container that we do not see into. So it does where descendants can leave: on
// all systems but Linux, everybody is a descendant.
//
// What this cannot see is a request that somebody else makes for a descendant,
// such as a terminal multiplexer or a service manager that runs outside. That
// is for the sandbox to prevent.
//
// All functions are safe for concurrent use.
package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// Peer is the process at the other end of a socket, as it was when it
// connected. The zero value is nobody in particular: it is not the same user.
type Peer struct {
	// UID is the effective user id, -1 if it is not known.
	UID int
	// PID is the process id, 0 if it is not known.
	PID int
	// SameUser reports that it has this program's effective user id.
	SameUser bool
	// Descendant reports that it is this program, descends from it, or that
	// this cannot be ruled out.
	Descendant bool
}

// Local reports whether it is the user who runs this program, and not
// something that this program runs.
func (p Peer) Local() bool { return p.SameUser && !p.Descendant }

// overflowUID is what the kernel says for a user that has no id here. It is no
// user in particular, even if we run under it.
const overflowUID = 65534

// Check tells who is at the other end of a connection. It is to be called as
// soon as the connection is accepted. With an error comes a Peer that is not
// local.
func Check(conn *net.UnixConn) (Peer, error) {
	unknown := Peer{UID: -1, Descendant: true}
	if conn == nil {
		return unknown, errors.New("peer: no connection")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return unknown, fmt.Errorf("peer: %w", err)
	}
	p := unknown
	var checkErr error
	if err := raw.Control(func(fd uintptr) { p, checkErr = check(int(fd)) }); err != nil {
		return unknown, fmt.Errorf("peer: %w", err)
	}
	if checkErr != nil {
		return unknown, fmt.Errorf("peer: %w", checkErr)
	}
	p.SameUser = p.UID == os.Geteuid() && p.UID != overflowUID
	return p, nil
}
