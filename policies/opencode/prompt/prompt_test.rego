package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

_ids(decision) := {rule.id | some rule in decision.rules}

test_empty_input_is_denied if {
	decision := prompt.decision with input as {}
	decision.effect == "deny"
	{"prompt.wrong_kind", "prompt.unauthenticated", "prompt.token_expired"} == _ids(decision)
}

test_allowed_command_has_limits if {
	decision := prompt.decision with input as testing.bash([["ls"]]) with data.opencode.config.sandbox.mode as "off"
	decision == {
		"effect": "allow",
		"rules": [{
			"id": "bash.understood",
			"effect": "allow",
			"message": "every program that the command would run is known and none is banned",
		}],
		"needs": [],
		"obligations": {"timeout_seconds": 600, "max_output_bytes": 30720, "audit": "full"},
	}
}

test_unknown_tool_is_asked if {
	decision := prompt.decision with input as testing.prompt("teleport", {}, [])
	decision.effect == "ask"
	_ids(decision) == {"prompt.no_rule"}
	decision.obligations.ask == {
		"ttl_seconds": 300,
		"on_timeout": "deny",
		"always": [],
		"lease_seconds": 28800,
		"approvers": ["execute"],
	}
}

test_unknown_tool_needs_execute if {
	document := object.union(
		testing.prompt("teleport", {}, []),
		{"principal": testing.token(["read", "write"])},
	)
	decision := prompt.decision with input as document
	decision.effect == "deny"
	decision.needs == ["execute"]
	_ids(decision) == {"prompt.missing_permission"}
}

test_expired_token_is_refused if {
	document := object.union(testing.bash([["ls"]]), {"principal": {"expired": true}})
	decision := prompt.decision with input as document
	_ids(decision) == {"prompt.token_expired"}
}

test_anonymous_is_refused if {
	document := object.union(testing.bash([["ls"]]), {"principal": {"kind": "anonymous"}})
	decision := prompt.decision with input as document
	_ids(decision) == {"prompt.unauthenticated"}
}

test_team_denial_is_final if {
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.deny as {{"id": "a.no", "message": "no"}}
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "deny"
	_ids(decision) == {"a.no"}
}

test_team_permission_lifts_a_question_of_the_default if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "allow"
	_ids(decision) == {"b.yes"}
}

test_team_permission_lifts_no_question_of_a_team if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.team.a.ask as {{"id": "a.maybe", "message": "maybe"}}
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "ask"
	_ids(decision) == {"a.maybe"}
}

test_team_permission_lifts_no_denial if {
	decision := prompt.decision with input as testing.bash([["curl", "x"]])
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "deny"
}

test_team_question_joins_those_of_the_default if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.team.a.ask as {{"id": "a.maybe", "message": "maybe", "always": ["push"]}}
	decision.effect == "ask"
	_ids(decision) == {"a.maybe", "bash.ask_command"}
	decision.obligations.ask.always == ["git push *", "push"]
}

test_one_question_without_always_comes_again if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.team.a.ask as {{"id": "a.maybe", "message": "maybe"}}
	decision.obligations.ask.always == []
}

test_strict_decision_that_cannot_be_built_is_no_milder_one if {
	not prompt.decision with input as testing.bash([["curl"]]) with data.opencode.config.audit as {}
	not prompt.decision with input as testing.bash([["git", "push"]]) with data.opencode.config.ask as {}
}
