package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"opencode/decisionlog"
	"opencode/engine"
	"opencode/engine/distribution"
	"opencode/policy"
	"opencode/redact"
	"opencode/remote"
	"opencode/settings"
)

// remoteFlags are the flags about the servers that policies come from and that
// decisions go to.
type remoteFlags struct {
	credentials []string
	insecure    []string
	poll        time.Duration
	longPoll    time.Duration
	decisionLog string
	labels      []string
}

func (f *remoteFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.credentials, "remote-credential", nil, "the credential for a host is in a variable or a file: `HOST=env:NAME` or HOST=file:PATH (repeatable)")
	flags.StringArrayVar(&f.insecure, "insecure-http", nil, "reach this `HOST` by http, without its credential (repeatable)")
	flags.DurationVar(&f.poll, "policy-poll", time.Minute, "look for a new bundle after this `TIME` at the least, and twice it at the most")
	flags.DurationVar(&f.longPoll, "policy-long-poll", 0, "let a server of bundles wait this `TIME` with its answer")
	flags.StringVar(&f.decisionLog, "decision-log", "", "ship decisions to the collector at this `URL`, in the format of OPA")
	flags.StringArrayVar(&f.labels, "decision-log-label", nil, "a label of each decision that is shipped, `NAME=VALUE` (repeatable)")
}

// remotes are the servers as the flags have them.
type remotes struct {
	flags       remoteFlags
	credentials map[string]remote.Credential
	labels      map[string]string
}

func (f *remoteFlags) parse() (remotes, error) {
	r := remotes{flags: *f, credentials: map[string]remote.Credential{}, labels: map[string]string{
		"app": "opencode", "version": version, "id": rand.Text(),
	}}
	var errs []error
	for _, text := range f.credentials {
		host, credential, err := remote.ParseHostCredential(text)
		switch {
		case err != nil:
			// What was given may be the credential itself.
			errs = append(errs, usagef("--remote-credential: %w", err))
		case !r.credentials[host].IsZero():
			errs = append(errs, usagef("--remote-credential: %s has two", host))
		default:
			r.credentials[host] = credential
			if err := credential.Check(); err != nil {
				errs = append(errs, err)
			}
		}
	}
	for _, text := range f.labels {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			errs = append(errs, usagef("--decision-log-label %q: want NAME=VALUE", text))
		}
		r.labels[name] = value
	}
	if f.poll < time.Second {
		errs = append(errs, usagef("--policy-poll %v: want a second at the least", f.poll))
	}
	if f.longPoll != 0 && f.longPoll < time.Second {
		errs = append(errs, usagef("--policy-long-poll %v: want a second at the least, or 0", f.longPoll))
	}
	return r, errors.Join(errs...)
}

// configure takes from the user's file what no flag says.
func (r *remotes) configure(s settings.DecisionLog) {
	if r.flags.decisionLog != "" {
		return
	}
	r.flags.decisionLog = s.URL
	for name, value := range s.Labels {
		if _, given := r.labels[name]; !given {
			r.labels[name] = value
		}
	}
}

// secrets returns what must not be shown.
func (r remotes) secrets() []string {
	var list []string
	for _, host := range slices.Sorted(maps.Keys(r.credentials)) {
		for _, secret := range r.credentials[host].Secrets() {
			if len(secret) >= redact.MinKnown {
				list = append(list, secret)
			}
		}
	}
	return list
}

func (r remotes) isInsecure(host string) bool {
	return slices.ContainsFunc(r.flags.insecure, func(name string) bool { return strings.EqualFold(name, host) })
}

// policySources are the policies that come from servers.
type policySources struct {
	flags  policyFlags // as given, with addresses among the directories
	opened map[string]*distribution.Source
}

// openSources brings the policies that are on servers, and puts the files that
// hold them in place of their addresses.
func openSources(ctx context.Context, flags *policyFlags, r remotes, logger *slog.Logger, closers *closers) (*policySources, error) {
	if err := flags.check(); err != nil {
		return nil, err
	}
	s := &policySources{flags: *flags, opened: map[string]*distribution.Source{}}
	if distribution.IsSource(flags.only) {
		return nil, usagef("--policy-only takes a policy on this machine; --policy takes one from a server")
	}
	state, err := stateDir()
	if err != nil {
		return nil, err
	}
	for _, address := range flags.dirs {
		if !distribution.IsSource(address) || s.opened[address] != nil {
			continue
		}
		host, err := distribution.Host(address)
		if err != nil {
			return nil, usagef("--policy: %w", err)
		}
		source, err := distribution.Open(ctx, distribution.Config{
			Source: address, Dir: filepath.Join(state, "policy"), Check: s.check(address), Verification: flags.key.verification.Config(),
			Credential: r.credentials[host], AllowHTTP: r.isInsecure(host),
			MinDelay: r.flags.poll, MaxDelay: 2 * r.flags.poll, LongPoll: r.flags.longPoll, Logger: logger,
		})
		if err != nil {
			return nil, sourceError(err, host)
		}
		s.opened[address] = source
		closers.add("policy source", func(context.Context) error { return source.Close() })
	}
	*flags = s.local("", "")
	return s, nil
}

