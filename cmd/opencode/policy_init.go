package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
)

// initFiles is the policy that `policy init` writes; NAME stands for its name.
var initFiles = []struct{ name, text string }{
	{"NAME.rego", `# METADATA
# title: Policy of NAME
# description: >-
#   What this team adds to the default policy. A rule that denies beats one that
#   asks, which beats one that allows; a rule that allows lifts the questions of
#   the default policy and never a denial.
package team.NAME

import data.team.NAME.config

# A person is asked before dependencies change.
ask contains {
	"id": "NAME.dependencies",
	"message": sprintf("%s changes the dependencies", [call.text]),
	"always": [concat(" ", [call.name, call.subcommand, "*"])],
} if {
	some call in input.prompt.command.calls
	config.dependencies[call.name][call.subcommand] == true
}

# Nobody writes below these folders through the agent.
deny contains {
	"id": "NAME.protected",
	"message": sprintf("%s is protected", [path.relative]),
} if {
	some path in input.prompt.paths
	not path.access == "read"
	some folder, true in config.protected
	startswith(path.relative, concat("", [folder, "/"]))
}

# No command of this team runs longer than five minutes.
obligations := {"timeout_seconds": 300} if input.prompt.tool == "bash"
`},
	{"NAME_test.rego", `package team.NAME_test

import data.opencode.prompt
import data.opencode.testing

test_ordinary_commands_are_allowed if {
	decision := prompt.decision with input as testing.bash([["go", "test", "./..."]])
	decision.effect == "allow"
	decision.obligations.timeout_seconds == 300
}

test_dependencies_are_asked_about if {
	decision := prompt.decision with input as testing.bash([["npm", "install", "left-pad"]])
	decision.effect == "ask"
	decision.rules[0].id == "NAME.dependencies"
}

test_protected_folder_is_denied if {
	decision := prompt.decision with input as testing.prompt("edit", {}, [testing.file("deploy/prod.yaml", "write")])
	decision.effect == "deny"
	decision.rules[0].id == "NAME.protected"
}

test_protected_folder_may_be_read if {
	decision := prompt.decision with input as testing.prompt("read", {}, [testing.file("deploy/prod.yaml", "read")])
	decision.effect == "allow"
}
`},
	{"data.json", `{
  "team": {
    "NAME": {
      "config": {
        "dependencies": {
          "go": {"get": true},
          "npm": {"install": true, "uninstall": true}
        },
        "protected": {"deploy": true}
      }
    }
  }
}
`},
}

var teamName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// regoKeywords cannot be part of a package's name as it is written.
var regoKeywords = map[string]bool{
	"as": true, "contains": true, "default": true, "else": true, "every": true, "false": true, "if": true, "import": true,
	"in": true, "not": true, "null": true, "package": true, "some": true, "true": true, "with": true,
}

func newPolicyInitCmd() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "init DIR",
		Short: "Write a team policy with a test, to start from",
		Example: `  opencode policy init mypolicy
  opencode policy test mypolicy`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			team := name
			if team == "" {
				abs, err := filepath.Abs(dir)
				if err != nil {
					return err
				}
				team = teamNameOf(filepath.Base(abs))
			}
			if !teamName.MatchString(team) || regoKeywords[team] || strings.HasSuffix(team, "_test") {
				return usagef("name %q: want a lower-case letter, then letters, digits and _ (--name sets it)", team)
			}
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return fmt.Errorf("init: %w", err)
			}
			if err := writeInit(dir, team); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "wrote the policy team.%s to %s\n", team, dir)
			fmt.Fprintf(cmd.ErrOrStderr(), "test it:  opencode policy test %s\nserve it: opencode serve --policy %s\n", dir, dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the team's `NAME` (default: the name of DIR)")
	return cmd
}

// writeInit writes the files, and none if one of them exists.
func writeInit(dir, team string) error {
	for _, f := range initFiles {
		path := filepath.Join(dir, strings.ReplaceAll(f.name, "NAME", team))
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return withHint(fmt.Errorf("init: %s exists already", path), "name an empty directory")
		}
	}
	for _, f := range initFiles {
		path := filepath.Join(dir, strings.ReplaceAll(f.name, "NAME", team))
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(f.text, "NAME", team)), 0o600); err != nil {
			return fmt.Errorf("init: %w", err)
		}
	}
	return nil
}

// teamNameOf makes a name of what a directory is called.
func teamNameOf(dir string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch r = unicode.ToLower(r); {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, dir), "_0123456789")
}
