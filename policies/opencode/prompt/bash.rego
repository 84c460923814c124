package opencode.prompt

import data.opencode.config

# Commands: tool bash, and pty with the command that it starts. A terminal with
# an interactive shell is in pty.rego.

# METADATA
# title: Not understood
# description: There are no facts about the command.
deny contains {
	"id": "bash.not_understood",
	"message": "there are no facts about the command",
} if {
	_is_command
	not _has_facts
}

# METADATA
# title: Banned command
# description: A banned program would run, however it is reached.
deny contains {
	"id": "bash.banned_command",
	"message": sprintf("%s is banned: it reaches the network or changes what commands mean", [program]),
} if {
	some call in input.prompt.command.calls
	program := config.banned_commands[lower(call.name)]
	is_string(program)
	not config.banned_commands[program] == false
}

# METADATA
# title: Questions by a rule
# description: The rules that want a person to be asked because of what they saw.
# scope: document

# METADATA
# title: Not parsed
# description: The text could not be read as a whole.
ask_by_rule contains {
	"id": "bash.not_parsed",
	"message": sprintf("the command could not be read as a whole: %s", [_problem]),
	"always": [],
} if {
	_is_command
	not input.prompt.command.parsed == true
}

# METADATA
# title: Dynamic
# description: Which program would run cannot be known from the text.
ask_by_rule contains {
	"id": "bash.dynamic",
	"message": "what the command would run cannot be known from its text",
	"always": [],
} if {
	_is_command
	not input.prompt.command.dynamic == false
	not _is_known_terminal
}

# METADATA
# title: Dynamic redirect
# description: Which file a redirection opens cannot be known.
ask_by_rule contains {
	"id": "bash.dynamic_redirect",
	"message": sprintf("the command opens a file whose name cannot be known: %s", [_target(redirect)]),
	"always": [],
} if {
	some redirect in input.prompt.command.redirects
	not redirect.dynamic == false
}

# METADATA
# title: Ask command
# description: A program that is asked about (git push, sudo, …) would run.
ask_by_rule contains {
	"id": "bash.ask_command",
	"message": sprintf("%s: %s", [command, reason]),
	"always": [concat(" ", [command, "*"])],
} if {
	some call in input.prompt.command.calls
	some command in {lower(call.name), concat(" ", [lower(call.name), call.subcommand])}
	reason := config.ask_commands[command]
	is_string(reason)
}

# METADATA
# title: Ask variable
# description: The command sets a variable that decides what runs (PATH, LD_PRELOAD, GIT_SSH_COMMAND, …).
ask_by_rule contains {
	"id": "bash.ask_variable",
	"message": sprintf("the command sets %s, which %s", [name, reason]),
	"always": [],
} if {
	some name in input.prompt.command.assigns
	reason := config.ask_variables[name]
	is_string(reason)
}

# METADATA
# title: Permissions
# description: The rules of the default policy that let a prompt pass.
# scope: document

# METADATA
# title: Understood
# description: Every program is known and none of the above holds.
allow contains {
	"id": "bash.understood",
	"message": "every program that the command would run is known and none is banned",
} if {
	_is_command
	not _is_interactive_shell
	count(ask_by_rule) == 0
	(count(input.prompt.command.calls) + count(input.prompt.command.assigns)) + count(input.prompt.command.redirects) > 0
}

_has_facts if {
	is_array(input.prompt.command.redirects)
	is_array(input.prompt.command.assigns)
	is_array(input.prompt.command.calls)
	every name in input.prompt.command.assigns {
		is_string(name)
	}
	every call in input.prompt.command.calls {
		is_string(call.name)
		is_string(call.subcommand)
	}
}

_is_command if input.prompt.tool in {"bash", "pty"}

# A message that cannot be built would take its rule with it.
_target(redirect) := redirect.target if {
	is_string(redirect.target)
} else := "without a name"

_problem := input.prompt.command.problem if {
	is_string(input.prompt.command.problem)
} else := "no reason is known"
