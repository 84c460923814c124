package redact

import (
	"bytes"
	"strings"
)

// matchSign looks at a colon, an equals sign or a greater-than sign: is a
// secret assigned to what stands before it?
func matchSign(l look, i int) verdict {
	c, next := l.data[i], l.data[i+1]
	b := l.before(i)
	if len(b) == 0 {
		return verdict{}
	}
	if c == ':' && next != ':' {
		if v := matchPassword(l, i); v.found || v.more {
			return v
		}
	}
	last := b[len(b)-1]
	switch {
	case c == '>':
		if isSpace(next) || next == '<' || last == '/' || last == '-' || last == '=' {
			return verdict{}
		}
		return matchElement(l, i)
	case c == ':' && (next == ':' || next == '/' || last == ':'):
		return verdict{}
	case c == '=' && (last == '=' || last == ':' || last == '<' || last == '>'):
		return verdict{} // of a sign of two characters, the first was looked at
	}
	at, end, spaced := nameBefore(b)
	if !mayName(b[at:end]) {
		return verdict{}
	}
	name := string(b[at:end])
	shout := strings.ToUpper(name) == name
	weak := strings.EqualFold(name, "pass")
	if weak && shout && c == ':' {
		return verdict{} // what tests report
	}
	if name == "PWD" || name == "OLDPWD" {
		return verdict{} // a directory
	}
	kind := keyOf(name)
	if kind == keySecret && at > 0 && b[at-1] == ':' && bytes.Contains(b[:at], []byte("arn:")) {
		return verdict{}
	}
	if kind == keyNone {
		if strings.EqualFold(name, "value") || strings.EqualFold(name, "defaultValue") {
			kind, shout = pairedKey(b[:at])
		} else if isType(name) {
			kind, shout = typedKey(b[:at])
		}
		if kind == keyNone {
			return verdict{}
		}
	}
	n := notation{shout: shout, weak: weak, flag: strings.Contains(name, "-"), colon: c == ':', query: at > 0 && (b[at-1] == '?' || b[at-1] == '&' || bytes.HasSuffix(b[:at], []byte("&amp;")))}
	start := i + 1
	for start < len(l.data) && start < i+3 && bytes.IndexByte([]byte("=>~"), l.data[start]) >= 0 {
		start++
	}
	if c == ':' && start < len(l.data) && l.data[start] == '-' && at > 1 && b[at-1] == '{' && b[at-2] == '$' {
		start++ // the default of a variable
	}
	return matchValue(l, start, kind, n, spaced)
}

// nameBefore returns where the name before a sign stands, and whether a space
// parts them.
func nameBefore(b []byte) (at, end int, spaced bool) {
	end = len(b)
	for end > 0 && (b[end-1] == ' ' || b[end-1] == '\t') && len(b)-end < 32 {
		end--
		spaced = true
	}
	for end > 0 && len(b)-end < 36 {
		switch b[end-1] {
		case '"', '\'', '`', '\\', ']', ')', '+', '?', '!':
			end--
			continue
		}
		break
	}
	at = end
	for at > 0 && end-at < 72 && classOf(b[at-1])&(word|dash|dot) != 0 {
		at--
	}
	// Behind "\n" in a text that is quoted as a whole the name begins later.
	if at > 0 && b[at-1] == '\\' && at < end && (b[at] == 'n' || b[at] == 'r' || b[at] == 't') {
		at++
	}
	return at, end, spaced
}

// mayName tells at a glance that most names are not those of secrets, nor of
// what [matchSign] looks further for.
func mayName(name []byte) bool {
	for i := 0; i+2 < len(name); i++ {
		b, c := name[i+1]|0x20, name[i+2]|0x20
		switch name[i] | 0x20 {
		case 'p':
			if b == 'a' && (c == 's' || c == 't') || b == 'w' && c == 'd' || b == 's' && c == 'w' || b == 'h' && c == 'r' {
				return true
			}
		case 's':
			if b == 'e' && c == 'c' || b == 'i' && c == 'g' || b == 't' && c == 'r' {
				return true
			}
		case 't':
			if b == 'o' && c == 'k' {
				return true
			}
		case 'k':
			if b == 'e' && c == 'y' {
				return true
			}
		case 'c':
			if b == 'r' && c == 'e' || b == 'o' && c == 'o' {
				return true
			}
		case 'a':
			if b == 'u' && c == 't' {
				return true
			}
		case 'j':
			if b == 'w' && c == 't' {
				return true
			}
		case 'b':
			if b == 'e' && c == 'a' {
				return true
			}
		case 'm':
			if b == 'n' && c == 'e' {
				return true
			}
		case 'v':
			if b == 'a' && c == 'l' {
				return true
			}
		}
	}
	return false
}

