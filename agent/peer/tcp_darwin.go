package peer

import "net/netip"

// child finds nobody: there is no list of who holds which socket.
func child(netip.AddrPort, netip.AddrPort) (bool, error) { return false, nil }
