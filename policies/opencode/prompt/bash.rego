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
	some name in _names(call)
	program := config.banned_commands[name]
	is_string(program)
	not config.banned_commands[program] == false
}

# METADATA
# title: Pattern of a banned command
# description: The name is a pattern of the shell that may match a banned program.
deny contains {
	"id": "bash.banned_command",
	"message": sprintf("%s is banned, and %s may be it", [program, call.plain]),
} if {
	some call in input.prompt.command.calls
	call.name == ""
	regex.match(`[*?\[]`, call.plain)
	some name, program in config.banned_commands
	is_string(program)
	glob.match(call.plain, [], name)
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
	some command in _commands(call)
	reason := config.ask_commands[command]
	not _is_lifted(call)
}

# METADATA
# title: Interpreter
# description: A program runs code that the command brings along, in a language that this policy does not read.
ask_by_rule contains {
	"id": "bash.interpreter",
	"message": sprintf("%s runs code that stands in the command or on its input", [call.name]),
	"always": [],
} if {
	some call in _calls_with_effects
	_has_effect(call, "code")
}

# METADATA
# title: Fetches
# description: A program is fetched and run, or installed (npx, npm install, pip install, …).
ask_by_rule contains {
	"id": "bash.fetches",
	"message": sprintf("%s runs what it fetches", [_command(call)]),
	"always": [concat(" ", [_command(call), "*"])],
} if {
	some call in _calls_with_effects
	_has_effect(call, "fetches")
}

# METADATA
# title: Network
# description: A program that is not banned reaches another machine (ssh, git clone, dig, …).
ask_by_rule contains {
	"id": "bash.network",
	"message": sprintf("%s reaches another machine", [_command(call)]),
	"always": [concat(" ", [_command(call), "*"])],
} if {
	some call in _calls_with_effects
	_has_effect(call, "network")
}

# METADATA
# title: Destructive
# description: What cannot be brought back is removed (git reset --hard, git clean, find -delete, chmod -R, …).
ask_by_rule contains {
	"id": "bash.destructive",
	"message": sprintf("%s removes or changes what cannot be brought back", [_command(call)]),
	"always": [],
} if {
	some call in _calls_with_effects
	_has_effect(call, "destroys")
}

# METADATA
# title: Deletes
# description: A directory with all below, or whatever a pattern matches, is deleted, and is no product of a build.
ask_by_rule contains {
	"id": "bash.deletes",
	"message": sprintf("%s deletes %s with all below or all that it matches", [_user(file), _file_path(file)]),
	"always": [],
} if {
	some file in input.prompt.command.files
	not _is_used(file)
	not _is_small(file)
	not _is_disposable(file)
}

# METADATA
# title: Persists
# description: Something is made to run later, or for other commands too (crontab, systemd-run, git config --global, …).
ask_by_rule contains {
	"id": "bash.persists",
	"message": sprintf("%s changes what runs later", [_command(call)]),
	"always": [],
} if {
	some call in _calls_with_effects
	_has_effect(call, "persists")
}

# METADATA
# title: Reveals
# description: A program prints credentials that it keeps (npm config get …_authToken, docker-credential-pass, git credential-store, …).
ask_by_rule contains {
	"id": "bash.reveals",
	"message": sprintf("%s prints credentials", [_command(call)]),
	"always": [],
} if {
	some call in input.prompt.command.calls
	_has_effect(call, "reveals")
}

# METADATA
# title: Lookalike
# description: A program's name holds characters that look like others.
ask_by_rule contains {
	"id": "bash.lookalike",
	"message": sprintf("the name %s looks like %s and is another", [call.name, call.plain]),
	"always": [],
} if {
	some call in _calls_with_effects
	_has_effect(call, "lookalike")
}

# METADATA
# title: Dynamic file
# description: Which file a program reads, writes or deletes cannot be known.
ask_by_rule contains {
	"id": "bash.dynamic_file",
	"message": sprintf("%s uses a file whose name cannot be known: %s", [_user(file), _file_path(file)]),
	"always": [],
} if {
	some file in input.prompt.command.files
	not file.dynamic == false
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
	some key in {name, concat("", [split(name, "_")[0], "_*"])}
	reason := config.ask_variables[key]
	is_string(reason)
	not config.ask_variables[name] == false
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

# The names by which a program is known: without case, and as it looks.
_names(call) := {lower(call.name)} | {name | name := call.plain}

# A command with its sub-command, and with what that works on.
_commands(call) := {name, concat(" ", [name, call.subcommand])} | {command |
	command := concat(" ", [name, call.subcommand, call.operand])
} if {
	name := lower(call.name)
}

_command(call) := lower(call.name) if {
	call.subcommand == ""
} else := concat(" ", [lower(call.name), call.subcommand])

# Most calls have none, which six rules need not find out one by one.
_calls_with_effects := [call |
	some call in input.prompt.command.calls
	call.effects != [] # mutate: equivalent drop because nothing is in an empty list
]

_has_effect(call, effect) if {
	effect in call.effects
	not _is_lifted(call)
}

# The index of rules would look through a whole list for a false in it.
_is_lifted(call) if {
	some command in _commands(call)
	object.get(config.ask_commands, command, true) == false
}

_is_used(file) if file.access in {"read", "write", "execute", "unknown"}

_is_small(file) if {
	file.recursive == false
	file.glob == false
}

_is_disposable(file) if {
	file.dynamic == false
	file.home == false
	parts := split(file.path, "/")
	not ".." in parts
	some part in parts
	config.disposable[part] == true
}

_user(file) := file.by if {
	is_string(file.by)
} else := "a program"

_file_path(file) := file.path if {
	is_string(file.path)
} else := "without a name"

_is_command if input.prompt.tool in {"bash", "pty"}

# A message that cannot be built would take its rule with it.
_target(redirect) := redirect.target if {
	is_string(redirect.target)
} else := "without a name"

_problem := input.prompt.command.problem if {
	is_string(input.prompt.command.problem)
} else := "no reason is known"
