package opencode.prompt

import data.opencode.config
import data.opencode.team

# Obligations: the default's limits, and the strictest that a team wants.

_limits := {
	"timeout_seconds": min({_timeout} | team.timeouts),
	"max_output_bytes": min({config.limits.max_output_bytes} | team.output_limits),
	"audit": _audit,
}

# A terminal lives as long as a person works in it.
_timeout := config.pty.timeout_seconds if {
	input.prompt.tool == "pty"
} else := config.limits.timeout_seconds

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
