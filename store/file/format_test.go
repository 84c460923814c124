package file_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"opencode/store"
	"opencode/store/file"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, config(dir))
	tok := token(1)
	tok.Attributes = map[string]string{"team": "web"}
	tok.Expires = start.Add(90 * 24 * time.Hour)
	create(t, s, tok, token(2))
	hash1, hash2 := hex.EncodeToString(tok.Hash[:]), fmt.Sprintf("%x", token(2).Hash)
	want := `{"version":1,"tokens":[
{"id":"tok_0001","name":"name-1","hash":"` + hash1 + `","permissions":["read"],"attributes":{"team":"web"},"created":"2026-03-01T12:00:01Z","expires":"2026-05-30T12:00:00Z","last_used":null},
{"id":"tok_0002","name":"name-2","hash":"` + hash2 + `","permissions":["read"],"attributes":{},"created":"2026-03-01T12:00:02Z","expires":null,"last_used":null}
]}
`
	if got := read(t, filepath.Join(dir, name)); got != want {
		t.Errorf("the file is\n%s\nwant\n%s", got, want)
	}
}

// malformed are files that must not be used, each one step from a good one.
func malformed() map[string]struct {
	text string
	want string // in the error
} {
	hash := strings.Repeat("ab", 32)
	entry := func(with ...string) string {
		fields := map[string]string{
			"id": `"tok_1"`, "name": `"n"`, "hash": `"` + hash + `"`, "permissions": `["read"]`,
			"attributes": `{}`, "created": `"2026-01-01T00:00:00Z"`, "expires": `null`, "last_used": `null`,
		}
		var b strings.Builder
		for i := 0; i < len(with); i += 2 {
			fields[with[i]] = with[i+1]
		}
		for _, k := range []string{"id", "name", "hash", "permissions", "attributes", "created", "expires", "last_used", "extra"} {
			if v := fields[k]; v != "" {
				fmt.Fprintf(&b, `,"%s":%s`, k, v)
			}
		}
		return "{" + b.String()[1:] + "}"
	}
	doc := func(entries ...string) string {
		return `{"version":1,"tokens":[` + strings.Join(entries, ",") + `]}`
	}
	type row = struct{ text, want string }
	return map[string]row{
		"good":                   {doc(entry()), ""},
		"good and empty":         {doc(), ""},
		"empty file":             {"", "unexpected end"},
		"null":                   {"null", "version"},
		"no object":              {"[]", "cannot unmarshal"},
		"half a file":            {doc(entry())[:40], "line 1"},
		"syntax":                 {"{\"version\":1,\n\"tokens\":[}", "line 2"},
		"not UTF-8":              {doc(entry("name", "\"\xff\"")), "UTF-8"},
		"more after the end":     {doc() + "{}", "after top-level value"},
		"no version":             {`{"tokens":[]}`, "version"},
		"version 0":              {`{"version":0,"tokens":[]}`, "version"},
		"version text":           {`{"version":"1","tokens":[]}`, "version"},
		"version null":           {`{"version":null,"tokens":[]}`, "version"},
		"version twice":          {`{"version":1,"tokens":[],"version":1}`, `"version" is there twice`},
		"VERSION":                {`{"VERSION":1,"tokens":[]}`, `"VERSION" is unknown`},
		"no tokens":              {`{"version":1}`, `"tokens" is missing`},
		"tokens null":            {`{"version":1,"tokens":null}`, "tokens: want an array"},
		"tokens twice":           {`{"version":1,"tokens":[],"tokens":[]}`, `"tokens" is there twice`},
		"unknown key":            {`{"version":1,"tokens":[],"x":1}`, `"x" is unknown`},
		"unknown key of a token": {doc(entry("extra", "1")), `"extra" is unknown`},
		"permissions twice":      {strings.Replace(doc(entry()), `"attributes"`, `"permissions":["execute"],"attributes"`, 1), `"permissions" is there twice`},
		"Permissions":            {strings.Replace(doc(entry()), `"permissions"`, `"Permissions"`, 1), `"Permissions" is unknown`},
		"no expires":             {doc(entry("expires", "")), `"expires" is missing`},
		"zero expires":           {doc(entry("expires", `"0001-01-01T00:00:00Z"`)), "expires: want a time"},
		"empty expires":          {doc(entry("expires", `""`)), "expires: want a time"},
		"number expires":         {doc(entry("expires", `0`)), "expires"},
		"no hash":                {doc(entry("hash", "")), `"hash" is missing`},
		"short hash":             {doc(entry("hash", `"`+hash[2:]+`"`)), "hash: want 64"},
		"odd hash":               {doc(entry("hash", `"`+hash[1:]+`g"`)), "hash: want 64"},
		"zero hash":              {doc(entry("hash", `"`+strings.Repeat("0", 64)+`"`)), "hash: is zero"},
		"null hash":              {doc(entry("hash", `null`)), "hash: is null"},
		"unknown permission":     {doc(entry("permissions", `["read","admin"]`)), `tokens[0]: permissions: "admin" is unknown`},
		"upper-case permission":  {doc(entry("permissions", `["READ"]`)), `"READ" is unknown`},
		"permission null":        {doc(entry("permissions", `[null]`)), "is null"},
		"permissions null":       {doc(entry("permissions", `null`)), "permissions: want an array"},
		"permissions object":     {doc(entry("permissions", `{"read":true}`)), "permissions: want an array"},
		"same permission twice":  {doc(entry("permissions", `["read","read"]`)), "there twice"},
		"attribute number":       {doc(entry("attributes", `{"a":1}`)), "attributes: a:"},
		"attribute null":         {doc(entry("attributes", `{"a":null}`)), "attributes: a: is null"},
		"attribute twice":        {doc(entry("attributes", `{"a":"1","a":"2"}`)), `"a" is there twice`},
		"attributes null":        {doc(entry("attributes", `null`)), "attributes: want an object"},
		"no id":                  {doc(entry("id", `""`)), "id: want"},
		"id number":              {doc(entry("id", `7`)), "id:"},
		"name with escape":       {doc(entry("name", `"\u001b[2J"`)), "name: want"},
		"created null":           {doc(entry("created", `null`)), "created: is null"},
		"same id":                {doc(entry(), entry("hash", `"`+strings.Repeat("cd", 32)+`"`)), "two tokens have the id tok_1"},
		"same hash":              {doc(entry(), entry("id", `"tok_2"`)), "tok_1 and tok_2 have the same hash"},
	}
}

