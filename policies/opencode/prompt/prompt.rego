# METADATA
# title: Prompts
# description: >-
#   Decides each thing that the agent, or a person through its tools, wants to
#   do. Deny beats ask beats allow, and what no rule speaks of is asked.
package opencode.prompt

import data.opencode.config
import data.opencode.team

# METADATA
# title: Prompt decision
# description: The decision on a prompt. It denies unless everything that must hold does.
# entrypoint: true
decision := _plain if {
	input.kind == "prompt"
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
	count(deny) == 0
	count(_asks) > 0
} else := {
	"effect": "allow",
	"rules": [object.union(rule, {"effect": "allow"}) | some rule in _allows],
	"needs": [],
	"obligations": _limits,
} if {
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
