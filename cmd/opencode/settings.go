package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"opencode/provider"
	"opencode/server"
	"opencode/settings"
)

// user is what is known of the user who runs the server.
type user struct {
	settings  settings.Settings
	providers *provider.Catalogue
	paths     server.Paths
}

// readUser reads the user's configuration file, and which providers the user
// is signed in to. What is wrong is told before anything is opened.
func readUser(ctx context.Context, logger *slog.Logger) (user, error) {
	config, configErr := configDir()
	data, dataErr := dataDir()
	state, stateErr := stateDir()
	home, homeErr := os.UserHomeDir()
	if homeErr != nil {
		// The three above are known without one; clients only show it.
		home = ""
	}
	if err := errors.Join(configErr, dataErr, stateErr); err != nil {
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
	auth := filepath.Join(data, "auth.json")
	providers, err := provider.New(provider.Config{
		Env: os.LookupEnv, AuthFile: auth, Defined: s.Providers, Models: s.Models(),
		Enabled: s.EnabledProviders, Disabled: s.DisabledProviders,
	})
	switch {
	case errors.Is(err, provider.ErrAuthFile):
		return user{}, withHint(err, "move the file away and sign in again")
	case err != nil:
		return user{}, err
	}
	return user{settings: s, providers: providers, paths: server.Paths{Home: home, State: state, Config: config}}, nil
}