func TestMalformedFileIsNeitherUsedNorTouched(t *testing.T) {
	t.Parallel()
	for what, row := range malformed() {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, name)
			s := open(t, config(dir))
			create(t, s, token(1))
			write(t, path, row.text, 0o600)

			_, openErr := file.OpenTokens(config(dir))
			_, listErr := s.Tokens(t.Context())
			_, findErr := s.TokenByHash(t.Context(), token(1).Hash)
			_, deleteErr := s.DeleteToken(t.Context(), token(1).ID)
			touchErr := s.TouchToken(t.Context(), token(1).ID, start)
			createErr := s.CreateToken(t.Context(), token(2))
			if row.want == "" {
				if openErr != nil || listErr != nil || createErr != nil {
					t.Errorf("a good file is refused: %v, %v, %v", openErr, listErr, createErr)
				}
				return
			}
			for op, err := range map[string]error{
				"OpenTokens": openErr, "Tokens": listErr, "TokenByHash": findErr,
				"DeleteToken": deleteErr, "TouchToken": touchErr, "CreateToken": createErr,
			} {
				if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), row.want) {
					t.Errorf("%s = %v, want ErrCorrupt that names the file and %q", op, err, row.want)
				}
			}
			if got := read(t, path); got != row.text {
				t.Errorf("the file was changed from %q to %q", row.text, got)
			}

			// Once it is repaired, all is as before.
			write(t, path, `{"version":1,"tokens":[]}`, 0o600)
			if _, err := s.TokenByHash(t.Context(), token(1).Hash); !errors.Is(err, store.ErrNotExist) {
				t.Errorf("TokenByHash after the repair = %v, want ErrNotExist", err)
			}
		})
	}
}

func TestNewerFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, name)
	s := open(t, config(dir))
	text := `{"tokens":{"tok_1":"another shape"},"more":[],"version":2}`
	write(t, path, text, 0o600)
	_, err := file.OpenTokens(config(dir))
	for _, err := range []error{err, s.CreateToken(t.Context(), token(1))} {
		if !errors.Is(err, store.ErrNewer) || errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("error = %v, want ErrNewer that names the file", err)
		}
	}
	if got := read(t, path); got != text {
		t.Errorf("the file was changed to %q", got)
	}
}

func TestErrorsNeverQuoteAHash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := "oc_" + strings.Repeat("x", 28)
	write(t, filepath.Join(dir, name), `{"version":1,"tokens":[{"id":"a","name":"","hash":"`+raw+`"}]}`, 0o600)
	if _, err := file.OpenTokens(config(dir)); err == nil || strings.Contains(err.Error(), raw) {
		t.Errorf("OpenTokens = %v, want an error without what stands for the hash", err)
	}
}

func FuzzOpenTokens(f *testing.F) {
	for _, row := range malformed() {
		f.Add(row.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		write(t, path, text, 0o600)
		s, err := file.OpenTokens(config(dir))
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNewer) {
				t.Errorf("OpenTokens(%q) = %v, want ErrCorrupt or ErrNewer", text, err)
			}
			return
		}
		// What is accepted means the same after a round through the file.
		before, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatalf("Tokens of %q: %v", text, err)
		}
		create(t, s, store.Token{ID: "fuzz-extra-token", Hash: sha256.Sum256([]byte(text)), Created: start})
		if _, err := s.DeleteToken(t.Context(), "fuzz-extra-token"); err != nil {
			t.Fatalf("DeleteToken: %v", err)
		}
		after, err := open(t, config(dir)).Tokens(t.Context())
		if err != nil {
			t.Fatalf("Tokens of what was written for %q: %v", text, err)
		}
		if fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("%q reads as %v, and after a write as %v", text, before, after)
		}
		for _, tok := range before {
			for _, p := range tok.Permissions {
				if p != "read" && p != "write" && p != "execute" {
					t.Errorf("%q gives the permission %q", text, p)
				}
			}
			if tok.Expires.IsZero() && !strings.Contains(text, "null") {
				t.Errorf("%q never expires without saying so", text)
			}
		}
	})
}