// isType reports whether a name is the type of a variable that stands before it.
func isType(name string) bool {
	return name == "str" || name == "string" || name == "String" || name == "SecretStr"
}

// typedKey returns what the variable before a type is: "password: str = ".
func typedKey(b []byte) (keyKind, bool) {
	b = bytes.TrimRight(b, " \t")
	b = bytes.TrimRight(bytes.TrimSuffix(b, []byte(":")), " \t?!")
	at, end, _ := nameBefore(b)
	name := string(b[at:end])
	return keyOf(name), strings.ToUpper(name) == name
}

// pairedKey returns what a value belongs to whose name stands before it, as in
// {"name": "DB_PASSWORD", "value": "…"}.
func pairedKey(b []byte) (keyKind, bool) {
	at, length := -1, 0
	for _, word := range []string{"name", "Name", "key", "Key"} {
		if n := bytes.LastIndex(b, []byte(word)); n > at {
			at, length = n, len(word)
		}
	}
	if at < 0 {
		return keyNone, false
	}
	text := strings.Trim(string(b[at+length:]), " \t\r\n\\\"':=,{}-")
	if strings.ContainsAny(text, " \t\n,:={}\"'") {
		return keyNone, false
	}
	return keyOf(text), strings.ToUpper(text) == text
}

// matchValue finds the value at a place and tells whether it is secret.
func matchValue(l look, i int, kind keyKind, n notation, spaced bool) verdict {
	start := i
	for start < len(l.data) && start < i+40 && (l.data[start] == ' ' || l.data[start] == '\t') {
		start++
	}
	n.tight = start == i && !spaced
	slashes := 0
	for start < len(l.data) && l.data[start] == '\\' && slashes < 16 {
		slashes++
		start++
	}
	if start >= len(l.data) {
		return verdict{more: !l.end}
	}
	// A letter before the quote says how a text is written: b"", f'', @"".
	if bytes.IndexByte([]byte("bfrLu@"), l.data[start]) >= 0 && slashes == 0 {
		if start+1 >= len(l.data) {
			return verdict{more: !l.end}
		}
		if l.data[start+1] == '"' || l.data[start+1] == '\'' {
			start++
		}
	}
	goesOn := rest{how: restBare}
	switch {
	case isQuote(l.data[start]):
		goesOn = rest{how: restQuoted, quote: l.data[start], slashes: slashes}
		n.quoted = true
		start++
	case slashes > 0:
		return verdict{}
	case kind == keyHeader || kind == keyCookie:
		goesOn = rest{how: restLine}
	}
	end := start
	for ; end < len(l.data) && end-start < window; end++ {
		over, more := goesOn.ends(l, end)
		if more {
			return verdict{more: true}
		}
		if over {
			break
		}
	}
	if end >= len(l.data) && end-start < window && !l.end {
		return verdict{more: true}
	}
	value := l.data[start:end]
	if end-start < window {
		goesOn = rest{}
	}
	if !n.quoted {
		if end >= len(l.data) && !l.end {
			return verdict{more: true}
		}
		n.line = end >= len(l.data) || l.data[end] == '\n' || l.data[end] == '\r' || l.data[end] == '\\'
	}
	if bytes.HasPrefix(value, []byte("-----BEGIN")) {
		return verdict{} // a rule of its own
	}
	v := verdict{found: true, start: start, end: end, rest: goesOn}
	switch kind {
	case keyHeader:
		return authorization(v, value, n)
	case keyCookie:
		v.kind = "cookie"
		v.found = isCookie(value)
		return v
	case keyPassword, keyPhrase:
		v.kind = "password"
	case keyToken:
		v.kind = "token"
	default:
		v.kind = "secret"
	}
	if kind == keyToken && isLogin(value) {
		return v
	}
	v.found = isSecret(kind, value, n)
	return v
}

