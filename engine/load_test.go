package engine_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"opencode/engine"
	"opencode/policies"
	"opencode/policy"
)

// TestRefusedAtLoad: what would not do what its author means is refused before
// it decides anything, and the error says where it stands.
func TestRefusedAtLoad(t *testing.T) {
	t.Parallel()
	rego := func(text string) map[string]string { return map[string]string{"a.rego": text} }
	uses := func(expression string) map[string]string {
		return rego("package team.a\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"} if {\n\t" + expression + "\n}\n")
	}
	data := func(text string) map[string]string {
		return map[string]string{"a.rego": "package team.a\n", "data.json": text}
	}
	for name, row := range map[string]struct {
		files map[string]string
		want  string // a regular expression
	}{
		"syntax":                {rego("package team.a\n\ndeny contains {\n"), `a\.rego:\d+: .*unexpected`},
		"old syntax":            {rego("package team.a\n\ndeny[x] { x := 1 }\n"), `a\.rego:3: .*`},
		"no package":            {rego("deny := 1\n"), `a\.rego:1: .*package expected`},
		"empty file":            {rego(""), `a\.rego:.*empty module`},
		"misspelt input":        {uses("input.promt.tool == \"bash\""), `a\.rego:4: .*input\.promt`},
		"misspelt deep input":   {uses("input.prompt.command.call[0].name == \"x\""), `a\.rego:4: .*input\.prompt\.command\.call`},
		"misspelt element":      {uses("some call in input.prompt.command.calls\n\tcall.nam == \"x\""), `a\.rego:\d+: .*`},
		"comparison of types":   {uses("input.version == \"1\""), `a\.rego:4: .*match error`},
		"unused import":         {rego("package team.a\n\nimport data.opencode.config\n"), `a\.rego:3: .*unused`},
		"unused variable":       {uses("x := 1"), `a\.rego:4: .*assigned var x unused`},
		"unsafe variable":       {uses("x == 1"), `a\.rego:4: .*var x is unsafe`},
		"unknown function":      {uses("starts_with(input.kind, \"x\")"), `a\.rego:4: .*undefined function`},
		"recursion":             {rego("package team.a\n\nx if y\n\ny if x\n"), `a\.rego:3: .*recursive`},
		"shadowed input":        {uses("input := 1\n\tinput == 1"), `a\.rego:4: .*shadow`},
		"default of requests":   {rego("package opencode.request\n\nis_public := true\n"), `a\.rego:1: package opencode\.request: a team's package must be team\.<name>`},
		"default of teams":      {rego("package opencode.team\n\ndeny := set()\n"), `a\.rego:1: package opencode\.team`},
		"configuration as rule": {rego("package opencode.config\n\nbanned_commands := {}\n"), `a\.rego:1: package opencode\.config`},
		"another package":       {rego("package foo\n"), `a\.rego:1: package foo`},
		"no name":               {rego("package team\n\na.deny contains 1\n"), `a\.rego:1: package team: `},
		"deny as a value":       {rego("package team.a\n\ndeny := true\n"), `a\.rego:3: deny must be a set`},
		"deny as a condition":   {rego("package team.a\n\ndeny if input.kind == \"prompt\"\n"), `a\.rego:3: deny must be a set`},
		"deny as an object":     {rego("package team.a\n\ndeny[x] := 1 if some x in [\"a\"]\n"), `a\.rego:3: deny must be a set`},
		"deny as a condition by key": {
			rego("package team.a\n\ndeny[x] if some x in [\"a\"]\n"), `a\.rego:3: deny must be a set`,
		},
		"deny as a function":     {rego("package team.a\n\ndeny(x) if x == 1\n"), `a\.rego:3: deny must be a set`},
		"deny of parts":          {rego("package team.a\n\ndeny.x contains 1\n"), `a\.rego:3: deny must be a set`},
		"default deny":           {rego("package team.a\n\ndefault deny := false\n"), `a\.rego:3: deny must be a set`},
		"ask as a value":         {rego("package team.a\n\nask := []\n"), `a\.rego:3: ask must be a set`},
		"allow as a condition":   {rego("package team.a\n\nallow if input.version == 1\n"), `a\.rego:3: allow must be a set`},
		"obligations as a set":   {rego("package team.a\n\nobligations contains 1\n"), `a\.rego:3: obligations must be an object`},
		"obligations a function": {rego("package team.a\n\nobligations(x) := {} if x == 1\n"), `a\.rego:3: obligations must be an object`},
		"denial too deep":        {rego("package team.a.b\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"}\n"), `a\.rego:3: deny takes part in decisions only in package team\.a`},
		"denial by package":      {rego("package team.a.deny\n\nx := {\"id\": \"a.b\", \"message\": \"m\"}\n"), `a\.rego:1: package team\.a\.deny: deny must be a rule`},
		"denial in a test":       {rego("package team.a_test\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"}\n"), `a\.rego:3: deny in a test package`},
		"denial in a test's file": {
			map[string]string{"a_test.rego": "package team.a\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"}\n", "b.rego": "package team.b\n"},
			`a_test\.rego:1: package team\.a: serving leaves out`,
		},
		"broken test's file":         {map[string]string{"a_test.rego": "package team.a\n\ndeny contains {\n", "b.rego": "package team.b\n"}, `a_test\.rego:\d+: `},
		"id of the default":          {rego("package team.a\n\ndeny contains {\"id\": \"path.outside\", \"message\": \"m\"}\n"), `a\.rego:3: rule id "path\.outside" is taken by opencode/prompt/path\.rego:\d+`},
		"id of another team":         {map[string]string{"a.rego": "package team.a\n\nask contains {\"id\": \"x.y\", \"message\": \"m\"}\n", "b.rego": "package team.b\n\ndeny contains {\"id\": \"x.y\", \"message\": \"m\"}\n"}, `b\.rego:3: rule id "x\.y" is taken by .*a\.rego:3`},
		"network":                    {uses(`http.send({"method": "GET", "url": "http://127.0.0.1"}).status_code == 200`), `a\.rego:4: .*http\.send`},
		"name server":                {uses(`count(net.lookup_ip_addr("localhost")) > 0`), `a\.rego:4: .*net\.lookup_ip_addr`},
		"environment":                {uses(`opa.runtime().env.HOME == "x"`), `a\.rego:4: .*opa\.runtime`},
		"clock":                      {uses(`time.now_ns() > 0`), `a\.rego:4: .*time\.now_ns`},
		"random number":              {uses(`rand.intn("x", 2) == 1`), `a\.rego:4: .*rand\.intn`},
		"random id":                  {uses(`uuid.rfc4122("x") == "x"`), `a\.rego:4: .*uuid\.rfc4122`},
		"clock in a signature":       {uses(`io.jwt.decode_verify("x", {"secret": "x"})[0]`), `a\.rego:4: .*io\.jwt\.decode_verify`},
		"schema from the network":    {uses(`json.match_schema({}, {"$ref": "http://127.0.0.1/"})[0]`), `a\.rego:4: .*json\.match_schema`},
		"data elsewhere":             {data(`{"x": 1}`), `data\.json: data\.x: a team's data must be below`},
		"data in a folder elsewhere": {map[string]string{"a.rego": "package team.a\n", "x/data.json": `{"y": 1}`}, `x/data\.json: data\.x: `},
		"data of the default":        {data(`{"opencode": {"request": {"is_public": true}}}`), `data\.json: data\.opencode\.request: a team may set`},
		"data is a list":             {data(`[1]`), `data\.json: is not an object`},
		"opencode is a string":       {data(`{"opencode": "x"}`), `data\.json: data\.opencode: `},
		"team is a string":           {data(`{"team": "x"}`), `data\.json: data\.team: `},
		"a team is a string":         {data(`{"team": {"a": "x"}}`), `data\.json: data\.team\.a: is not an object`},
		"unknown configuration":      {data(`{"opencode": {"config": {"baned_commands": {"x": "x"}}}}`), `data\.json: data\.opencode\.config: .*baned_commands`},
		"unknown limit":              {data(`{"opencode": {"config": {"limits": {"timeout": 1}}}}`), `data\.json: data\.opencode\.config: .*timeout`},
		"configuration a list":       {data(`{"opencode": {"config": {"banned_commands": ["x"]}}}`), `data\.json: data\.opencode\.config: .*banned_commands`},
		"configuration a string":     {data(`{"opencode": {"config": "x"}}`), `data\.json: data\.opencode\.config: is not an object`},
		"configuration as JSON text": {data(`{"opencode": {"config": "{}"}}`), `data\.json: data\.opencode\.config: is not an object`},
		"configuration null":         {data(`{"opencode": {"config": null}}`), `data\.json: data\.opencode\.config: is not an object`},
		"methods null":               {data(`{"opencode": {"config": {"methods": null}}}`), `data\.json: data\.opencode\.config: .*methods`},
		"limit a string":             {data(`{"opencode": {"config": {"limits": {"timeout_seconds": "60"}}}}`), `data\.json: data\.opencode\.config: .*timeout_seconds`},
		"limit 0":                    {data(`{"opencode": {"config": {"limits": {"timeout_seconds": 0}}}}`), `data\.json: data\.opencode\.config: .*timeout_seconds`},
		"ban by true":                {data(`{"opencode": {"config": {"banned_commands": {"x": true}}}}`), `data\.json: data\.opencode\.config: .*`},
		"answer of a timeout":        {data(`{"opencode": {"config": {"ask": {"on_timeout": "ask"}}}}`), `data\.json: data\.opencode\.config: .*on_timeout`},
		"denial as data":             {data(`{"team": {"x": {"deny": {"id": "a.b", "message": "m"}}}}`), `data\.json: data\.team\.x\.deny: must be a rule`},
		"obligations as data":        {data(`{"team": {"x": {"obligations": {}}}}`), `data\.json: data\.team\.x\.obligations: must be a rule`},
		"denial as a folder":         {map[string]string{"a.rego": "package team.a\n", "team/x/deny/data.json": `{}`}, `data\.team\.x\.deny: must be a rule`},
		"rule and data at one place": {map[string]string{"a.rego": "package team.a\n\nlimit := 1\n", "data.json": `{"team": {"a": {"limit": 2}}}`}, `a\.rego:3: .*conflict.*data`},
		"data syntax":                {data("{\n\"team\": {\n\"a\": {\"x\": }\n}}\n"), `data\.json:3: `},
		"data ends early":            {data("{\n\"team\": {\n"), `data\.json:\d+: `},
		"two values":                 {data("{} {}"), `data\.json: has more than one JSON value`},
		"empty data":                 {data(""), `data\.json:1: `},
		"yaml syntax":                {map[string]string{"data.yaml": "team: [\n"}, `data\.yaml: .*`},
		"empty yaml":                 {map[string]string{"data.yaml": "# nothing\n"}, `data\.yaml: is not an object`},
		"two yaml documents":         {map[string]string{"data.yaml": "team: {a: {x: 1}}\n---\nteam: {a: {y: 1}}\n"}, `data\.yaml: has more than one YAML document`},
		"yaml keys twice":            {map[string]string{"data.yaml": "team:\n  a:\n    x: 1\n    x: 2\n"}, `data\.yaml: .*`},
		"json keys twice":            {data("{\"team\": {\"a\": {\n\"x\": 1,\n\"x\": 2}}}"), `data\.json:3: .*"x"`},
		"json and yaml in conflict":  {map[string]string{"data.json": `{"team": {"a": {"x": 1}}}`, "data.yaml": "team: {a: {x: 2}}\n"}, `data\.yaml: sets data\.team\.a\.x to another value than .*data\.json`},
		"compiled policy":            {map[string]string{"a.rego": "package team.a\n", "b.wasm": "x"}, `b\.wasm: a Wasm module needs the manifest`},
		"bundle":                     {map[string]string{"a.rego": "package team.a\n", "b.tar.gz": "x"}, `b\.tar\.gz: is not a gzipped tar archive`},
		"data.yml":                   {map[string]string{"a.rego": "package team.a\n", "data.yml": "x: 1"}, `data\.yml: would not be read`},
		"capitals":                   {map[string]string{"a.rego": "package team.a\n", "B.REGO": "package team.b\n"}, `B\.REGO: would not be read`},
		"nothing":                    {nil, `holds no \.rego file`},
		"other files alone":          {map[string]string{"README.md": "x", ".hidden.rego": "package team.a\n"}, `holds no \.rego file`},
		"too large":                  {rego("package team.a\n#" + strings.Repeat("x", 16<<20)), `a\.rego: is larger than`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := writeDir(t, row.files)
			e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}})
			if err == nil || e != nil {
				t.Fatalf("New = %v, want an error that matches %q", e, row.want)
			}
			if !regexp.MustCompile(row.want).MatchString(err.Error()) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %q, want it to match %q and to name the file", err, row.want)
			}
		})
	}
}

