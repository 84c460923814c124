package redact

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// isWords reports whether a text is made of words and small numbers, such as
// sk-toggleable__label, rather than of random characters.
func isWords(b []byte) bool {
	for len(b) > 0 {
		n := 0
		for n < len(b) && classOf(b[n])&alnum != 0 {
			n++
		}
		if !isWord(b[:n]) {
			return false
		}
		b = b[min(len(b), n+1):]
	}
	return true
}

// isWord reports whether a text is letters of one case, perhaps with a capital
// before or up to three digits behind, or a number of up to four digits.
func isWord(b []byte) bool {
	end := len(b)
	for end > 0 && classOf(b[end-1]) == digit {
		end--
	}
	if end == 0 {
		return len(b) <= 4
	}
	if len(b)-end > 3 {
		return false
	}
	rest := classOf(b[end-1])
	for i, c := range b[:end] {
		if k := classOf(c); k&letters == 0 || k != rest && i > 0 || k == lower && rest == upper {
			return false
		}
	}
	return true
}

// isCamel reports whether a text is an identifier of words that begin with
// capitals, with dots between several. Its words are long enough to be words,
// and can be said: random letters are almost never so.
func isCamel(s string) bool {
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r < 0x80 && !strings.ContainsRune(nameCharacters, r) }) {
		part = strings.TrimRight(part, "0123456789")
		list := split(part)
		n, short := 0, 0
		for _, w := range list {
			n += len(w)
			if len(w) <= 2 {
				short++
			}
			if !canBeSaid(w) {
				return false
			}
		}
		if n != len(part) || len(part) > 4 && len(list)*7 > len(part)*2 || len(list) >= 4 && short*4 > len(list) {
			return false
		}
	}
	// In words the letters that are rare in words are rare.
	rare := 0
	for _, c := range []byte(s) {
		if c |= 0x20; c == 'j' || c == 'q' || c == 'x' || c == 'z' {
			rare++
		}
	}
	return rare < 3
}

const nameCharacters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// canBeSaid reports whether a word has vowels, and not too many consonants in
// between.
func canBeSaid(w string) bool {
	if len(w) > 2 && !strings.ContainsAny(w, "aeiouy") {
		return false
	}
	consonants := 0
	for i := range len(w) {
		if strings.IndexByte("aeiouy", w[i]) >= 0 {
			consonants = 0
			continue
		}
		consonants++
		if consonants > 4 || w[i] == 'q' && i+1 < len(w) && w[i+1] != 'u' {
			return false
		}
	}
	return true
}

// isExample reports whether a token is none: an example of a documentation, or
// what stands for one. A random text is never one but by a chance of less than
// one in a million.
func isExample(b []byte) bool {
	same, steps := 1, 1
	seen := [256]bool{}
	distinct := 0
	for i, c := range b {
		if !seen[c] {
			seen[c] = true
			distinct++
		}
		if i == 0 {
			continue
		}
		if c == b[i-1] {
			same++
		} else {
			same = 1
		}
		if c == b[i-1]+1 || c == '0' && b[i-1] == '9' {
			steps++
		} else {
			steps = 1
		}
		if same >= 8 || steps >= 8 || same >= 5 && (c == 'x' || c == 'X' || c == '*' || c == '.') {
			return true
		}
	}
	if len(b) >= 16 && distinct < 5 {
		return true
	}
	text := string(b)
	for _, w := range []string{"example", "EXAMPLE", "Example", "placeholder", "PLACEHOLDER", "REDACTED", "redacted"} {
		if strings.Contains(text, w) {
			return true
		}
	}
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '-' || r == '_' || r == '.' || r == '/' }) {
		if slices.Contains([]string{"your", "YOUR", "dummy", "DUMMY", "fake", "FAKE", "changeme", "insert", "INSERT", "replace", "REPLACE", "sample", "SAMPLE"}, part) {
			return true
		}
	}
	return false
}

