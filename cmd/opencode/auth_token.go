package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"opencode/store"
	"opencode/store/file"
)

const (
	tokenFileName = "auth-tokens.json" //nolint:gosec // the name of a file, no credential

	// tokenLockTimeout is how long a command waits for another writer, which
	// needs a few milliseconds.
	tokenLockTimeout = 10 * time.Second

	defaultTokenLife = "90d"
	// maxTokenDays keeps a duration in days far from overflow.
	maxTokenDays = 36500

	day = 24 * time.Hour
)

func newAuthTokenCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Manage the tokens that give access to the server",
		Long: `Manage the tokens that give access to the server.

A token has permissions, may expire, and is shown only once, when it is created:
what is kept is its hash. A running server sees a created or deleted token
within a second. Programs send it as "Authorization: Bearer TOKEN".`,
		Example: `  opencode auth token create --name ci --permissions read --expires 30d
  opencode auth token list
  opencode auth token delete ci`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q: want create, list or delete", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAuthTokenCreateCmd(), newAuthTokenListCmd(), newAuthTokenDeleteCmd())
	return cmd
}

func newAuthTokenCreateCmd() *cobra.Command {
	var (
		name, expires           string
		permissions, attributes []string
		asJSON                  bool
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a token and show it once",
		Long: `Create a token and show it once.

--expires takes a number of days, hours or minutes (90d, 12h, 30m), a date, a
time (2027-01-01T12:00:00Z), or never. A token that expires on a date works until
the end of that day in the local time zone.

Policies see the attributes of a token, for example the team that it is for.`,
		Example: `  opencode auth token create
  opencode auth token create --name ci --permissions read,write --expires 30d
  opencode auth token create --name bot --attribute team=web --expires never --json`,
		Args: noTokenArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now().Truncate(time.Second)
			t := store.Token{Name: name, Created: now}
			var err error
			if err = checkTokenName(name); err != nil {
				return err
			}
			if t.Permissions, err = parsePermissions(permissions); err != nil {
				return err
			}
			if t.Attributes, err = parseAttributes(attributes); err != nil {
				return err
			}
			if t.Expires, err = parseExpires(expires, now); err != nil {
				return err
			}
			return createToken(cmd.Context(), cmd.OutOrStdout(), t, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "what to call the token")
	f.StringSliceVar(&permissions, "permissions", file.Permissions(), "what the token may do")
	f.StringVar(&expires, "expires", defaultTokenLife, "when the token stops working: 90d, 12h, 30m, 2027-01-01 or never")
	f.StringArrayVar(&attributes, "attribute", nil, "a fact for policies, as key=value; may be repeated")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newAuthTokenListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens",
		Example: `  opencode auth token list
  opencode auth token list --json`,
		Args: noTokenArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tokens, path, err := openTokens()
			if err != nil {
				return err
			}
			all, err := tokens.Tokens(cmd.Context())
			if err != nil {
				return explainTokenError(err, path)
			}
			if asJSON {
				now := time.Now()
				views := make([]tokenView, 0, len(all))
				for _, t := range all {
					views = append(views, viewToken(t, now))
				}
				return writeTokenJSON(cmd.OutOrStdout(), views)
			}
			if len(all) == 0 {
				fmt.Fprintln(cmd.ErrOrStderr(), "opencode: there are no tokens")
				fmt.Fprintln(cmd.ErrOrStderr(), "opencode: hint: opencode auth token create --name NAME")
				return nil
			}
			return writeTokenTable(cmd.OutOrStdout(), all, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newAuthTokenDeleteCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "delete ID|NAME",
		Short: "Delete a token, so that it works no longer",
		Example: `  opencode auth token delete ci
  opencode auth token delete tok_0123456789abcdef`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("want the id or the name of one token, got %d arguments", len(args))
			case args[0] == "":
				return usagef("want the id or the name of a token, got an empty one")
			case looksLikeSecret(args[0]):
				// Without the argument, which is a secret.
				return usagef("want the id or the name of a token, got the token itself")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			tokens, path, err := openTokens()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), tokenLockTimeout)
			defer cancel()
			t, err := tokens.DeleteToken(ctx, args[0])
			if err != nil {
				return explainTokenError(err, path)
			}
			if asJSON {
				return writeTokenJSON(cmd.OutOrStdout(), viewToken(t, time.Now()))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted %s (%s)\n", t.ID, orDash(t.Name))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func noTokenArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("want no arguments, got %d", len(args))
	}
	return nil
}

