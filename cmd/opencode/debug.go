package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"opencode/redact"
	"opencode/sanitize"
)

func newDebugSanitizeCmd() *cobra.Command {
	var lines bool
	cmd := &cobra.Command{
		Use:   "sanitize",
		Short: "Copy stdin to stdout without what would steer a terminal",
		Long: `Copy stdin to stdout without what would steer a terminal.

What comes out is UTF-8 with "\n" and "\t" as the only control characters: no
escape sequences, no characters that are invisible or change the order of
others. It is how this program shows what commands have printed.

With --jsonl each line is a JSON string, and so is each line of the result.`,
		Example: `  make 2>&1 | opencode debug sanitize
  printf '"\\u001b[31mred"\n' | opencode debug sanitize --jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if lines {
				return filterJSON(cmd.InOrStdin(), cmd.OutOrStdout(), sanitize.String)
			}
			return filter(cmd.InOrStdin(), sanitize.NewWriter(cmd.OutOrStdout()))
		},
	}
	jsonlFlag(cmd, &lines)
	return cmd
}

func newDebugRedactCmd() *cobra.Command {
	var lines bool
	cmd := &cobra.Command{
		Use:   "redact",
		Short: "Copy stdin to stdout without credentials",
		Long: `Copy stdin to stdout without credentials.

Each is replaced by "[redacted:kind]"; everything else stays as it is. It is how
this program treats its log and the output of commands, and it knows the same:
the forms of well-known tokens and keys, names such as DB_PASSWORD, the
credentials that providers are signed in with, and those in the environment.
It asks nobody: if credentials are encrypted with a passphrase or are in an HSM,
it knows them if the passphrase or the PIN is in the environment.

With --jsonl each line is a JSON string, and so is each line of the result.`,
		Example: `  env | opencode debug redact
  git log -p | opencode debug redact
  printf '"a line"\n' | opencode debug redact --jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
			r, err := newRedactor(os.Environ, logger)
			if err != nil {
				// Without a home there are no files with credentials either.
				r = redact.New(redact.Config{Known: func() []string { return secretVariables(os.Environ()) }})
			}
			if lines {
				return filterJSON(cmd.InOrStdin(), cmd.OutOrStdout(), r.String)
			}
			return filter(cmd.InOrStdin(), r.Writer(cmd.OutOrStdout()))
		},
	}
	jsonlFlag(cmd, &lines)
	return cmd
}

func jsonlFlag(cmd *cobra.Command, lines *bool) {
	cmd.Flags().BoolVar(lines, "jsonl", false, "read and write one JSON string a line")
}

// filter copies what is read through a filter, as it comes.
func filter(in io.Reader, w io.WriteCloser) error {
	_, err := io.Copy(w, in)
	return errors.Join(err, w.Close())
}

// filterJSON applies a filter to each of the strings that are read.
func filterJSON(in io.Reader, out io.Writer, f func(string) string) error {
	r := bufio.NewReader(in)
	w := json.NewEncoder(out)
	w.SetEscapeHTML(false)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		var text *string
		if bad := json.Unmarshal(line, &text); bad != nil || text == nil {
			return withHint(fmt.Errorf("line %d: want a JSON string", n), "without --jsonl any text is read")
		}
		if err := w.Encode(f(*text)); err != nil {
			return err
		}
	}
}