func TestConflictOfTwoTeamsNamesBoth(t *testing.T) {
	t.Parallel()
	a := writeDir(t, map[string]string{"data.json": `{"opencode": {"config": {"limits": {"timeout_seconds": 1}}}}`})
	b := writeDir(t, map[string]string{"opencode/data.yaml": "config: {limits: {timeout_seconds: 2}}\n"})
	_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{a, b}})
	for _, want := range []string{filepath.Join(a, "data.json"), filepath.Join(b, "opencode", "data.yaml"), "data.opencode.config.limits.timeout_seconds"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: error %v, want it to name %s", err, want)
		}
	}
	_, err = engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{a, a}})
	if err != nil {
		t.Errorf("two teams that agree: %v", err)
	}
}

func TestModuleGivenTwice(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir, dir}}); err == nil {
		t.Error("New took the same file twice")
	}
}

func TestWhatIsNoDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	for name, path := range map[string]string{
		"missing": filepath.Join(dir, "none"),
		"file":    filepath.Join(dir, "a.rego"),
		"empty":   "",
	} {
		if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{path}}); err == nil {
			t.Errorf("%s: New took %q for a directory", name, path)
		}
	}
}

func TestPipeIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"x.rego", "data.json"} {
		dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}})
			done <- err
		}()
		select {
		case err := <-done:
			if err == nil || !strings.Contains(err.Error(), name+": is not a regular file") {
				t.Errorf("%s: error %v, want it to say what the file is", name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s: New waits for the other end of the pipe", name)
		}
	}
}

func TestUnreadableFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	if err := os.Symlink("nowhere", filepath.Join(dir, "b.rego")); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), "b.rego") {
		t.Errorf("New: error %v, want one about b.rego", err)
	}
}

func TestLinkToADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package team.a\n"})
	other := writeDir(t, map[string]string{"b.rego": "package team.b\n"})
	if err := os.Symlink(other, filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}}); err == nil || !strings.Contains(err.Error(), "link to a directory") {
		t.Errorf("New: error %v, want one about the link", err)
	}
}

func TestOnlyNeedsItsEntrypoints(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package opencode.prompt\n\ndecision := {\"effect\": \"deny\"}\n"})
	_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Only: dir})
	if err == nil || !strings.Contains(err.Error(), "data.opencode.request.decision") || strings.Contains(err.Error(), "data.opencode.prompt.decision") {
		t.Errorf("New: error %v, want one about the missing entrypoint alone", err)
	}
}

func TestLoads(t *testing.T) {
	t.Parallel()
	denies := func(body string) string {
		return "package team.a\n\ndeny contains {\"id\": \"a.b\", \"message\": \"m\"} if {\n\t" + body + "\n}\n"
	}
	for name, files := range map[string]map[string]string{
		"network arithmetic":  {"a.rego": denies(`net.cidr_contains("127.0.0.0/8", input.request.remote.ip)`)},
		"yaml":                {"a.rego": denies(`data.team.a.networks[input.request.remote.ip] == true`), "data.yaml": "team:\n  a:\n    networks:\n      127.0.0.1: true\n"},
		"json":                {"a.rego": denies(`data.team.a.networks[input.request.remote.ip] == true`), "data.json": `{"team": {"a": {"networks": {"127.0.0.1": true}}}}`},
		"folders":             {"team/a.rego": denies(`data.team.a.networks[input.request.remote.ip] == true`), "team/a/data.json": `{"networks": {"127.0.0.1": true}}`},
		"helper package":      {"a.rego": denies(`data.team.a.helpers.is_loopback`), "a/helpers.rego": "package team.a.helpers\n\nis_loopback if input.request.remote.loopback == true\n"},
		"configuration":       {"data.json": `{"opencode": {"config": {"routes": {"/config": {"GET": false}}}}}`},
		"other files besides": {"a.rego": denies(`input.version == 1`), "README.md": "x", "config.json": "not JSON", ".x.rego": "not Rego"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := team(t, files).Decide(t.Context(), request("GET", "/config", "read"))
			if err != nil || d.Effect != policy.Deny {
				t.Errorf("Decide = %v, error %v, want a denial", d.Effect, err)
			}
		})
	}
}

