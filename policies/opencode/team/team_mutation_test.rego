package opencode.team_test

import data.opencode.team

# Each test here fails if one condition on what teams add is lost.

_fired(rules) := {rule.id | some rule in rules}

test_id_is_a_text[effect] if {
	some effect in ["ask", "allow"]
	rules := team.deny with data.team as {"a": {effect: {{"id": 1, "message": "m"}}}}
	_fired(rules) == {"team.malformed_rule"}
}

test_obligation_of_another_shape_denies[name] if {
	some name, obligations in {
		"ask": {"ask": []},
		"sandbox": {"sandbox": []},
		"require": {"sandbox": {"require": {}}},
		"approvers": {"ask": {"approvers": {}}},
	}
	rules := team.deny with data.team as {"a": {"obligations": obligations}}
	_fired(rules) == {"team.malformed_obligation"}
}

test_obligation_that_is_known_does_not_deny[name] if {
	guarantees := ["write", "read", "exec", "network", "sockets", "signals", "memory", "calls"]
	known := object.union(
		{guarantee: {"sandbox": {"require": [guarantee]}} | some guarantee in guarantees},
		{"brief": {"audit": "brief"}, "full": {"audit": "full"}, "least": {"timeout_seconds": 1}},
	)
	some name, obligations in known
	count(team.deny) == 0 with data.team as {"a": {"obligations": obligations}}
}
