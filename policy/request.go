package policy

import (
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// HTTP holds what the server knows of a request before it does any work on it.
type HTTP struct {
	Method string
	// Path is the path as it was sent, still escaped.
	Path string
	// Route returns the pattern that a method and a canonical path match, and
	// whether there is one.
	Route     func(method, path string) (pattern string, ok bool)
	Query     url.Values
	Host      string
	Origin    *string
	WebSocket bool
	Remote    netip.Addr
	Bytes     int64
	Directory *Directory
}

// FromRequest returns the input document of an HTTP request.
//
// There is one plain way to spell a path. Any other spelling is reported as
// such and matches no route, while its segments are read in the way that names
// the most: a trick of spelling can lose a request, never win it.
func FromRequest(now time.Time, p Principal, h HTTP) *Input {
	return new(RequestRoom).FromRequest(now, p, h)
}

// RequestRoom is the room that the input document of a request takes, for who
// makes one after the other.
type RequestRoom struct {
	input    Input
	request  Request
	segments [4]string
	route    string
}

// FromRequest is [FromRequest] for a document that is gone with the next one in
// the same room.
func (room *RequestRoom) FromRequest(now time.Time, p Principal, h HTTP) *Input {
	remote := h.Remote.Unmap()
	room.request = Request{
		Method:    h.Method,
		Path:      h.Path,
		Canonical: isCanonical(h.Path),
		Query:     publicQuery(h.Query),
		Host:      h.Host,
		Origin:    h.Origin,
		WebSocket: h.WebSocket,
		Remote:    Remote{IP: addrText(remote), Loopback: remote.IsLoopback()},
		Bytes:     h.Bytes,
		Directory: h.Directory,
	}
	r := &room.request
	r.Segments = segments(room.segments[:0:len(room.segments)], h.Path)
	if r.Canonical && h.Route != nil {
		if pattern, ok := h.Route(h.Method, h.Path); ok {
			room.route = pattern
			r.Route = &room.route
		}
	}
	room.input = Input{Version: Version, Kind: KindRequest, Time: At(now), Principal: p.normal(), Request: r}
	return &room.input
}

// addrText returns an address as text, without an allocation for those that
// most requests come from.
func addrText(addr netip.Addr) string {
	switch addr {
	case netip.AddrFrom4([4]byte{127, 0, 0, 1}):
		return "127.0.0.1"
	case netip.IPv6Loopback():
		return "::1"
	}
	return addr.String()
}

// What most requests have none of. Nobody writes to what belongs to a document.
var (
	noAttributes = map[string]string{}
	noQuery      = map[string][]string{}
)

// normal returns the principal with its collections present.
func (p Principal) normal() Principal {
	if p.Permissions == nil {
		p.Permissions = []string{}
	}
	if p.Attributes == nil {
		p.Attributes = noAttributes
	}
	return p
}

// isCanonical reports whether a path is spelled in the one plain way: it
// starts with a slash, has no empty and no dot segment, and escapes only what
// has another meaning unescaped. A slash, a backslash and a control character
// cannot be part of a segment at all.
func isCanonical(path string) bool {
	if path == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok || !utf8.ValidString(path) {
		return false
	}
	for more := true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == ".." || !isPlainSegment(segment) {
			return false
		}
	}
	return true
}

func isPlainSegment(segment string) bool {
	escaped := false
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c != '%' {
			if !isUnreserved(c) && strings.IndexByte("!$&'()*+,;=:@", c) < 0 {
				return false
			}
			continue
		}
		if i+2 >= len(segment) {
			return false
		}
		high, ok1 := unhex(segment[i+1])
		low, ok2 := unhex(segment[i+2])
		c = high<<4 | low
		if !ok1 || !ok2 || isUnreserved(c) || c == '/' || c == '\\' || c < 0x20 || c == 0x7f {
			return false
		}
		escaped = true
		i += 2
	}
	if !escaped {
		return true
	}
	plain, err := url.PathUnescape(segment)
	return err == nil && utf8.ValidString(plain)
}

// isUnreserved reports whether a byte means the same escaped and unescaped.
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// segments appends the segments of a path to a list. It undoes every trick of
// spelling: escapes within escapes, slashes and backslashes that are escaped,
// empty and dot segments, parameters and case.
func segments(list []string, path string) []string {
	for range 4 {
		plain, err := url.PathUnescape(path)
		if err != nil || plain == path {
			break
		}
		path = plain
	}
	for start, end := 0, 0; end <= len(path); end++ {
		if end < len(path) && path[end] != '/' && path[end] != '\\' {
			continue
		}
		segment := path[start:end]
		start = end + 1
		if isSimple(segment) {
			list = append(list, segment)
			continue
		}
		segment, _, _ = strings.Cut(segment, ";")
		segment = strings.ToLower(strings.Trim(segment, " \t\r\n\x00"))
		switch segment {
		case "", ".", "..":
		default:
			list = append(list, segment)
		}
	}
	return list
}

// isSimple reports whether a segment is what is left of it when every trick is
// undone, as that of most routes is.
func isSimple(segment string) bool {
	for i := range len(segment) {
		if c := segment[i]; (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '_' && c != '-' {
			return false
		}
	}
	return segment != ""
}

// secretQuery are the query parameters that carry a credential.
var secretQuery = [...]string{"auth_token", "ticket"}

// publicQuery copies a query without the parameters that carry a credential.
func publicQuery(q url.Values) map[string][]string {
	if len(q) == 0 {
		return noQuery
	}
	out := make(map[string][]string, len(q))
	maps.Copy(out, q)
	for _, k := range secretQuery {
		delete(out, k)
	}
	return out
}
