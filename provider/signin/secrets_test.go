package signin_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"opencode/provider"
	"opencode/provider/oauth"
	"opencode/provider/signin"
	"opencode/store"
	"opencode/store/file"
	"opencode/store/vault"
)

// packages are those whose types may hold a secret, and where they are.
func packages() map[string]string {
	return map[string]string{
		"provider": "..", "oauth": "../oauth", "signin": ".", "store": "../../store", "vault": "../../store/vault", "file": "../../store/file",
	}
}

// exported returns the exported types of a package that are no interfaces, and
// of each whether it is plain: made of names, numbers and times only, so that
// there is no place for a secret but by calling it a name.
func exported(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no source: %v", dir, err)
	}
	declared := map[string]ast.Expr{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		// Whatever the operating system or the build tags: all count.
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range parsed.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				if spec, ok := spec.(*ast.TypeSpec); ok {
					declared[spec.Name.Name] = spec.Type
				}
			}
		}
	}
	found := map[string]bool{}
	for name, expr := range declared {
		if _, isInterface := expr.(*ast.InterfaceType); !isInterface && ast.IsExported(name) {
			found[name] = isPlain(expr, declared)
		}
	}
	return found
}

func isPlain(expr ast.Expr, declared map[string]ast.Expr) bool {
	switch e := expr.(type) {
	case *ast.Ident:
		if inner, ok := declared[e.Name]; ok {
			return isPlain(inner, declared)
		}
		return slices.Contains([]string{"string", "bool", "int", "int32", "int64", "uint32", "uint64", "float64"}, e.Name)
	case *ast.SelectorExpr:
		name := fmt.Sprint(e.X, ".", e.Sel)
		return name == "time.Time" || name == "time.Duration"
	case *ast.ArrayType:
		return isPlain(e.Elt, declared)
	case *ast.MapType:
		return isPlain(e.Key, declared) && isPlain(e.Value, declared)
	case *ast.StarExpr:
		return isPlain(e.X, declared)
	case *ast.StructType:
		for _, f := range e.Fields.List {
			if !isPlain(f.Type, declared) {
				return false
			}
		}
		return true
	}
	return false
}

// held are the secrets of the test, which no text has by chance.
type held struct{ all []string }

func (h *held) fresh(what string) string {
	s := what + "-" + rand.Text()
	h.all = append(h.all, s)
	return s
}

// network answers every request for tokens with secrets, or refuses and repeats
// all that it was sent.
type network struct {
	h      *held
	refuse bool
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	status, text := 200, fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":3600,"device_code":%q,"user_code":"ABCD","verification_uri":"https://auth.example/"}`,
		n.h.fresh("access"), n.h.fresh("refresh"), n.h.fresh("device"))
	switch {
	case n.refuse:
		status, text = 400, fmt.Sprintf(`{"error":%q,"error_description":%q}`, body, r.Header)
	case strings.HasSuffix(r.URL.Path, "/.well-known/opencode"):
		text = `{"auth":{"command":["login"],"env":"CORP_TOKEN"}}`
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r, ProtoMajor: 1, ProtoMinor: 1}, nil
}

