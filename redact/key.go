package redact

import (
	"slices"
	"strings"
)

// keyKind is what a name says of the value that is assigned to it.
type keyKind uint8

const (
	keyNone      keyKind = iota
	keyPassword          // whatever it is, a person may have chosen it
	keyPhrase            // several words
	keySecret            // something made to be hard to guess
	keyToken             // the like, but the word has other uses: it must look random
	keyHeader            // Authorization
	keyCookie            // Cookie
	keySignature         // secret in the query of a URL
)

// keyOf tells by a name what is assigned to it. It reads the words from the
// last: db_password_prod and dbPassword are passwords, password_file and
// tokenCount are not.
func keyOf(name string) keyKind {
	var few [8]string
	list := appendWords(few[:0], name)
	for range 2 {
		if len(list) > 1 && slices.Contains([]string{
			"base", "prod", "production", "dev", "development", "staging", "stage", "live", "test", "local", "value", "v", "old", "new",
			"current", "previous", "primary", "secondary", "data", "b", "base64", "raw", "env", "plain", "text", "header", "ro", "rw", "here",
		}, list[len(list)-1]) {
			list = list[:len(list)-1]
		}
	}
	if len(list) == 0 {
		return keyNone
	}
	last, before := list[len(list)-1], ""
	if len(list) > 1 {
		before = list[len(list)-2]
	}
	joined := before + last
	switch {
	case slices.Contains(list, "public") || slices.Contains(list, "publishable") || strings.HasSuffix(last, "publickeytoken"):
		return keyNone
	case last == "passphrase" || last == "mnemonic" || joined == "seedphrase" || joined == "recoveryphrase":
		return keyPhrase
	case ends(last, "password", "passwd", "passwort", "passcode") || last == "pwd" || last == "psw" || last == "pswd" ||
		last == "pass" || ends(last, "dbpass", "userpass", "rootpass", "sshpass", "mypass", "adminpass", "dbpwd"):
		return keyPassword
	case ends(last, "secret") || last == "credential" || last == "credentials" || last == "creds":
		return keySecret
	case last == "key" && slices.Contains([]string{
		"api", "access", "secret", "private", "auth", "encryption", "encrypt", "signing", "master", "account", "shared", "storage", "service", "session",
		"license", "deploy", "admin", "client", "app", "application", "webhook", "subscription", "server", "hmac", "write", "jwt", "cipher", "crypto", "aes",
		"authorization", "root", "user", "bot", "token", "management", "project", "rest",
	}, before), ends(last, "apikey", "secretkey", "accesskey", "privatekey", "authkey", "masterkey", "accountkey", "encryptionkey", "signingkey"):
		return keySecret
	case last == "key" && isService(before):
		return keyToken
	case ends(last, "token") && !slices.Contains([]string{"next", "page", "continuation", "cancellation", "cancel", "sync", "eos", "bos", "pad", "unk"}, before) &&
		!ends(last, "nexttoken", "pagetoken", "continuationtoken", "synctoken"):
		return keyToken
	case last == "auth" || last == "jwt" || last == "bearer" || last == "pat" && before != "":
		return keyToken
	case last == "authorization":
		return keyHeader
	case last == "cookie":
		return keyCookie
	case last == "signature" || last == "sig":
		return keySignature
	}
	return keyNone
}

// isService reports whether a word is a service whose keys are often named
// after it.
func isService(s string) bool {
	return slices.Contains([]string{
		"openai", "anthropic", "gemini", "mistral", "groq", "cohere", "deepseek", "stripe", "sendgrid", "mailgun", "twilio", "algolia", "datadog", "dd",
		"newrelic", "cloudflare", "azure", "aws", "gcp", "google", "github", "gitlab", "heroku", "supabase", "firebase", "pinecone", "sentry",
	}, s)
}

func ends(s string, suffixes ...string) bool {
	for _, suffix := range suffixes {
		if strings.HasSuffix(s, suffix) {
			return true
		}
	}
	return false
}

// split returns the words of a name in small letters, without numbers.
func split(name string) []string { return appendWords(make([]string, 0, 4), name) }

func appendWords(list []string, name string) []string {
	start := 0
	for i := 0; i <= len(name); i++ {
		c := class(0)
		if i < len(name) {
			c = classOf(name[i])
		}
		hump := c == upper && i > start && (classOf(name[i-1]) == lower || i+1 < len(name) && classOf(name[i+1]) == lower && classOf(name[i-1]) == upper)
		if c&letters != 0 && !hump {
			continue
		}
		if i > start {
			list = append(list, strings.ToLower(name[start:i]))
		}
		start = i
		if !hump {
			start = i + 1
		}
	}
	return list
}