// openTokens opens the token file of the user and returns its path too.
func openTokens() (*file.Tokens, string, error) {
	dir, err := configDir()
	if err != nil {
		return nil, "", err
	}
	path := filepath.Join(dir, tokenFileName)
	tokens, err := file.OpenTokens(file.TokensConfig{Path: path})
	if err != nil {
		return nil, "", explainTokenError(err, path)
	}
	return tokens, path, nil
}

// explainTokenError adds what to do about an error of the token file.
func explainTokenError(err error, path string) error {
	var hint string
	switch {
	case errors.Is(err, store.ErrNotExist):
		hint = "opencode auth token list"
	case errors.Is(err, store.ErrAmbiguous):
		hint = "delete it by its id"
	case errors.Is(err, store.ErrNewer):
		hint = "use the newer opencode; nothing was changed"
	case errors.Is(err, store.ErrCorrupt):
		hint = "repair " + path + " or move it away and create new tokens; nothing was changed"
	case errors.Is(err, file.ErrUnsafe):
		hint = "chmod 700 " + filepath.Dir(path) + " && chmod 600 " + path + ", then see if opencode auth token list shows any that is not yours"
	case errors.Is(err, context.DeadlineExceeded):
		hint = "another opencode is writing the tokens; try again"
	case errors.Is(err, fs.ErrPermission):
		hint = "make " + filepath.Dir(path) + " yours, or set XDG_CONFIG_HOME to a directory that you can write"
	default:
		return err
	}
	return withHint(err, hint)
}

func createToken(ctx context.Context, out io.Writer, t store.Token, asJSON bool) error {
	secret, err := store.NewSecret(rand.Reader)
	if err != nil {
		return err
	}
	if t.ID, err = store.NewTokenID(rand.Reader); err != nil {
		return err
	}
	t.Hash = secret.Hash()
	tokens, path, err := openTokens()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, tokenLockTimeout)
	defer cancel()
	if err := tokens.CreateToken(ctx, t); err != nil {
		return explainTokenError(err, path)
	}
	if err := writeNewToken(out, t, secret, asJSON); err != nil {
		return withHint(fmt.Errorf("token %s was created but could not be shown: %w", t.ID, err), "opencode auth token delete "+t.ID)
	}
	return nil
}

