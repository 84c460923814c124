package distribution_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"opencode/engine/distribution"
	"opencode/remote"
)

// registry is the part of a registry that gives images.
type registry struct {
	*httptest.Server

	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	manifests map[string][]byte // by digest
	tags      map[string]string
	served    map[string]int // by digest
	// check answers instead, if it returns true.
	check func(w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(tb testing.TB) *registry {
	tb.Helper()
	r := &registry{blobs: map[string][]byte{}, manifests: map[string][]byte{}, tags: map[string]string{}, served: map[string]int{}}
	r.Server = httptest.NewServer(http.HandlerFunc(r.serve))
	tb.Cleanup(r.Close)
	return r
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// push gives a bundle a tag, as `oras push` does, and returns the digest of its
// manifest.
func (r *registry) push(tag string, body []byte) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.put(tag, body)
}

// put is push for who holds the lock.
func (r *registry) put(tag string, body []byte) string {
	config := []byte("{}")
	manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
		digestOf(config), len(config), digestOf(body), len(body)))
	r.blobs[digestOf(config)], r.blobs[digestOf(body)] = config, body
	r.manifests[digestOf(manifest)] = manifest
	r.tags[tag] = digestOf(manifest)
	return digestOf(manifest)
}

func (r *registry) serve(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.check != nil && r.check(w, req) {
		return
	}
	rest, ok := strings.CutPrefix(req.URL.Path, "/v2/team/policy/")
	kind, name, _ := strings.Cut(rest, "/")
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	var body []byte
	switch kind {
	case "manifests":
		if digest, ok := r.tags[name]; ok {
			name = digest
		}
		body = r.manifests[name]
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	case "blobs":
		body = r.blobs[name]
		w.Header().Set("Content-Type", "application/octet-stream")
	}
	if body == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Docker-Content-Digest", name)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if req.Method == http.MethodGet {
		r.served[name]++
		_, _ = w.Write(body)
	}
}

func (r *registry) source(reference string) string {
	return "oci+" + r.URL + "/team/policy" + reference
}

// TestRegistry takes a bundle by its tag, and the next one that gets the tag.
func TestRegistry(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	one, two := plain(t, 1), plain(t, 2)
	r.push("1", one)
	cfg := config(t, r.source(":1"))
	s := open(t, cfg)
	wantFile(t, s, one)
	for range 3 {
		if changed, err := s.Poll(t.Context(), accept2); changed || err != nil {
			t.Fatalf("Poll = %v, %v of what has not changed", changed, err)
		}
	}
	r.mu.Lock()
	if n := r.served[digestOf(one)]; n != 1 {
		t.Errorf("the bundle was sent %d times, want once", n)
	}
	r.mu.Unlock()
	r.push("1", two)
	if changed, err := s.Poll(t.Context(), accept2); !changed || err != nil {
		t.Fatalf("Poll = %v, %v of a new bundle", changed, err)
	}
	wantFile(t, s, two)
	if info := s.Info(); info.Revision != "r2" || info.ETag != digestOf(two)[len("sha256:"):] {
		t.Errorf("info %+v", info)
	}
	r.Close()
	wantFile(t, open(t, cfg), two)
}

// TestRegistryRefused holds that what is no good bundle changes nothing.
func TestRegistryRefused(t *testing.T) {
	t.Parallel()
	key := newSigner(t)
	good, next := key.signed(t, 1, nil), key.signed(t, 2, nil)
	altered := key.signed(t, 2, func(f map[string]string) { f["team.rego"] = module(3) })
	for _, row := range []struct {
		name string
		do   func(r *registry)
		want string
	}{
		{"not signed", func(r *registry) { r.put("1", plain(t, 2)) }, "missing .signatures.json"},
		{"altered", func(r *registry) { r.put("1", altered) }, "digest mismatch"},
		{"another blob than its digest", func(r *registry) {
			r.put("1", next)
			wrong := bytes.Clone(next)
			wrong[4]++ // a time, which no checksum covers
			r.blobs[digestOf(next)] = wrong
		}, "mismatch"},
		{"another manifest than its digest", func(r *registry) {
			digest := r.put("1", next)
			r.manifests[digest] = bytes.Replace(r.manifests[digest], []byte("schemaVersion"), []byte("schemaversion"), 1)
		}, "mismatch"},
		{"no such tag", func(r *registry) { delete(r.tags, "1") }, "404"},
		{"no bundle in it", func(r *registry) {
			m := []byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"` + digestOf([]byte("{}")) + `","size":2},"layers":[]}`)
			r.manifests[digestOf(m)], r.tags["1"] = m, digestOf(m)
		}, "no layers"},
		{"a layer without end", func(r *registry) {
			r.put("1", next)
			r.check = func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.Contains(req.URL.Path, "/blobs/"+digestOf(next)) {
					return false
				}
				for {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return true
					}
				}
			}
		}, "more than 16777216 bytes"},
		{"a manifest of a size that no memory holds", func(r *registry) {
			r.check = func(w http.ResponseWriter, req *http.Request) bool {
				if req.Method == http.MethodHead {
					w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
					w.Header().Set("Docker-Content-Digest", digestOf(nil))
					w.Header().Set("Content-Length", "4611686018427387904")
					return true
				}
				return false
			}
		}, ""},
		{"a path for a digest", func(r *registry) {
			m := []byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"` + digestOf([]byte("{}")) + `","size":2},` +
				`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:../../../etc/passwd","size":2}]}`)
			r.manifests[digestOf(m)], r.tags["1"] = m, digestOf(m)
		}, "digest"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := newRegistry(t)
			r.push("1", good)
			cfg := config(t, r.source(":1"))
			cfg.Verification = key.public
			s := open(t, cfg)
			r.mu.Lock()
			row.do(r)
			r.mu.Unlock()
			for range 2 {
				_, err := s.Poll(t.Context(), accept2)
				wantError(t, err, row.want)
			}
			wantFile(t, s, good)
			// What was given up may still be under way.
			r.mu.Lock()
			r.check = nil
			r.mu.Unlock()
			r.push("1", next)
			if changed, err := s.Poll(t.Context(), accept2); !changed || err != nil {
				t.Errorf("Poll = %v, %v of a good bundle", changed, err)
			}
			wantFile(t, s, next)
		})
	}
}

