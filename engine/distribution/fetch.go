package distribution

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/download"
	"github.com/open-policy-agent/opa/v1/logging"
	"github.com/open-policy-agent/opa/v1/plugins/rest"

	"opencode/regular"
	"opencode/remote"
)

// Limits of a bundle. They are those of a policy directory.
const (
	defaultMaxBytes = 16 << 20  // as it is sent
	maxFileBytes    = 16 << 20  // each file in it
	maxTotalBytes   = 128 << 20 // all of it, unpacked
	// maxAnswers bounds all that a server sends in one look, as a multiple of the
	// bundle: an image can have any number of layers beside it, and all are kept.
	maxAnswers = 4
	// maxStore bounds what is kept of a registry between two looks.
	maxStore = 4 * defaultMaxBytes
)

// errUnpacked means that a bundle is small as it is sent, and is not.
var errUnpacked = fmt.Errorf("the bundle %w: more than %d bytes when it is unpacked", remote.ErrTooLarge, maxTotalBytes)

// downloader is what OPA has for both kinds of servers. Trigger looks at the
// server once.
type downloader interface {
	Trigger(ctx context.Context) error
	SetCache(etag string)
}

// fetcher looks at one server. It is for one goroutine.
type fetcher struct {
	cfg       Config
	at        location
	transport *remote.Transport
	exchange  *exchange
	updates   chan download.Update
	loader    downloader
	store     string // of the registry: a directory that lives as long as loader
}

func newFetcher(cfg Config, at location) (*fetcher, error) {
	t, err := remote.New(remote.Config{
		Origin: at.url, Credential: cfg.Credential, AllowHTTP: cfg.AllowHTTP, MaxBytes: cfg.MaxBytes, Base: cfg.Base,
	})
	if err != nil {
		return nil, err
	}
	f := &fetcher{cfg: cfg, at: at, transport: t, updates: make(chan download.Update, 1)}
	f.exchange = &exchange{next: t, at: at, longPoll: cfg.LongPoll > 0, most: maxAnswers * cfg.MaxBytes}
	return f, nil
}

// waits reports whether the server holds an answer back until there is
// something new.
func (f *fetcher) waits() bool { return f.exchange.waits() }

// fetch returns the bundle of the server, or nil if it is the one with that
// etag.
func (f *fetcher) fetch(ctx context.Context, etag string) (*kept, error) {
	if f.loader == nil {
		if err := f.open(); err != nil {
			return nil, err
		}
		f.loader.SetCache(etag)
	}
	f.exchange.begin()
	err := f.loader.Trigger(ctx)
	// The download calls back whatever becomes of it, also when the context has
	// ended first, and only then is it over.
	update := <-f.updates
	if err == nil {
		err = update.Error
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, f.explain(ctx, update, err)
	}
	if update.Bundle == nil {
		return nil, f.prune()
	}
	got := &kept{etag: update.ETag}
	if got.data, err = f.data(update); err != nil {
		return nil, err
	}
	got.sum = sum(got.data)
	// What is kept is read as it will be read at the next start.
	if got.revision, err = inspect(got.data, f.cfg.Verification); err != nil {
		return nil, fmt.Errorf("the bundle is refused: %w", err)
	}
	return got, f.prune()
}

// explain returns why there is no bundle.
func (f *fetcher) explain(ctx context.Context, update download.Update, err error) error {
	if update.Error != nil {
		err = update.Error
	}
	f.forget()
	var status download.HTTPError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the server is too slow, or the time was up: %w", ctx.Err())
	case errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%w %d %s: its credential is %s, for %s", remote.ErrStatus, status.StatusCode, http.StatusText(status.StatusCode), f.cfg.Credential, f.at.url.Host)
	case errors.As(err, &status):
		return fmt.Errorf("%w %d %s", remote.ErrStatus, status.StatusCode, http.StatusText(status.StatusCode))
	}
	return remote.Describe(err)
}