// TestMountedConfiguration: an orchestrator mounts files as links through a
// hidden directory that it swaps.
func TestMountedConfiguration(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"..2026_1/a.rego": "package team.a\n\ndeny contains {\"id\": \"a.one\", \"message\": \"m\"}\n"})
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026_1", "..data")
	link(filepath.Join("..data", "a.rego"), "a.rego")
	e, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	want := func(id string) {
		t.Helper()
		if d, err := e.Decide(t.Context(), request("GET", "/config", "read")); err != nil || len(d.Rules) != 1 || d.Rules[0].ID != id {
			t.Errorf("Decide = %v by %v, error %v, want a denial by %s", d.Effect, ids(d), err, id)
		}
	}
	want("a.one")
	writeFiles(t, dir, map[string]string{"..2026_2/a.rego": "package team.a\n\ndeny contains {\"id\": \"a.two\", \"message\": \"m\"}\n"})
	link("..2026_2", "..data_new")
	if err := os.Rename(filepath.Join(dir, "..data_new"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if changed, err := e.Reload(t.Context()); !changed || err != nil {
		t.Fatalf("Reload = %v, error %v, want a change", changed, err)
	}
	want("a.two")
}

func TestDigestIsThatOfTheContents(t *testing.T) {
	t.Parallel()
	files := map[string]string{"a.rego": "package team.a\n", "data.json": `{"team": {"a": {"x": 1}}}`}
	digest := func(files map[string]string) string { return team(t, files).Info().Digest }
	if one, other := digest(files), digest(files); one != other {
		t.Error("the place of a directory changes the digest")
	}
	if digest(files) == digest(map[string]string{"b.rego": "package team.a\n", "data.json": files["data.json"]}) {
		t.Error("the name of a file does not change the digest")
	}
	if digest(files) == digest(map[string]string{"a.rego": "package team.a\n", "data.json": `{"team": {"a": {"x": 2}}}`}) {
		t.Error("a value does not change the digest")
	}
}

func TestErrorsAreJoined(t *testing.T) {
	t.Parallel()
	dir := writeDir(t, map[string]string{"a.rego": "package foo\n", "b.rego": "package bar\n"})
	_, err := engine.New(t.Context(), engine.Config{Default: policies.FS, Dirs: []string{dir}})
	if err == nil || bytes.Count([]byte(err.Error()), []byte("\n")) != 1 {
		t.Errorf("New: error %v, want two, one on each line", err)
	}
}