func sourceError(err error, host string) error {
	switch {
	case errors.Is(err, remote.ErrPlain):
		return withHint(err, "use https, or --insecure-http "+host+" if nobody can change what is sent on the way")
	case errors.Is(err, distribution.ErrNoBundle):
		return withHint(err, "the server starts when it has had a good bundle once; --remote-credential names the credential of a host, --policy DIR takes a policy on this machine")
	}
	return err
}

// check returns a function that says whether the policy would load with another
// bundle of one source.
func (s *policySources) check(address string) func(context.Context, string) error {
	return func(ctx context.Context, path string) error {
		flags := s.local(address, path)
		e, err := engine.New(ctx, flags.config())
		if err != nil {
			return err
		}
		e.Close()
		return nil
	}
}

// local returns the flags with files on this machine for the sources: path for
// one of them, and for the others what is kept.
func (s *policySources) local(address, path string) policyFlags {
	flags := s.flags
	flags.dirs, flags.fetched = nil, nil
	for _, dir := range s.flags.dirs {
		source := s.opened[dir]
		switch {
		case !distribution.IsSource(dir):
			flags.dirs = append(flags.dirs, dir)
		case dir == address:
			flags.fetched = append(flags.fetched, path)
		case source != nil:
			flags.fetched = append(flags.fetched, source.Path())
		}
	}
	flags.dirs, flags.fetched = slices.Compact(flags.dirs), slices.Compact(flags.fetched)
	return flags
}

// watch keeps the policy up to date with the servers.
func (s *policySources) watch(ctx context.Context, e *engine.Engine, closers *closers) {
	for _, source := range s.opened {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			source.Run(ctx, func(ctx context.Context) error {
				_, err := e.Reload(ctx)
				return err
			})
		}()
		closers.add("policy source watch", func(context.Context) error {
			cancel()
			<-done
			return nil
		})
	}
}

// info describes the sources, in the order of their addresses.
func (s *policySources) info() []policy.SourceInfo {
	list := make([]policy.SourceInfo, 0, len(s.opened))
	for _, source := range s.opened {
		list = append(list, source.Info())
	}
	slices.SortFunc(list, func(a, b policy.SourceInfo) int { return cmp.Compare(a.Source, b.Source) })
	return list
}

// openDecisionLog starts to ship decisions, if a collector is named.
func openDecisionLog(r remotes, s *policySources, e *engine.Engine, redactor *redact.Redactor, logger *slog.Logger) (*decisionlog.Log, error) {
	if r.flags.decisionLog == "" {
		return nil, nil //nolint:nilnil // none is wanted
	}
	target, err := remote.ParseURL(r.flags.decisionLog, "https", "http")
	if err != nil {
		return nil, usagef("decision log: %w", err)
	}
	l, err := decisionlog.New(decisionlog.Config{
		URL: r.flags.decisionLog, Masker: e, Redactor: redactor, Labels: r.labels, Logger: logger,
		Credential: r.credentials[target.Host], AllowHTTP: r.isInsecure(target.Host),
		Revisions: func() map[string]string {
			list := map[string]string{}
			for _, source := range s.info() {
				list[source.Source] = source.Revision
			}
			return list
		},
	})
	if errors.Is(err, remote.ErrPlain) {
		return nil, withHint(err, "use https, or --insecure-http "+target.Host+" if nobody can read what is sent on the way")
	}
	return l, err
}

// describedPolicy is the engine, and what is known of where its policy comes
// from and where its decisions go.
type describedPolicy struct {
	*engine.Engine
	sources  *policySources
	log      *decisionlog.Log
	redactor *redact.Redactor
}

// Info implements the server's Policy.
func (p describedPolicy) Info() policy.Info {
	info := p.Engine.Info()
	info.Sources = p.sources.info()
	for i := range info.Sources {
		info.Sources[i].Error = p.redactor.String(info.Sources[i].Error)
	}
	if p.log != nil {
		log := p.log.Info()
		log.Error = p.redactor.String(log.Error)
		info.DecisionLog = &log
	}
	return info
}

// checkLocal refuses an address where a policy must be on this machine.
func (f *policyFlags) checkLocal() error {
	for _, dir := range append(slices.Clone(f.dirs), f.only) {
		if distribution.IsSource(dir) {
			host, err := distribution.Host(dir)
			return cmp.Or(err, usagef("a policy of a server (%s) is for `serve`; name a directory here", host))
		}
	}
	return nil
}

// startText says where the policy comes from, for whoever starts the server.
func (s *policySources) startText() string {
	var b strings.Builder
	for _, info := range s.info() {
		fmt.Fprintf(&b, "policy source %s revision %q\n", info.Source, info.Revision)
	}
	return b.String()
}