// authorization tells what of a header is secret: what follows the scheme.
func authorization(v verdict, value []byte, n notation) verdict {
	v.kind = "authorization"
	scheme, after, two := bytes.Cut(value, []byte(" "))
	if !two {
		if isSecret(keyToken, value, n) {
			return v
		}
		return verdict{}
	}
	secret := bytes.TrimLeft(after, " ")
	v.start = v.end - len(secret)
	word, more, _ := bytes.Cut(secret, []byte(" "))
	switch strings.ToLower(string(scheme)) {
	case "basic":
		if !isLogin(word) && !isSecret(keySecret, word, notation{quoted: true}) {
			return verdict{}
		}
	case "bearer", "token", "bot", "apikey", "api-key", "api-token", "key", "jwt", "negotiate", "ntlm", "oauth", "sso-key", "splunk", "genie-key", "zoho-oauthtoken":
		if len(word) < 6 || isPlaceholder(string(word)) || isWords(word) && len(word) < 24 || !n.quoted && call().Match(word) {
			return verdict{}
		}
	case "digest", "aws4-hmac-sha256", "hawk", "signature", "aws":
		if !bytes.Contains(secret, []byte("=")) && !bytes.Contains(secret, []byte(":")) {
			return verdict{}
		}
		return v
	default:
		return verdict{}
	}
	if len(more) > 0 {
		// What comes after the token is not part of it.
		v.end, v.rest = v.start+len(word), rest{}
	}
	return v
}

// isCookie reports whether a cookie holds something that looks random.
func isCookie(value []byte) bool {
	for part := range bytes.SplitSeq(value, []byte(";")) {
		_, text, ok := bytes.Cut(bytes.TrimSpace(part), []byte("="))
		if ok && len(text) >= 16 && !isPlaceholder(string(text)) && isRandom(text, notation{quoted: true}) {
			return true
		}
	}
	return false
}

// matchElement looks at the end of a tag: <password>…</password>.
func matchElement(l look, i int) verdict {
	b := l.before(i)
	open := bytes.LastIndexByte(b, '<')
	if open < 0 {
		return verdict{}
	}
	name, _, _ := strings.Cut(string(b[open+1:]), " ")
	kind := keyOf(name)
	if strings.HasPrefix(name, "/") || kind == keyNone || kind == keyHeader || kind == keyCookie {
		return verdict{}
	}
	end := i + 1
	for end < len(l.data) && end-i <= window && l.data[end] != '<' && l.data[end] != '\n' {
		end++
	}
	if end >= len(l.data) {
		return verdict{more: !l.end}
	}
	if l.data[end] != '<' || !isSecret(kind, l.data[i+1:end], notation{quoted: true}) {
		return verdict{}
	}
	return verdict{found: true, start: i + 1, end: end, kind: "password"}
}

// matchPassword looks at a colon between the name and the password of a URL.
func matchPassword(l look, i int) verdict {
	b := l.before(i)
	at := len(b) - 1
	for at >= 0 && !isDelimiter(b[at]) {
		at--
	}
	if at < 2 || b[at] != '/' || b[at-1] != '/' || b[at-2] != ':' || bytes.Contains(b[at:], []byte("[redacted")) {
		return verdict{}
	}
	end, more := passwordEnd(l, i+1)
	if more {
		return verdict{more: true}
	}
	if end <= i+1 {
		return verdict{}
	}
	password := string(l.data[i+1 : end])
	if isPlaceholder(password) || len(password) < 3 {
		return verdict{}
	}
	return verdict{found: true, start: i + 1, end: end, kind: "url-password"}
}

// isDelimiter reports whether a character ends the name in a URL.
func isDelimiter(c byte) bool {
	switch c {
	case '/', '?', '#', '@', ' ', '\t', '\r', '\n', '"', '\'', '<', '>', '`', '\\', '=', ',', '{', '}', '(', ')':
		return true
	}
	return false
}

// passwordEnd returns where the password of a URL ends, 0 if there is none. A
// slash does not belong into one but stands in many all the same; behind what
// may be a port it begins the path.
func passwordEnd(l look, i int) (end int, more bool) {
	at, path := 0, false
	for j := i; j < i+2*window; j++ {
		if j >= len(l.data) {
			return at, !l.end
		}
		switch c := l.data[j]; {
		case c == '@':
			at = j
			if path {
				return at, false
			}
		case isSpace(c) || bytes.IndexByte([]byte("\"'<>`\\"), c) >= 0:
			return at, false
		case c == '/' || c == '?' || c == '#':
			if at > 0 || j-i >= 2 && isNumber(string(l.data[i:j])) || bytes.IndexByte([]byte("${%<["), l.data[i]) >= 0 || c != '/' && path {
				return at, false
			}
			path = true
		}
	}
	return at, false
}

// userinfoEnd returns where the part of a URL before its host ends, 0 if there
// is none.
func userinfoEnd(l look, i int) (end int, more bool) {
	at := 0
	for j := i; j < i+4*window; j++ {
		if j >= len(l.data) {
			return at, !l.end
		}
		switch c := l.data[j]; {
		case c == '@':
			at = j
		case isSpace(c) || bytes.IndexByte([]byte("\"'<>`\\/?#"), c) >= 0:
			return at, false
		}
	}
	return at, false
}

