package main_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"opencode/extension"
	"opencode/extension/extensiontest"
)

// cmdGuest writes the extension "guest" to a policy, which has the function fine
// and says true to everything.
func cmdGuest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: guest DIR")
	}
	module := extensiontest.Hostile().Assemble()
	manifest, err := extensiontest.Manifest("guest", module, true, map[string]extension.Type{"fine": extension.Boolean}).Encode()
	ts.Check(err)
	dir := ts.MkAbs(filepath.Join(args[0], "ext", "guest"))
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600))
	ts.Check(os.WriteFile(filepath.Join(dir, "guest.wasm"), module, 0o600))
}

// cmdBundles serves the files of the story: as http://$BUNDLES/FILE, and as the
// images of a registry, oci+http://$BUNDLES/NAME:latest for NAME.tar.gz.
func cmdBundles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: bundles")
	}
	work := ts.Getenv("WORK")
	blobs := map[string][]byte{}
	add := func(b []byte) string {
		sum := sha256.Sum256(b)
		digest := "sha256:" + hex.EncodeToString(sum[:])
		blobs[digest] = b
		return digest
	}
	found, err := filepath.Glob(filepath.Join(work, "*.tar.gz"))
	ts.Check(err)
	images := map[string]string{}
	for _, path := range found {
		layer, err := os.ReadFile(path)
		ts.Check(err)
		name := strings.TrimSuffix(filepath.Base(path), ".tar.gz")
		images[name] = add(fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
			`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
			`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":%d}]}`,
			add([]byte("{}")), add(layer), len(layer)))
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(work)))
	mux.HandleFunc("/v2/{name}/{kind}/{reference}", func(w http.ResponseWriter, r *http.Request) {
		digest := r.PathValue("reference")
		if digest == "latest" {
			digest = images[r.PathValue("name")]
		}
		b, ok := blobs[digest]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.PathValue("kind") == "manifests" {
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		}
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(b)
		}
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("BUNDLES", strings.TrimPrefix(server.URL, "http://"))
}
