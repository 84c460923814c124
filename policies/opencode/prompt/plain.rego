package opencode.prompt

import data.opencode.config
import data.opencode.team

# What most prompts are, proven in a few bodies: each rule that is asked costs
# as much as ten lines. Whatever is not proven here is asked of every rule, and
# what is proven here every rule lets pass.

# A command whose programs are known and on no list, and that uses nothing but
# plain files of the project.
_plain := {
	"effect": "allow",
	"rules": [{
		"id": "bash.understood",
		"effect": "allow",
		"message": "every program that the command would run is known and none is banned",
	}],
	"needs": [],
	"obligations": {
		"timeout_seconds": settings.limits.timeout_seconds,
		"max_output_bytes": settings.limits.max_output_bytes,
		"audit": settings.audit.prompt,
		"sandbox": {
			"network": sandbox.network,
			"write": sandbox.write,
			"create": [],
			"caches": sandbox.caches,
			"read": sandbox.read,
			"hide": sandbox.hide,
			"deny_exec": settings.banned_commands,
			"require": [],
			"limits": sandbox.limits,
		},
	},
} if {
	input.prompt.tool == "bash"
	_is_open
	input.prompt.command.parsed == true
	input.prompt.command.dynamic == false
	input.prompt.command.assigns == []
	calls := input.prompt.command.calls
	names := [[name, call.plain, pair, concat(" ", [pair, call.operand])] |
		some call in calls
		call.effects == []
		call.name != ""
		is_string(call.subcommand)
		is_string(call.operand)
		name := lower(call.name)
		pair := concat(" ", [name, call.subcommand])
	]
	names != []
	count(names) == count(calls)
	listed := array.flatten(names)
	settings := config
	object.filter(settings.banned_commands, listed) == {}
	object.filter(settings.ask_commands, listed) == {}
	sandbox := settings.sandbox
	sandbox.mode == "best_effort"
	is_boolean(sandbox.network)
	redirects := input.prompt.command.redirects
	[redirect | some redirect in redirects; redirect.dynamic == false] == redirects
	files := input.prompt.command.files
	[file | some file in files; file.dynamic == false; file.access in {"read", "write", "execute"}] == files
	_plain_paths({"read", "write"}) == input.prompt.paths
}

# Reading, listing and searching plain files of the project.
_plain := {
	"effect": "allow",
	"rules": [{
		"id": "path.read_inside",
		"effect": "allow",
		"message": "the files are inside the project and are only read",
	}],
	"needs": [],
	"obligations": {
		"timeout_seconds": config.limits.timeout_seconds,
		"max_output_bytes": config.limits.max_output_bytes,
		"audit": config.audit.prompt,
	},
} if {
	input.prompt.tool in {"read", "list", "glob", "grep"}
	not input.prompt.command
	_is_open
	input.prompt.paths != []
	_plain_paths({"read"}) == input.prompt.paths
}

_plain_paths(accesses) := [path |
	some path in input.prompt.paths
	path.inside == true
	path.problem == null
	path.class == "plain"
	path.kind in {"file", "dir", "none"}
	path.access in accesses
]

# Who wants it may, no session narrows it, and no team has a say.
_is_open if {
	input.version == 1
	input.principal.expired == false
	input.principal.kind in {"token", "local"}
	config.tools[input.prompt.tool] in input.principal.permissions
	not _is_restricted
	team.is_silent
}

_is_restricted if {
	input.session
	not input.session.restrictions == []
}
