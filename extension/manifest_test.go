package extension_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"opencode/extension"
)

func TestParseManifest(t *testing.T) {
	t.Parallel()
	const good = `{"version": 1, "name": "m", "functions": {"f": {"args": ["string"], "result": "boolean", "pure": true}}}`
	m, err := extension.ParseManifest([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]extension.Function{"f": {Args: []extension.Type{extension.String}, Result: extension.Boolean, Pure: true}}
	if diff := cmp.Diff(want, m.Functions); diff != "" || m.Name != "m" || m.Limits.Pages != 512 || m.Limits.ResultBytes != 65536 {
		t.Errorf("ParseManifest = %+v (-want +got):\n%s", m, diff)
	}
	for name, row := range map[string]struct{ old, replacement, want string }{
		"another version":   {`"version": 1`, `"version": 2`, "manifest.version: want 1"},
		"no version":        {`"version": 1, `, ``, `member "version" is missing`},
		"unknown member":    {`"version": 1`, `"version": 1, "Name": "n"`, `manifest: member "Name" is not known`},
		"key twice":         {`"version": 1`, `"version": 1, "version": 1`, `the key "version" is given twice`},
		"function twice":    {`"functions": {`, `"functions": {"f": {}, `, `the key "f" is given twice`},
		"two values":        {`}}}`, `}}} {}`, "more than one JSON value"},
		"not an object":     {good, `[]`, "manifest: is not an object"},
		"name in capitals":  {`"name": "m"`, `"name": "M"`, "manifest.name: name"},
		"name of a keyword": {`"name": "m"`, `"name": "with"`, `name "with": is reserved`},
		"name of an export": {`"f":`, `"alloc":`, `name "alloc": is reserved`},
		"name of a path":    {`"name": "m"`, `"name": "../m"`, "manifest.name: name"},
		"hash in capitals":  {`"version": 1`, `"version": 1, "sha256": "` + strings.Repeat("AB", 32) + `"`, "want 64 hexadecimal digits"},
		"hash too short":    {`"version": 1`, `"version": 1, "sha256": "ab"`, "want 64 hexadecimal digits"},
		"no functions":      {`"functions": {"f"`, `"functions": {}, "x": {"f"`, "want an object with 1 to 64 functions"},
		"unknown type":      {`"string"`, `"set"`, "manifest.functions.f.args[0]: want one of"},
		"type of a type":    {`"boolean"`, `{"type": "boolean"}`, "manifest.functions.f.result: want one of"},
		"no result":         {`"result": "boolean", `, ``, `manifest.functions.f: member "result" is missing`},
		"pure in words":     {`true`, `"true"`, "manifest.functions.f.pure: is not a boolean"},
		"no pages":          {`"version": 1`, `"version": 1, "limits": {"pages": 0}`, "manifest.limits.pages: want a whole number from 1 to 4096"},
		"too many pages":    {`"version": 1`, `"version": 1, "limits": {"pages": 4097}`, "from 1 to 4096"},
		"half a page":       {`"version": 1`, `"version": 1, "limits": {"pages": 1.5}`, "from 1 to 4096"},
		"too long":          {`"version": 1`, `"version": 1, "limits": {"milliseconds": 1001}`, "from 1 to 1000"},
		"misspelt limit":    {`"version": 1`, `"version": 1, "limits": {"seconds": 1}`, `manifest.limits: member "seconds" is not known`},
		"too large":         {`"version"`, strings.Repeat(" ", extension.MaxManifestBytes) + `"version"`, "has more than 65536 bytes"},
		"not UTF-8":         {`"m"`, "\"\xff\"", "is not UTF-8"},
	} {
		text := strings.Replace(good, row.old, row.replacement, 1)
		if text == good {
			t.Errorf("%s: changes nothing", name)
		}
		if m, err := extension.ParseManifest([]byte(text)); err == nil || !strings.Contains(err.Error(), row.want) || m.Functions != nil {
			t.Errorf("%s: ParseManifest = %+v, %v; want an error with %q", name, m, err, row.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		``:                          "it ends too early",
		`{"a": 1, "a": 1}`:          `the key "a" is given twice`,
		`{"a": {"b":1,"\u0062":2}}`: `the key "b" is given twice`,
		strings.Repeat("[", 100):    "it is more than 64 deep",
		`1e309`:                     "the number's exponent is beyond 308",
		`1e-999999999`:              "the number's exponent is beyond 308",
		`1e99999999999999999999`:    "the number's exponent is beyond 308",
		strings.Repeat("1", 65):     "the number has more than 64 characters",
		"\"a\x00\"":                 "this cannot stand here",
		`[1,]`:                      "this cannot stand here",
		`[1 2]`:                     "this cannot stand here",
		`{1: 2}`:                    "this cannot stand here",
		`+1`:                        "this cannot stand here",
		`NaN`:                       "this cannot stand here",
		`"a`:                        "it ends too early",
	} {
		if v, err := extension.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode(%.20q) = %v, %v; want an error with %q", text, v, err, want)
		}
	}
}
