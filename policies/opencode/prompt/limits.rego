package opencode.prompt

import data.opencode.config
import data.opencode.team

# Obligations: the default's limits, and the strictest that a team wants.

_limits := object.union(_bounds, _held)

_bounds := {
	"timeout_seconds": min({_timeout} | team.timeouts),
	"max_output_bytes": min({config.limits.max_output_bytes} | team.output_limits),
	"audit": _audit,
}

# A terminal lives as long as a person works in it.
_timeout := config.pty.timeout_seconds if {
	input.prompt.tool == "pty"
} else := config.limits.timeout_seconds

# What the kernel holds a command to. A sandbox that cannot be built must leave
# the decision undefined, so there is no default.
_held := {} if {
	not _wants_sandbox
} else := {"sandbox": {
	"network": _network,
	"write": config.sandbox.write,
	"create": [path.real | some path in _outside; path.access == "write"],
	"caches": config.sandbox.caches,
	"read": object.union(config.sandbox.read, {path.real: true | some path in _outside; path.access == "read"}),
	"hide": config.sandbox.hide,
	"deny_exec": config.banned_commands,
	"require": [guarantee | some guarantee in (_required | team.required)],
	"limits": config.sandbox.limits,
}}

_wants_sandbox if {
	_is_command
	not config.sandbox.mode == "off"
}

default _network := false

_network if {
	config.sandbox.network == true
	not team.without_network
}

# Files outside of the project for which the decision is not a denial.
_outside contains path if {
	some path in input.prompt.paths
	path.inside == false
	path.real != ""
}

_required contains guarantee if {
	config.sandbox.mode == "required"
	some guarantee, true in config.sandbox.require
}

_ask_terms := {
	"ttl_seconds": min({config.ask.ttl_seconds} | team.ttls),
	"on_timeout": config.ask.on_timeout,
	"always": _always,
	"lease_seconds": min({config.ask.lease_seconds} | team.lease_lives),
	"approvers": [permission | some permission in ({p | some p in config.ask.approvers} | team.approvers)],
}

# What always would cover. One rule that cannot be answered for good makes the
# whole question come again.
default _always := []

_always := [pattern | some pattern in {p | some rule in _asks; some p in rule.always}] if {
	every rule in _asks {
		count(rule.always) > 0
	}
}

_audit := "full" if {
	team.audit == "full"
} else := config.audit.prompt
