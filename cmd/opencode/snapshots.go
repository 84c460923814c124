package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"opencode/agent/git"
)

const (
	// snapshotAge is how long a change of the agent can be undone. What only
	// older snapshots need is removed.
	snapshotAge = 30 * 24 * time.Hour
	// snapshotRound is how often a server that runs for long looks for such.
	snapshotRound = 24 * time.Hour
)

// openSnapshots returns the snapshots of projects below the data directory,
// and removes old ones in the background.
func openSnapshots(ctx context.Context, data string, logger *slog.Logger, closers *closers) (*git.Git, error) {
	snapshots, err := git.New(git.Config{Dir: filepath.Join(data, "snapshots"), Logger: logger})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		round := time.NewTicker(snapshotRound)
		defer round.Stop()
		for {
			if err := snapshots.Prune(ctx, snapshotAge); err != nil && ctx.Err() == nil {
				logger.LogAttrs(ctx, slog.LevelWarn, "old snapshots stay for now", slog.Any("error", err))
			}
			select {
			case <-ctx.Done():
				return
			case <-round.C:
			}
		}
	}()
	closers.add("snapshots", func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	})
	return snapshots, nil
}