// data returns the bundle as it was sent.
func (f *fetcher) data(update download.Update) ([]byte, error) {
	if f.at.reference == "" {
		return f.exchange.take(), nil
	}
	// The etag is the digest of the layer, by which it is kept.
	data, err := regular.Read(filepath.Join(f.store, "blobs", "sha256", filepath.Base(update.ETag)), regular.RefuseLinks, f.cfg.MaxBytes)
	if err == nil && sum(data) != update.ETag {
		err = errors.New("the bundle is not what its digest says")
	}
	return data, err
}

func (f *fetcher) open() (err error) {
	config, err := json.Marshal(map[string]any{
		"name":        "policy",
		"url":         f.at.url.Scheme + "://" + f.at.url.Host,
		"credentials": map[string]string{"plugin": "opencode"},
	})
	if err != nil {
		return err
	}
	auth := &authPlugin{client: &http.Client{Transport: f.exchange}}
	client, err := rest.New(config, nil,
		rest.AuthPluginLookup(func(string) rest.HTTPAuthPlugin { return auth }),
		rest.Logger(logging.NewNoOpLogger())) // what is told is told here, without addresses
	if err != nil {
		return err
	}
	polling := map[string]any{}
	if f.cfg.LongPoll > 0 {
		polling["long_polling_timeout_seconds"] = int64(f.cfg.LongPoll.Seconds())
	}
	text, err := json.Marshal(map[string]any{"trigger": "manual", "polling": polling})
	if err != nil {
		return err
	}
	var loading download.Config
	if err := json.Unmarshal(text, &loading); err != nil {
		return err
	}
	if err := loading.ValidateAndInjectDefaults(); err != nil {
		return err
	}
	if f.at.reference == "" {
		path := f.at.url.EscapedPath()
		if f.at.url.RawQuery != "" {
			path += "?" + f.at.url.RawQuery
		}
		f.loader = download.New(loading, client, path).
			WithCallback(f.told).WithBundleVerificationConfig(f.cfg.Verification).WithSizeLimitBytes(maxFileBytes)
		return nil
	}
	if f.store, err = os.MkdirTemp("", "opencode-oci-"); err != nil {
		return err
	}
	defer func() {
		// This is how it tells that the directory cannot be used.
		if problem := recover(); problem != nil {
			err = errors.Join(fmt.Errorf("%s: %v", f.store, problem), os.RemoveAll(f.store))
			f.loader, f.store = nil, ""
		}
	}()
	f.loader = download.NewOCI(loading, client, f.at.reference, f.store).
		WithCallback(f.told).WithBundleVerificationConfig(f.cfg.Verification).WithSizeLimitBytes(maxFileBytes)
	return nil
}

// told takes what a download has come to.
func (f *fetcher) told(_ context.Context, u download.Update) error {
	f.updates <- u
	return nil
}

// forget makes the next look a first one.
func (f *fetcher) forget() {
	f.loader = nil
	if f.store != "" {
		// It is a directory for temporary files; what stays there is small.
		_ = os.RemoveAll(f.store)
		f.store = ""
	}
}

// prune forgets what was kept of a registry when it has grown too much: each
// version of a bundle stays there.
func (f *fetcher) prune() error {
	if f.store == "" {
		return nil
	}
	var size int64
	err := filepath.WalkDir(f.store, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if size > maxStore {
		f.forget()
	}
	return err
}

func (f *fetcher) close() error {
	f.forget()
	f.transport.CloseIdleConnections()
	return nil
}

// authPlugin gives OPA's client the way to the server. The credential is added
// further down, where every request passes.
type authPlugin struct{ client *http.Client }

// NewClient implements [rest.HTTPAuthPlugin].
func (p *authPlugin) NewClient(rest.Config) (*http.Client, error) { return p.client, nil }

// Prepare implements [rest.HTTPAuthPlugin].
func (*authPlugin) Prepare(*http.Request) error { return nil }

// exchange sees what a server sends before OPA does.
type exchange struct {
	next     http.RoundTripper
	at       location
	longPoll bool
	most     int64 // bytes of a look

	mu      sync.Mutex
	last    []byte
	waiting bool
	read    int64 // bytes of this look
}

// begin begins a look.
func (e *exchange) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.read = 0
}

