# METADATA
# title: What teams add
# description: >-
#   Gathers the rules and obligations of every package team.<name>. A rule or
#   an obligation of the wrong shape is a denial, never a rule that is passed
#   over.
package opencode.team

# METADATA
# title: Team denials
# description: The denials of all teams, and one for each thing of theirs that is malformed.
# scope: document
deny contains rule if {
	some name
	some entry in data.team[name].deny
	rule := _rule(entry)
}

# METADATA
# title: Malformed rule
# description: A team's rule has the wrong shape.
deny contains {"id": "team.malformed_rule", "message": message} if {
	some name
	some effect in ["ask", "allow"]
	some entry in data.team[name][effect]
	not _is_well_formed(entry)
	message := sprintf("a rule in team.%s.%s is not an object with the strings id and message", [name, effect])
}

# METADATA
# title: Malformed obligation
# description: A team's obligation is not known or has the wrong shape.
deny contains {"id": "team.malformed_obligation", "message": message} if {
	some name
	some key, value in data.team[name].obligations
	not _is_obligation(key, value)
	message := sprintf("team.%s.obligations.%s is not known or has the wrong shape", [name, key])
}

# METADATA
# title: Malformed obligation
# description: A team's obligation is not known or has the wrong shape.
deny contains {"id": "team.malformed_obligation", "message": message} if {
	some name
	obligations := data.team[name].obligations
	not is_object(obligations)
	message := sprintf("team.%s.obligations is not an object", [name])
}

# METADATA
# title: Team asks
# description: What teams want a person to be asked about.
# scope: document
ask contains object.union(_rule(entry), {"always": _always(entry)}) if {
	some name
	some entry in data.team[name].ask
}

# METADATA
# title: Team permissions
# description: What teams let pass. It lifts a question of the default policy, never a denial.
allow contains _rule(entry) if {
	some name
	some entry in data.team[name].allow
}

# METADATA
# title: Shortest time limit
# description: The time limits that teams oblige to, in seconds.
timeouts contains seconds if {
	some name
	seconds := data.team[name].obligations.timeout_seconds
}

# METADATA
# title: Output limits
# description: The output limits that teams oblige to, in bytes.
output_limits contains bytes if {
	some name
	bytes := data.team[name].obligations.max_output_bytes
}

# METADATA
# title: Times to answer
# description: How long a question may stand, in seconds, as teams oblige to.
ttls contains seconds if {
	some name
	seconds := data.team[name].obligations.ask.ttl_seconds
}

# METADATA
# title: Lives of a lease
# description: How long an answer of always may last, in seconds, as teams oblige to.
lease_lives contains seconds if {
	some name
	seconds := data.team[name].obligations.ask.lease_seconds
}

# METADATA
# title: Approvers
# description: The permissions that teams want of whoever answers a question.
approvers contains permission if {
	some name
	some permission in data.team[name].obligations.ask.approvers
}

# METADATA
# title: Without network
# description: Holds if any team wants commands to have no network.
without_network if {
	some name
	data.team[name].obligations.sandbox.network == false
}

# METADATA
# title: Required guarantees
# description: What teams want the kernel to hold, so that without it nothing runs.
required contains guarantee if {
	some name
	some guarantee in data.team[name].obligations.sandbox.require
}

# METADATA
# title: Audit
# description: Is full if any team wants it so, else brief.
default audit := "brief"

audit := "full" if {
	some name
	data.team[name].obligations.audit == "full"
}

_rule(entry) := {"id": entry.id, "message": entry.message} if {
	_is_well_formed(entry)
} else := {
	"id": "team.malformed_rule",
	"message": "a rule of a team is not an object with the strings id and message",
}

_is_well_formed(entry) if {
	is_string(entry.id)
	entry.id != ""
	is_string(entry.message)
	entry.message != ""
	every pattern in object.get(entry, "always", []) {
		is_string(pattern)
	}
}

_always(entry) := [pattern | some pattern in object.get(entry, "always", [])]

_is_obligation("timeout_seconds", value) if _is_count(value)

_is_obligation("max_output_bytes", value) if _is_count(value)

_is_obligation("audit", value) if value in {"full", "brief"}

_is_obligation("ask", value) if {
	is_object(value)
	every key, term in value {
		_is_ask_term(key, term)
	}
}

_is_obligation("sandbox", value) if {
	is_object(value)
	every key, term in value {
		_is_sandbox_term(key, term)
	}
}

_is_sandbox_term("network", false)

_is_sandbox_term("require", term) if {
	is_array(term)
	every guarantee in term {
		guarantee in {"write", "read", "exec", "network", "sockets", "signals", "memory", "calls"}
	}
}

_is_ask_term("ttl_seconds", term) if _is_count(term)

_is_ask_term("lease_seconds", term) if _is_count(term)

_is_ask_term("approvers", term) if {
	is_array(term)
	every permission in term {
		is_string(permission)
	}
}

_is_count(value) if {
	is_number(value)
	value >= 1
	value == floor(value)
}
