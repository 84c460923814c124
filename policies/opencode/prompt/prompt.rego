# METADATA
# title: Prompts
# description: >-
#   Decides each thing that the agent, or a person through its tools, wants to
#   do. Deny beats ask beats allow, and what no rule speaks of is asked.
package opencode.prompt

import data.opencode.config
import data.opencode.loaded
import data.opencode.team

# METADATA
# title: Prompt decision
# description: The decision on a prompt. It denies unless everything that must hold does.
# entrypoint: true
decision := {
	# What most prompts are, in a body each: every rule that is asked costs as
	# much as ten such lines. What is proven here every rule lets pass; all else
	# is asked of every rule.
	#
	# A command whose programs are known and on no list, and that uses nothing
	# but plain files of the project.
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
	input.version == 1
	input.kind == "prompt"
	input.prompt.tool == "bash"
	loaded.teams == {}
	input.session.restrictions == []
	input.principal.expired == false
	input.principal.kind in {"token", "local"}
	input.prompt.command.parsed == true
	input.prompt.command.dynamic == false
	input.prompt.command.assigns == []
	settings := config
	settings.tools.bash in input.principal.permissions
	sandbox := settings.sandbox
	sandbox.mode == "best_effort"
	is_boolean(sandbox.network)
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
	[name | some name in listed; settings.banned_commands[name]] == []
	[name | some name in listed; settings.ask_commands[name]] == []
	[redirect |
		some redirect in input.prompt.command.redirects
		redirect.dynamic == false
	] == input.prompt.command.redirects
	[file |
		some file in input.prompt.command.files
		file.dynamic == false
		file.access in {"read", "write", "execute"}
	] == input.prompt.command.files
	[path |
		some path in input.prompt.paths
		path.inside == true
		path.problem == null
		path.class == "plain"
		path.kind in {"file", "dir", "none"}
		path.links <= 1
		path.access in {"read", "write"}
	] == input.prompt.paths
} else := {
	# Reading, listing and searching plain files of the project.
	"effect": "allow",
	"rules": [{
		"id": "path.read_inside",
		"effect": "allow",
		"message": "the files are inside the project and are only read",
	}],
	"needs": [],
	"obligations": {
		"timeout_seconds": settings.limits.timeout_seconds,
		"max_output_bytes": settings.limits.max_output_bytes,
		"audit": settings.audit.prompt,
	},
} if {
	input.version == 1
	input.kind == "prompt"
	input.prompt.tool in {"read", "list", "glob", "grep"}
	not input.prompt.command
	loaded.teams == {}
	input.session.restrictions == []
	input.principal.expired == false
	input.principal.kind in {"token", "local"}
	settings := config
	settings.tools[input.prompt.tool] in input.principal.permissions
	input.prompt.paths != []
	[path |
		some path in input.prompt.paths
		path.inside == true
		path.problem == null
		path.class == "plain"
		path.kind in {"file", "dir", "none"}
		path.links <= 1
		path.access == "read"
	] == input.prompt.paths
} else := {
	"effect": "deny",
	"rules": [object.union(rule, {"effect": "deny"}) | some rule in deny],
	"needs": [permission | some permission in needs],
	"obligations": {"audit": _audit},
} if {
	count(deny) > 0
} else := {
	# Each branch has its own condition: a branch that cannot be built must leave
	# the decision undefined, which is an error, and not fall to a milder one.
	"effect": "ask",
	"rules": [object.union(rule, {"effect": "ask"}) | some rule in _asks],
	"needs": [],
	"obligations": object.union(_limits, {"ask": _ask_terms}),
} if {
	# mutate: equivalent drop because no branch can be built where that of the denials could not, for want of the audit
	count(deny) == 0
	count(_asks) > 0
} else := {
	"effect": "allow",
	"rules": [object.union(rule, {"effect": "allow"}) | some rule in _allows],
	"needs": [],
	"obligations": _limits,
} if {
	# mutate: equivalent drop because no branch can be built where that of the denials could not, for want of the audit
	count(deny) == 0
	count(_asks) == 0
}

# METADATA
# title: Denials
# description: Each rule that refuses the prompt, by id and message.
# scope: document

# METADATA
# title: Wrong kind
# description: The input is not a prompt of version 1.
deny contains {
	"id": "prompt.wrong_kind",
	"message": "the input does not describe a prompt of version 1",
} if {
	not _is_prompt
}

# METADATA
# title: Unauthenticated
# description: Nobody stands behind it.
deny contains {
	"id": "prompt.unauthenticated",
	"message": "nobody stands behind the prompt: no valid credential was shown",
} if {
	not _is_authenticated
}

# METADATA
# title: Token expired
# description: The token has expired.
deny contains {
	"id": "prompt.token_expired",
	"message": "the token has expired; make a new one with `opencode auth token create`",
} if {
	not input.principal.expired == false
}

# METADATA
# title: Missing permission
# description: The principal lacks what the tool needs.
deny contains {
	"id": "prompt.missing_permission",
	"message": sprintf("the tool needs the permission %s, which the principal lacks", [concat(", ", needs)]),
} if {
	count(needs) > 0
}

deny contains rule if some rule in team.deny

# METADATA
# title: Questions
# description: >-
#   Each rule of the default policy that wants a person to be asked, by id and
#   message. The member always names what an answer of always would cover.
# scope: document

# METADATA
# title: No rule
# description: No other rule speaks of it.
ask contains {
	"id": "prompt.no_rule",
	"message": "no rule speaks of this, so a person must",
	"always": [],
} if {
	count(allow) == 0
	count(ask_by_rule) == 0
}

ask contains rule if some rule in ask_by_rule

# METADATA
# title: Missing permissions
# description: The permissions that the tool needs and the principal lacks.
needs contains permission if {
	some permission in required
	not _has[permission]
}

# METADATA
# title: Required permissions
# description: The permission that the tool needs. A tool that the policy does not know needs execute.
required contains object.get(config.tools, input.prompt.tool, "execute")

# A team's permission lifts the questions of the default policy, and no others.
_asks := team.ask if {
	count(team.allow) > 0
} else := ask | team.ask

_allows := allow | team.allow

_is_prompt if {
	input.version == 1
	input.kind == "prompt"
	is_string(input.prompt.tool)
	is_array(input.prompt.paths)
}

_is_authenticated if input.principal.kind in {"token", "local"}

_has[permission] if some permission in input.principal.permissions
