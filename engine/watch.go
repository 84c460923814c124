package engine

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"opencode/policy"
)

// settle is how long the directories must be quiet before a reload, so that a
// change of many files is one reload.
const settle = 50 * time.Millisecond

// rescan is how often the files are looked at when nothing has reported a
// change, since some file systems report none.
const rescan = 5 * time.Second

// Watch reloads the policy when its files change or when something arrives on
// force, until the context ends. It reports each error, and each change, to
// report; the same error is reported once.
func (e *Engine) Watch(ctx context.Context, force <-chan os.Signal, report func(Reloaded)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // nothing is left to be done with it
	e.watchDirs(w)

	quiet := time.NewTimer(settle)
	defer quiet.Stop()
	scan := time.NewTicker(rescan)
	defer scan.Stop()
	last := ""
	reload := func(forced bool) {
		e.watchDirs(w)
		changed, err := e.Reload(ctx)
		if err == nil {
			if changed || forced || last != "" {
				report(Reloaded{Info: e.Info(), Changed: changed})
			}
			last = ""
			return
		}
		if ctx.Err() == nil && (forced || err.Error() != last) {
			last = err.Error()
			report(Reloaded{Info: e.Info(), Err: err})
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-force:
			reload(true)
		case event, ok := <-w.Events:
			if !ok {
				return errors.New("policy: the watch on its files has ended")
			}
			if e.concerns(event.Name) {
				quiet.Reset(settle)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return errors.New("policy: the watch on its files has ended")
			}
			e.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "policy watch", slog.Any("error", err))
			quiet.Reset(settle)
		case <-quiet.C:
			reload(false)
		case <-scan.C:
			reload(false)
		}
	}
}

// Reloaded is the outcome of a reload.
type Reloaded struct {
	// Info describes the policy in force afterwards.
	Info    policy.Info
	Changed bool
	// Err is why the old policy stays in force.
	Err error
}

// dirs returns the directories of the policy, as absolute paths.
func (e *Engine) dirs() []string {
	var list []string
	for _, dir := range slices.Concat([]string{e.cfg.Only}, e.cfg.Dirs, e.cfg.Fetched) {
		if dir == "" {
			continue
		}
		if abs, err := filepath.Abs(dir); err == nil {
			list = append(list, abs)
		}
	}
	return list
}

// concerns reports whether a changed file can be part of the policy.
func (e *Engine) concerns(name string) bool {
	for _, dir := range e.dirs() {
		if name == dir || strings.HasPrefix(name, dir+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// watchDirs watches every directory of the policy, and the one above each, so
// that a directory that is swapped for another is noticed. What cannot be
// watched is left to the rescan.
func (e *Engine) watchDirs(w *fsnotify.Watcher) {
	for _, abs := range e.dirs() {
		_ = w.Add(filepath.Dir(abs))
		_ = filepath.WalkDir(abs, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil //nolint:nilerr // the rescan reports what cannot be read
			}
			if p != abs && strings.HasPrefix(d.Name(), ".") && d.Name() != "..data" {
				return fs.SkipDir
			}
			_ = w.Add(p)
			return nil
		})
	}
}