// writeNewToken shows a token with its secret, in one write.
func writeNewToken(out io.Writer, t store.Token, secret store.Secret, asJSON bool) error {
	if asJSON {
		view := viewToken(t, t.Created)
		return writeTokenJSON(out, struct {
			ID          string            `json:"id"`
			Name        string            `json:"name"`
			Token       string            `json:"token"`
			Permissions []string          `json:"permissions"`
			Attributes  map[string]string `json:"attributes"`
			Created     time.Time         `json:"created"`
			Expires     *time.Time        `json:"expires"`
		}{t.ID, t.Name, secret.Reveal(), view.Permissions, view.Attributes, view.Created, view.Expires})
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\n", t.ID)
	fmt.Fprintf(w, "name\t%s\n", orDash(t.Name))
	fmt.Fprintf(w, "permissions\t%s\n", strings.Join(t.Permissions, ", "))
	fmt.Fprintf(w, "expires\t%s\n", showTime(t.Expires, "never"))
	fmt.Fprintf(w, "token\t%s\n", secret.Reveal())
	if err := w.Flush(); err != nil {
		return err
	}
	b.WriteString("\nKeep the token now: it is shown only once.\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// tokenView is a token as --json shows it. It has neither secret nor hash.
type tokenView struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Permissions []string          `json:"permissions"`
	Attributes  map[string]string `json:"attributes"`
	Created     time.Time         `json:"created"`
	// Expires is null for a token that never expires.
	Expires *time.Time `json:"expires"`
	Expired bool       `json:"expired"`
	// LastUsed is null for a token that was never used.
	LastUsed *time.Time `json:"last_used"`
}

func viewToken(t store.Token, now time.Time) tokenView {
	v := tokenView{
		ID: t.ID, Name: t.Name, Permissions: append([]string{}, t.Permissions...), Attributes: map[string]string{},
		Created: t.Created.UTC(), Expired: isExpired(t, now),
	}
	maps.Copy(v.Attributes, t.Attributes)
	if !t.Expires.IsZero() {
		at := t.Expires.UTC()
		v.Expires = &at
	}
	if !t.LastUsed.IsZero() {
		at := t.LastUsed.UTC()
		v.LastUsed = &at
	}
	return v
}

func isExpired(t store.Token, now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

func writeTokenJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func writeTokenTable(out io.Writer, tokens []store.Token, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tPERMISSIONS\tCREATED\tEXPIRES\tLAST USED")
	for _, t := range tokens {
		expires := showTime(t.Expires, "never")
		if isExpired(t, now) {
			expires = "expired"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.ID, orDash(t.Name), orDash(strings.Join(t.Permissions, ",")),
			showTime(t.Created, "-"), expires, showTime(t.LastUsed, "never"))
	}
	return w.Flush()
}

// showTime writes a time for people: to the minute, in their time zone.
func showTime(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.Local().Format("2006-01-02 15:04")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// looksLikeSecret reports whether the text may be a raw token, mistyped or not.
func looksLikeSecret(s string) bool {
	return strings.HasPrefix(s, "oc_")
}

func checkTokenName(name string) error {
	notPrintable := func(r rune) bool { return !unicode.IsPrint(r) }
	switch {
	case looksLikeSecret(name):
		return usagef("name: want none that starts with oc_, as tokens do")
	case strings.HasPrefix(name, "tok_"):
		return usagef("name %q: want none that starts with tok_, as ids do", name)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, notPrintable):
		return usagef("name %q: want printable text", name)
	}
	return nil
}

// parsePermissions returns the named permissions in their usual order.
func parsePermissions(names []string) ([]string, error) {
	known := file.Permissions()
	want := strings.Join(known[:len(known)-1], ", ") + " or " + known[len(known)-1]
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, usagef("permission %q: want %s", name, want)
		}
	}
	if len(names) == 0 {
		return nil, usagef("permissions: want at least one of %s", want)
	}
	return slices.DeleteFunc(known, func(p string) bool { return !slices.Contains(names, p) }), nil
}

func parseAttributes(pairs []string) (map[string]string, error) {
	key := regexp.MustCompile(`^[a-z0-9_.-]{1,64}$`)
	attributes := make(map[string]string)
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, usagef("attribute %q: want key=value", pair)
		}
		if !key.MatchString(k) {
			return nil, usagef("attribute key %q: want 1 to 64 of a-z, 0-9, _, . and -", k)
		}
		if _, twice := attributes[k]; twice {
			return nil, usagef("attribute key %q is there twice", k)
		}
		attributes[k] = v
	}
	return attributes, nil
}

// parseExpires reads the end of a token's life. The zero time is never, which
// is only what "never" gives. Dates are of the time zone of now.
func parseExpires(s string, now time.Time) (time.Time, error) {
	if s == "never" {
		return time.Time{}, nil
	}
	var at time.Time
	if parts := regexp.MustCompile(`^(-?[0-9]+)([dhm])$`).FindStringSubmatch(s); parts != nil {
		unit := map[string]time.Duration{"d": day, "h": time.Hour, "m": time.Minute}[parts[2]]
		n, err := strconv.ParseInt(parts[1], 10, 64)
		if err != nil || n > int64(maxTokenDays*day/unit) {
			return time.Time{}, usagef("expires %q: want at most %dd, or never", s, maxTokenDays)
		}
		if n <= 0 {
			return time.Time{}, usagef("expires %q: want a time in the future", s)
		}
		at = now.Add(time.Duration(n) * unit)
	} else if date, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		// The last second, not the next midnight, so that it shows as that day.
		at = time.Date(date.Year(), date.Month(), date.Day(), 23, 59, 59, 0, now.Location())
	} else if at, err = time.Parse(time.RFC3339, s); err != nil {
		return time.Time{}, usagef("expires %q: want 90d, 12h, 30m, 2027-01-01, 2027-01-01T12:00:00Z or never", s)
	}
	if !at.After(now) {
		return time.Time{}, usagef("expires %q: want a time in the future", s)
	}
	return at, nil
}