// TestPinned holds a registry to the digest that was asked for.
func TestPinned(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	one := plain(t, 1)
	pinned := r.push("1", one)
	other := r.push("2", plain(t, 2))
	cfg := config(t, r.source("@"+pinned))
	wantFile(t, open(t, cfg), one)
	// The registry says that the name stands for something else, which is whole
	// in itself.
	r.mu.Lock()
	r.tags[pinned] = other
	r.mu.Unlock()
	cfg.Dir = t.TempDir()
	_, err := distribution.Open(t.Context(), cfg)
	wantError(t, err, "instead of "+pinned)
}

// TestRegistryToken asks the service that the registry names for a token, and
// shows the credential to the registry's own host alone.
func TestRegistryToken(t *testing.T) {
	t.Setenv("OPENCODE_TEST_CREDENTIAL", "Basic ada:secret")
	credential, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
	if err != nil {
		t.Fatal(err)
	}
	one := plain(t, 1)
	storage := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "" {
			t.Errorf("Authorization %q reached the storage", got)
		}
		_, _ = w.Write(one)
	}))
	defer storage.Close()
	r := newRegistry(t)
	r.push("1", one)
	asked := 0
	r.check = func(w http.ResponseWriter, req *http.Request) bool {
		user, password, _ := req.BasicAuth()
		switch {
		case req.URL.Path == "/token":
			asked++
			if user != "ada" || password != "secret" {
				t.Errorf("the token service saw %q", req.Header.Get("Authorization"))
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "short-lived"})
		case req.Header.Get("Authorization") != "Bearer short-lived":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+r.URL+`/token",service="registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(req.URL.Path, "/blobs/"+digestOf(one)):
			http.Redirect(w, req, storage.URL+"/blob", http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	}
	cfg := config(t, r.source(":1"))
	cfg.Credential, cfg.Base = credential, storage.Client().Transport
	wantFile(t, open(t, cfg), one)
	if asked == 0 {
		t.Error("no token was asked for")
	}
}

// TestRegistryElsewhere does not show the credential to a token service on
// another host.
func TestRegistryElsewhere(t *testing.T) {
	t.Setenv("OPENCODE_TEST_CREDENTIAL", "Basic ada:secret")
	credential, err := remote.ParseCredential("env:OPENCODE_TEST_CREDENTIAL")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, "oci://registry.example.com/team/policy:1")
	cfg.Credential = credential
	seen := map[string]string{}
	cfg.Base = roundTripper(func(r *http.Request) (*http.Response, error) {
		seen[r.URL.Host] = r.Header.Get("Authorization")
		header := http.Header{"Www-Authenticate": {`Bearer realm="https://tokens.example.net/token"`}}
		return answer(r, http.StatusUnauthorized, nil, header), nil
	})
	if _, err := distribution.Open(t.Context(), cfg); err == nil {
		t.Error("Open succeeds")
	}
	got, asked := seen["tokens.example.net"]
	if !asked || got != "" || seen["registry.example.com"] == "" {
		t.Errorf("hosts saw %q", seen)
	}
}

// TestRegistryManyLayers takes no more of an image than a few bundles, whatever
// there is in it beside the bundle: all of it would lie on disk.
func TestRegistryManyLayers(t *testing.T) {
	t.Parallel()
	r := newRegistry(t)
	good := plain(t, 1)
	r.push("1", good)
	cfg := config(t, r.source(":1"))
	cfg.MaxBytes = 64 << 10
	s := open(t, cfg)
	digest := r.push("1", plain(t, 2))
	var layers strings.Builder
	for i := range 6 {
		layer := bytes.Repeat([]byte{byte(i)}, int(cfg.MaxBytes)-1)
		r.blobs[digestOf(layer)] = layer
		fmt.Fprintf(&layers, `,{"mediaType":"application/octet-stream","digest":%q,"size":%d}`, digestOf(layer), len(layer))
	}
	manifest := bytes.Replace(r.manifests[digest], []byte("}]"), []byte("}"+layers.String()+"]"), 1)
	r.manifests[digestOf(manifest)], r.tags["1"] = manifest, digestOf(manifest)
	_, err := s.Poll(t.Context(), accept2)
	wantError(t, err, "all that the server sends of it is too large: more than 262144 bytes")
	wantFile(t, s, good)
}

// TestRegistryStore leaves nothing of a registry behind.
func TestRegistryStore(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	r := newRegistry(t)
	r.push("1", plain(t, 1))
	s, err := distribution.Open(context.Background(), config(t, r.source(":1")))
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%v, want one directory", left)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v was left", left)
	}
}
