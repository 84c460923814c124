package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"runtime"

	"opencode/provider"
	"opencode/provider/signin"
	"opencode/server"
	"opencode/settings"
	"opencode/store"
)

// user is what is known of the user who runs the server.
type user struct {
	settings  settings.Settings
	providers *provider.Catalogue
	paths     server.Paths
	// credentials are the user's, which clients of the server can add to.
	credentials store.Credentials
	signIn      *signin.Service
	// close gives up what the credentials hold open.
	close func() error
}

// readUser reads the user's configuration file, and which providers the user
// is signed in to. What is wrong is told before anything is opened. Credentials
// are made known before anybody can write them anywhere.
func readUser(ctx context.Context, logger *slog.Logger, known *knownSecrets) (user, error) {
	config, configErr := configDir()
	state, stateErr := stateDir()
	home, homeErr := os.UserHomeDir()
	if homeErr != nil {
		// The two above are known without one; clients only show it.
		home = ""
	}
	if err := errors.Join(configErr, stateErr); err != nil {
		return user{}, err
	}
	s, err := settings.Read(config)
	if err != nil {
		return user{}, withHint(err, "docs/configuration.md says what may stand in the file; without one the server starts as well")
	}
	if len(s.Ignored) > 0 {
		logger.LogAttrs(ctx, slog.LevelWarn, "settings without effect on this server; what is permitted is for the policy to say",
			slog.String("file", s.Path), slog.Any("members", s.Ignored))
	}
	// A server has nobody to ask: what needs a passphrase needs it in the
	// environment.
	kept, err := openSeenCredentials(console{out: io.Discard}, logger, protectionFlags{}, known.add)
	if err != nil {
		return user{}, err
	}
	providers, err := provider.New(provider.Config{
		Env: os.LookupEnv, Connected: kept.connected(ctx), Defined: s.Providers, Models: s.Models(),
		Enabled: s.EnabledProviders, Disabled: s.DisabledProviders,
	})
	if err != nil {
		return user{}, explainCredentials(err)
	}
	// The client opens the browser, which may be on another machine.
	service, err := signin.New(signin.Config{
		Store: kept.store, Endpoints: s.Endpoints, Env: os.LookupEnv, Home: home, OS: runtime.GOOS, UserAgent: "opencode/" + version, Logger: logger,
	})
	if err != nil {
		return user{}, withHint(err, "docs/sign-in.md says what may stand in the member endpoints and in the environment")
	}
	return user{
		settings: s, providers: providers, paths: server.Paths{Home: home, State: state, Config: config},
		credentials: kept.store, signIn: service, close: kept.close,
	}, nil
}