// planted returns a value of each type that can hold a secret, with secrets in
// it, by package and name.
func planted(t *testing.T, h *held, logger *slog.Logger) map[string][]any {
	t.Helper()
	dir := t.TempDir()
	passphrase := h.fresh("passphrase")
	ask := func(context.Context, vault.Ask) (store.SecretText, error) {
		return store.NewSecretText(passphrase), nil
	}
	vaultConfig := vault.Config{KeyDir: filepath.Join(dir, "keys"), Passphrase: ask, PassphraseSet: true, Protection: vault.KeyFile, Logger: logger}
	v, err := vault.New(vaultConfig)
	if err != nil {
		t.Fatal(err)
	}
	fileConfig := file.CredentialsConfig{Path: filepath.Join(dir, "auth.json"), Sealer: v, SealNew: true, Logger: logger}
	kept, err := file.OpenCredentials(fileConfig)
	if err != nil {
		t.Fatal(err)
	}
	n := &network{h: h}
	config := signin.Config{
		Store: kept, HTTP: &http.Client{Transport: n}, Logger: logger, Home: dir,
		Endpoints: []byte(`{"corp":{"provider":"corp","flow":"code","client_id":"c","authorize_url":"https://auth.example/a","token_url":"https://auth.example/t","redirect_url":"https://auth.example/r","api_url":"https://api.example"}}`),
	}
	s, err := signin.New(config)
	if err != nil {
		t.Fatal(err)
	}
	begin := func() *oauth.Attempt {
		a, err := s.Client().Begin(t.Context(), "corp", oauth.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	attempt := begin()
	oauthCred, err := attempt.Finish(t.Context(), h.fresh("code"))
	if err != nil {
		t.Fatal(err)
	}
	key := store.NewSecretText(h.fresh("key"))
	apiCred := store.Credential{CredentialKey: store.CredentialKey{Provider: "other"}, Kind: store.CredentialAPI, Key: key}
	for _, c := range []store.Credential{oauthCred, apiCred} {
		if _, err := s.Keep(t.Context(), c, c.Provider, ""); err != nil {
			t.Fatal(err)
		}
	}
	sourceConfig := oauth.SourceConfig{Provider: "corp"}
	source, err := s.Refresher().Source(sourceConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Apply(t.Context(), http.Header{}); err != nil {
		t.Fatal(err)
	}
	transportConfig := provider.TransportConfig{Source: source, BaseURL: "https://api.example", Base: n}
	transport, err := provider.NewTransport(transportConfig)
	if err != nil {
		t.Fatal(err)
	}
	known, err := provider.New(provider.Config{})
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := s.Client().WellKnown(t.Context(), "https://gw.example")
	if err != nil {
		t.Fatal(err)
	}
	session, err := oauth.NewClaudeSession(oauth.ClaudeConfig{Home: dir})
	if err != nil {
		t.Fatal(err)
	}
	token, err := store.NewSecret(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h.all = append(h.all, token.Reveal())
	fixedText := h.fresh("fixed")
	fixed, err := file.ParseCredentials(fmt.Sprintf(`{"p":{"type":"api","key":%q}}`, fixedText))
	if err != nil {
		t.Fatal(err)
	}
	state, err := kept.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := vault.Inspect(state.Raw)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := filepath.Glob(filepath.Join(dir, "keys", "*"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("no key file: %v", err)
	}
	for _, path := range keys {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
				h.all = append(h.all, strings.TrimSpace(line))
			}
		}
	}

	// What is refused last: by then the values above are all in use.
	n.refuse = true
	_, refused := begin().Finish(t.Context(), h.fresh("code"))
	_, kerr := s.Refresher().Force(t.Context(), "corp", "")
	var hinted *oauth.HintedError
	var server *oauth.ServerError
	if !errors.As(refused, &hinted) || !errors.As(kerr, &server) {
		t.Fatalf("no error with a hint and of a server: %v, %v", refused, kerr)
	}
	pending := s.NewPending()
	t.Cleanup(pending.Close)
	begun, err := pending.Begin(t.Context(), "tok_1", "corp", "corp", oauth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	paste := func(context.Context) (string, error) { return passphrase, nil }
	return map[string][]any{
		"store.Credential": {oauthCred, apiCred, []store.Credential{apiCred}}, "store.SecretText": {key, apiCred.Secrets()}, "store.Secret": {token},
		"vault.Config": {vaultConfig}, "vault.Vault": {v}, "vault.OSKeyring": {&vault.OSKeyring{}}, "vault.Info": {info},
		"file.Credentials": {kept}, "file.CredentialsConfig": {fileConfig}, "file.FixedCredentials": {fixed, *fixed}, "file.State": {state},
		"signin.Config": {config}, "signin.Service": {s, *s}, "signin.Pending": {pending}, "signin.Begun": {begun},
		"provider.TransportConfig": {transportConfig}, "provider.Transport": {transport}, "provider.Catalogue": {known}, "provider.Config": {provider.Config{}},
		"oauth.Client": {s.Client()}, "oauth.Refresher": {s.Refresher()}, "oauth.Source": {source}, "oauth.SourceConfig": {sourceConfig},
		"oauth.RefresherConfig": {oauth.RefresherConfig{Client: s.Client(), Store: kept}}, "oauth.Attempt": {attempt, begin()},
		"oauth.HintedError": {hinted, *hinted, refused}, "oauth.ServerError": {server, *server, kerr}, "oauth.WellKnown": {gateway},
		"oauth.UI": {oauth.UI{Paste: paste}}, "oauth.ClaudeSession": {session}, "oauth.ClaudeConfig": {oauth.ClaudeConfig{Home: dir, Environ: []string{"HOME=" + dir}}},
		"oauth.Config": {oauth.Config{Session: session, HTTP: config.HTTP}},
	}
}

// unsecret are types that are not plain and have no place for a credential.
func unsecret() map[string]string {
	return map[string]string{
		"store.Part": "what was said in a session", "store.MessageParts": "what was said in a session", "store.Session": "what is known of a session",
		"store.Message": "what was said in a session", "store.DecisionRecord": "an input document, which never holds a credential",
		"store.IDs": "makes identifiers", "store.Token": "has the hash of one", "file.Tokens": "keeps hashes", "file.TokensConfig": "a path and a logger",
	}
}

// TestNoPublicTypeShowsSecrets prints, logs and encodes a value of every public
// type of the packages that handle secrets, each secret in its place. A type
// that can hold one and is not among the values fails the test, so that a new
// one cannot be forgotten.
func TestNoPublicTypeShowsSecrets(t *testing.T) {
	h := &held{}
	var log bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	values := planted(t, h, logger)
	used, plain := map[string]bool{}, 0
	for name, dir := range packages() {
		for typ, isPlain := range exported(t, dir) {
			full := name + "." + typ
			_, has := values[full]
			_, excused := unsecret()[full]
			switch {
			case has || excused:
				used[full] = true
			case isPlain:
				plain++
			default:
				t.Errorf("%s may hold a secret: give the test a value of it with secrets in it", full)
			}
		}
	}
	for full := range values {
		if !used[full] {
			t.Errorf("%s is no exported type any more", full)
		}
	}
	type holder struct{ hidden any }
	text := slog.New(slog.NewTextHandler(&log, nil))
	for full, list := range values {
		for _, v := range list {
			var all strings.Builder
			for _, one := range []any{v, &v, []any{v}, map[string]any{"v": v}, holder{v}, &holder{v}, fmt.Errorf("wrapped: %v", v)} {
				for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
					fmt.Fprintf(&all, verb+"\n", one)
				}
				// What cannot be encoded shows nothing.
				encoded, err := json.Marshal(one)
				fmt.Fprintf(&all, "%s %v\n", encoded, err)
				logger.Info("value", "v", one)
				text.Info("value", "v", one)
			}
			for _, secret := range h.all {
				if strings.Contains(all.String(), secret) || strings.Contains(all.String(), fmt.Sprintf("%x", secret)) {
					t.Errorf("%s shows a secret, %s…", full, secret[:6])
				}
			}
		}
	}
	for _, secret := range h.all {
		if i := strings.Index(log.String(), secret); i >= 0 {
			t.Errorf("the log shows a secret after …%s", log.String()[max(0, i-100):i])
		}
	}
	if plain == 0 || len(h.all) < 10 {
		t.Errorf("%d plain types and %d secrets: the test did not test", plain, len(h.all))
	}
}

// TestNewTypesAreNoticed shows that the test above can fail.
func TestNewTypesAreNoticed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := "package p\n\nimport \"opencode/store\"\n\ntype Plain struct { Name string; At []int }\ntype Nested struct{ p Plain }\ntype Holds struct { key store.SecretText }\ntype Func func() string\ntype Any struct{ v any }\ntype hidden struct{ v any }\ntype Way interface{ Do() }\ntype Deep map[string]*Holds\n"
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := exported(t, dir)
	want := map[string]bool{"Plain": true, "Nested": true, "Holds": false, "Func": false, "Any": false, "Deep": false}
	if len(got) != len(want) {
		t.Errorf("exported = %v, want %v", got, want)
	}
	for name, isPlain := range want {
		if found, ok := got[name]; !ok || found != isPlain {
			t.Errorf("%s: plain %v, found %v, want %v", name, found, ok, isPlain)
		}
	}
}