// count counts the bytes of a look.
func (e *exchange) count(n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.read += int64(n); e.read > e.most {
		return fmt.Errorf("all that the server sends of it %w: more than %d bytes", remote.ErrTooLarge, e.most)
	}
	return nil
}

// bundleType is the type of the answers of a server that can wait.
const bundleType = "application/vnd.openpolicyagent.bundles"

// RoundTrip implements [http.RoundTripper]. An answer is read whole: it is
// bounded, and what would be too much when unpacked goes no further.
func (e *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := e.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := e.checkDigest(req, res); err != nil {
		return nil, errors.Join(err, res.Body.Close())
	}
	e.mu.Lock()
	switch {
	case !e.longPoll:
	case res.StatusCode == http.StatusOK:
		e.waiting = res.Header.Get("Content-Type") == bundleType
	case res.StatusCode != http.StatusNotModified:
		e.waiting = false
	}
	e.mu.Unlock()
	if res.StatusCode != http.StatusOK || req.Method == http.MethodHead {
		return res, nil
	}
	body, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	if err := errors.Join(e.count(len(body)), checkUnpacked(body)); err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.last = body
	e.mu.Unlock()
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return res, nil
}

// checkDigest holds a registry to the digest that was asked for: what it says
// is the digest of a name is taken for the content, also where the name is a
// digest.
func (e *exchange) checkDigest(req *http.Request, res *http.Response) error {
	if e.at.digest == "" || res.StatusCode != http.StatusOK || !strings.HasSuffix(req.URL.Path, "/manifests/"+e.at.digest) {
		return nil
	}
	if got := res.Header.Get("Docker-Content-Digest"); got != e.at.digest {
		return fmt.Errorf("the registry answers with %.80q instead of %s", got, e.at.digest)
	}
	return nil
}

func (e *exchange) waits() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiting
}

// take returns the last body.
func (e *exchange) take() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.last
	e.last = nil
	return b
}

// checkUnpacked refuses what is small as it is sent and fills the memory when
// it is unpacked. What is not compressed, or no archive, is for others to judge.
func checkUnpacked(b []byte) error {
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		return nil
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("the bundle cannot be unpacked: %w", err)
	}
	limited := &io.LimitedReader{R: r, N: maxTotalBytes + 1}
	// A sparse file has more bytes than the archive.
	left := int64(maxTotalBytes)
	archive := tar.NewReader(limited)
	for {
		header, err := archive.Next()
		if err != nil {
			break
		}
		if header.Size > left {
			return errUnpacked
		}
		left -= header.Size
	}
	_, err = io.Copy(io.Discard, limited)
	switch {
	case err != nil:
		return fmt.Errorf("the bundle cannot be unpacked: %w", err)
	case limited.N == 0:
		return errUnpacked
	}
	return nil
}

// inspect reads a bundle as the engine will, but for what it compiles to, and
// returns its revision.
func inspect(data []byte, v *bundle.VerificationConfig) (revision string, err error) {
	if err := checkUnpacked(data); err != nil {
		return "", err
	}
	loader := bundle.NewTarballLoaderWithBaseURL(bytes.NewReader(data), "").WithSizeLimitBytes(maxFileBytes)
	b, err := bundle.NewCustomReader(loader).WithSizeLimitBytes(maxFileBytes).WithBundleVerificationConfig(v).Read()
	if err != nil {
		return "", err
	}
	if b.Type() != bundle.SnapshotBundleType {
		return "", errors.New("is a change of a bundle, not a bundle")
	}
	return b.Manifest.Revision, nil
}