// references say where a value comes from, and calls are code that makes it.
var (
	references = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?i)^(\$\{?[a-z_][a-z0-9_.]*([:\-|].*)?\}?$|\$[({]|\{\{|<[^>]*>$|%[a-z_][a-z_0-9.(){}-]*%$|(%[sdvqxr][:/ .@_-]?)+$|%\(|#\{|@@|@\{|\[[^\]]*\]$|\{[^}]*\}$|\{[a-z_]+$|\*[a-z_-]+$|&[a-z_]+$` +
			`|!(ref|sub|getatt|vault|secret|env|join)\b|env[.:(]|secrets?[.:(]|vars?\.|var\.|data\.|local\.|module\.|process\.|os\.|system\.|import\.|self\.|this\.|req\.|ctx\.|config\.|settings\.|options?\.|props\.|params\.|args?\.` +
			`|arn:|https?://|file:|vault:|op://|ssm:|kms:|sha(1|256|384|512)[:-]|md5:|/(run|etc|var|home|usr|root|tmp|opt|mnt|proc|sys)/|~/|[a-z]:\\)`)
	})
	call = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(await |new |&|\*|!)*[A-Za-z_$][\w$]*((\.|::|->|\?\.)[A-Za-z_$][\w$]*)*[!?]?([(\[]|\.$|::|->|=>)`)
	})
)

// ordinary are values that say what kind of value is meant, or that there is
// none.
var ordinary = set(`string strings str text number boolean bool int integer float any unknown object array map list null nil none undefined true false void never
 required optional incorrect invalid wrong missing expired empty enabled disabled default hidden masked set unset yes no not is was has must should input field
 form file files ldap compat systemd sss dns prompt password passwd pass secret secrets token tokens key keys apikey credential credentials value values name
 test testing basic bearer oauth oauth2 jwt digest negotiate auto manual random generated varchar char bytes byte date email username user admin root type
 const let var function func return async await class self this public private protected static final new delete if else for while import export from
 stdin stdout inherit always write read pem rsa hex base64 changed updated reset failed success ok error accepted rejected stored saved rotated revoked
 changeme letmein na n/a tbd todo pw pwd`)

// standIns are words that, standing alone, make a placeholder of a value.
var standIns = set(`your insert replace enter dummy fake sample todo fixme goes here mock`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		m[w] = true
	}
	return m
}

// isPlaceholder reports whether a value stands for another one.
func isPlaceholder(s string) bool {
	if sameCharacter(s) || isExample([]byte(s)) || isPath(s) {
		return true
	}
	low := strings.ToLower(s)
	if ordinary[low] || strings.ContainsAny(s, "$%<#@[{*&!/~.:(") && references().MatchString(s) {
		return true
	}
	for _, w := range []string{
		"example", "placeholder", "changeme", "change-", "change_", "change me", "redacted", "to-be-", "to_be_", "not-a-real", "not_a_real", "notareal",
		"not-real", "xxxxx", "***", "...", "…", "•••", "####",
	} {
		if strings.Contains(low, w) {
			return true
		}
	}
	for w := range strings.FieldsFuncSeq(low, func(r rune) bool { return r == '-' || r == '_' || r == ' ' || r == '.' }) {
		if standIns[w] {
			return true
		}
	}
	if mine, ok := strings.CutPrefix(low, "my"); ok && len(mine) > 4 && (mine[0] == '-' || mine[0] == '_') {
		return slices.ContainsFunc([]string{"api", "app", "secret", "token", "pass", "key", "super", "db", "access"}, func(w string) bool { return strings.HasPrefix(mine[1:], w) })
	}
	yours, ok := strings.CutPrefix(low, "your")
	return ok && yours != "" && classOf(yours[0])&(lower|dash|underscore) != 0
}

// isPath reports whether a value is the path of a file, whose parts are words.
func isPath(s string) bool {
	rest := strings.TrimLeft(s, ".")
	return len(s)-len(rest) <= 2 && strings.HasPrefix(rest, "/") && isWords([]byte(rest))
}

func sameCharacter(s string) bool { return len(s) > 0 && strings.Count(s, s[:1]) == len(s) }

// notation is how a value is written.
type notation struct {
	quoted bool
	shout  bool // the name is in capitals, as in an environment
	tight  bool // no space around the sign
	line   bool // the line ends with the value
	colon  bool
	query  bool // a parameter of a URL
	flag   bool // an option of a command
	weak   bool // the name has other uses, such as "PASS"
}

// isSecret reports whether a value is one, by what it is assigned to and how.
func isSecret(kind keyKind, value []byte, n notation) bool {
	s := string(value)
	if len(s) < 4 || isPlaceholder(s) {
		return false
	}
	if !n.quoted && call().MatchString(s) && (!n.shout || strings.ContainsAny(s, "(")) {
		return false
	}
	if n.weak && (!hasDigit(s) || isWords(value) || isNumber(s) || strings.ContainsAny(s, " /(")) {
		return false
	}
	if (kind == keySecret || kind == keyToken) && !n.quoted && !n.shout && !n.tight && isName(s) {
		return false
	}
	switch kind {
	case keyPassword:
		return isPassword(s, n)
	case keyPhrase:
		return strings.ContainsAny(s, " -") && !strings.HasSuffix(s, ":") || isPassword(s, n)
	case keySecret:
		return len(s) >= 6 && !strings.ContainsAny(s, " \t") && !isWords(value) && (hasDigit(s) || (n.shout || len(s) >= 12) && !isCamel(s)) && !isNumber(s)
	case keyToken:
		least := 16
		if n.shout || n.flag || n.query {
			least = 8
		}
		return len(s) >= least && isRandom(value, n)
	case keySignature:
		return n.query && len(s) >= 16 && isRandom(value, n)
	case keyNone, keyHeader, keyCookie:
	}
	return false
}

// isPassword reports whether a value may be a password that a person has
// chosen. Without digits or signs it is hard to tell from code and prose.
func isPassword(s string, n notation) bool {
	if strings.ContainsAny(s, " \t") {
		// A label, unless a word of it is none.
		for w := range strings.FieldsSeq(s) {
			if hasDigit(w) && !isWords([]byte(w)) {
				return true
			}
		}
		return false
	}
	if isLetters(s) {
		switch {
		case namesSecret(s):
			return false
		case len(s) >= 16 && !isWord([]byte(s)) && !isCamel(s):
			return true // no word and no name
		case n.quoted:
			return len(s) >= 6 && classOf(s[0]) != upper
		case n.shout || n.query || n.flag && n.line:
			return true
		}
		return n.colon && n.line && len(s) >= 8 && strings.ToLower(s) == s || !n.colon && n.tight && n.line && !isCamelHump(s)
	}
	if !hasDigit(s) && isWords([]byte(s)) && (namesSecret(s) || !n.quoted && !n.shout) {
		return false
	}
	if !n.quoted && !n.shout && !n.query && !n.flag && isIdentifier(s) && isCamel(s) && (namesSecret(s) || !n.line && (!n.tight || !hasDigit(s))) {
		return false
	}
	if isNumber(s) && !n.quoted && !n.shout && !n.query {
		return len(s) >= 6
	}
	return true
}

// isRandom reports whether a value looks as if it was made by a machine.
func isRandom(b []byte, n notation) bool {
	distinct := 0
	var seen [256]bool
	for _, c := range b {
		if classOf(c) == 0 && bytes.IndexByte([]byte("~:%|@!$"), c) < 0 {
			return false
		}
		if !seen[c] {
			seen[c] = true
			distinct++
		}
	}
	s := string(b)
	if distinct < 6 || isWords(b) || isNumber(s) || !hasDigit(s) && isCamel(s) {
		return false
	}
	return n.quoted || !isIdentifier(s) || !isCamel(s)
}

// isName reports whether a value is an identifier that has numbers in it, such
// as testRSA2048Key.
func isName(s string) bool {
	letters := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s)
	low := strings.ToLower(s)
	if !namesSecret(letters) && !strings.ContainsAny(s, ".") && !ends(low, "certificate", "config", "cert") && !strings.HasPrefix(low, "test") {
		return false
	}
	return isIdentifier(s) && len(s)-len(letters) <= 5 && len(letters) >= 8 && isCamel(letters)
}

func hasDigit(s string) bool { return strings.ContainsAny(s, "0123456789") }

func isNumber(s string) bool { return strings.Trim(s, "0123456789.,_%") == "" }

func isLetters(s string) bool {
	for i := range len(s) {
		if classOf(s[i])&letters == 0 {
			return false
		}
	}
	return true
}

func isCamelHump(s string) bool { return strings.ToLower(s) != s && strings.ToUpper(s) != s }

func isIdentifier(s string) bool {
	for i := range len(s) {
		if classOf(s[i])&(word|dot) == 0 && s[i] != '?' && s[i] != '!' && s[i] != '$' {
			return false
		}
	}
	return classOf(s[0])&(letters|underscore) != 0 || s[0] == '$'
}

// namesSecret reports whether a value is itself the name of a secret.
func namesSecret(s string) bool {
	for _, w := range split(s) {
		if ends(w, "password", "passwd", "pass", "secret", "token", "key", "credential", "credentials", "pwd", "auth", "passwords", "passwort") {
			return true
		}
	}
	return false
}
