package opencode.team_test

import data.opencode.team

_good := {"id": "a.rule", "message": "because"}

test_nothing_without_teams if {
	team.deny == set() with data.team as {}
	team.ask == set() with data.team as {}
	team.allow == set() with data.team as {}
	team.audit == "brief" with data.team as {}
	not team.without_network with data.team as {}
	team.required == set() with data.team as {}
}

test_rules_are_gathered_from_all_teams if {
	denials := team.deny with data.team as {
		"a": {"deny": {_good}},
		"b": {"deny": {{"id": "b.rule", "message": "so"}}},
	}
	denials == {_good, {"id": "b.rule", "message": "so"}}
}

test_question_carries_what_always_covers if {
	asks := team.ask with data.team as {"a": {"ask": {object.union(_good, {"always": ["x *"]})}}}
	asks == {object.union(_good, {"always": ["x *"]})}
}

test_malformed_rule_denies[effect] if {
	some effect in ["deny", "ask", "allow"]
	every entry in [
		"no",
		1,
		true,
		null,
		[],
		{},
		{"id": "a.rule"},
		{"message": "because"},
		{"id": "", "message": "because"},
		{"id": "a.rule", "message": ""},
		{"id": "a.rule", "message": 1},
		{"id": "a.rule", "message": "because", "always": "x"},
		{"id": "a.rule", "message": "because", "always": [1]},
	] {
		denials := team.deny with data.team as {"a": {effect: {entry}}}
		count(denials) > 0
		every denial in denials {
			denial.id == "team.malformed_rule"
		}
	}
}

test_obligations_are_gathered if {
	teams := {
		"a": {"obligations": {
			"timeout_seconds": 60,
			"max_output_bytes": 100,
			"audit": "full",
			"ask": {"ttl_seconds": 10, "lease_seconds": 20, "approvers": ["write"]},
		}},
		"b": {"obligations": {
			"timeout_seconds": 30,
			"sandbox": {"network": false, "require": ["exec"]},
		}},
	}
	team.timeouts == {60, 30} with data.team as teams
	team.output_limits == {100} with data.team as teams
	team.ttls == {10} with data.team as teams
	team.lease_lives == {20} with data.team as teams
	team.approvers == {"write"} with data.team as teams
	team.audit == "full" with data.team as teams
	team.without_network with data.team as teams
	team.required == {"exec"} with data.team as teams
	team.deny == set() with data.team as teams
}

test_malformed_obligation_denies[obligations] if {
	some obligations in [
		"none",
		{"timeout_seconds": "60"},
		{"timeout_seconds": 0},
		{"timeout_seconds": 1.5},
		{"max_output_bytes": -1},
		{"audit": "none"},
		{"ask": 1},
		{"ask": {"ttl_seconds": "1"}},
		{"ask": {"lease_seconds": 0}},
		{"ask": {"approvers": "execute"}},
		{"ask": {"approvers": [1]}},
		{"ask": {"on_timeout": "allow"}},
		{"time_out": 1},
		{"sandbox": 1},
		{"sandbox": {"network": true}},
		{"sandbox": {"write": ["/"]}},
		{"sandbox": {"require": "exec"}},
		{"sandbox": {"require": ["everything"]}},
	]
	denials := team.deny with data.team as {"a": {"obligations": obligations}}
	{denial.id | some denial in denials} == {"team.malformed_obligation"}
}