// checkUserinfo finds a token that stands before the host of a URL alone.
func checkUserinfo(l look, i int, p *prefix) verdict {
	start := i + len(p.text)
	end, more := userinfoEnd(l, start)
	if more {
		return verdict{more: true}
	}
	if end < start+16 || bytes.IndexByte(l.data[start:end], ':') >= 0 || isPlaceholder(string(l.data[start:end])) ||
		!isRandom(l.data[start:end], notation{}) {
		return verdict{}
	}
	return verdict{found: true, start: start, end: end, kind: "url-password"}
}

// checkFlag finds the value of an option: --password VALUE.
func checkFlag(l look, i int, p *prefix) verdict {
	start := i + len(p.text)
	if b := l.before(i); len(b) > 0 && !isSpace(b[len(b)-1]) && !isQuote(b[len(b)-1]) {
		return verdict{}
	}
	if start >= len(l.data) {
		return verdict{more: !l.end}
	}
	if classOf(l.data[start])&letters == 0 {
		return verdict{}
	}
	end, more, _ := l.run(start, url64, 48)
	if more {
		return verdict{more: true}
	}
	kind := keyOf(string(l.data[start:end]))
	if kind == keyNone || kind == keyHeader || kind == keyCookie || end >= len(l.data) {
		return verdict{}
	}
	// In a list of arguments both are quoted: "--password", "…".
	if isQuote(l.data[end]) {
		end++
		for end < len(l.data) && end < start+64 && (l.data[end] == ',' || l.data[end] == ' ') {
			end++
		}
		if end >= len(l.data) {
			return verdict{more: !l.end}
		}
		if !isQuote(l.data[end]) {
			return verdict{}
		}
	} else if l.data[end] != ' ' {
		return verdict{}
	}
	return matchValue(l, end, kind, notation{flag: true}, true)
}

// checkLogin finds the name and the password that curl is given.
func checkLogin(l look, i int, p *prefix) verdict {
	start := i + len(p.text)
	// The command may have begun on a line before.
	b := l.before(i)
	line := l.lineBefore(i)
	goesOn := bytes.HasSuffix(bytes.TrimRight(b[:len(b)-len(line)], "\n"), []byte(`\`))
	if len(line) == 0 || !isSpace(line[len(line)-1]) && line[len(line)-1] != '-' || !goesOn && !bytes.Contains(line, []byte("curl")) {
		return verdict{}
	}
	if yes, more := l.prefix(start, "ser"); more {
		return verdict{more: true}
	} else if yes {
		start += 3
	}
	for n := 0; n < 3 && start < len(l.data) && bytes.IndexByte([]byte(" ='\""), l.data[start]) >= 0; n++ {
		start++
	}
	end := start
	for end < len(l.data) && end-start < window && !isSpace(l.data[end]) && (!isQuote(l.data[end]) || end > start && l.data[end-1] == ':') {
		end++
	}
	if end >= len(l.data) && !l.end && end-start < window {
		return verdict{more: true}
	}
	name, password, ok := bytes.Cut(l.data[start:end], []byte(":"))
	password = bytes.TrimLeft(password, "\"'")
	if !ok || len(name) > 0 && bytes.IndexByte([]byte("<${["), name[0]) >= 0 {
		return verdict{}
	}
	if len(password) == 0 && isSecret(keySecret, name, notation{quoted: true}) {
		return verdict{found: true, start: start, end: start + len(name), kind: p.kind}
	}
	if len(password) < 4 || isPlaceholder(string(password)) || isNumber(string(password)) {
		return verdict{}
	}
	// From the start of the name on: a token may stand there too.
	return verdict{found: true, start: start, end: end, kind: p.kind}
}

// checkNetrc finds the password of a .netrc file.
func checkNetrc(l look, i int, p *prefix) verdict {
	if !bytes.Contains(l.lineBefore(i), []byte("login ")) {
		return verdict{}
	}
	start := i + len(p.text)
	end := start
	for end < len(l.data) && end-start < window && !isSpace(l.data[end]) {
		end++
	}
	if end >= len(l.data) && !l.end && end-start < window {
		return verdict{more: true}
	}
	if end-start < 4 || isPlaceholder(string(l.data[start:end])) {
		return verdict{}
	}
	return verdict{found: true, start: start, end: end, kind: p.kind, rest: rest{how: restBare}}
}
