package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

test_the_strictest_limit_wins if {
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.obligations as {"timeout_seconds": 60, "max_output_bytes": 1000000}
		with data.team.b.obligations as {"timeout_seconds": 30, "audit": "full"}
	object.remove(decision.obligations, ["sandbox"]) == {"timeout_seconds": 30, "max_output_bytes": 30720, "audit": "full"}
}

_paths := [
	{"real": "/tmp/x", "inside": false, "access": "write", "class": "plain", "problem": null},
	{"real": "/p/x", "inside": true, "access": "write", "class": "plain", "problem": null},
	{"real": "/etc/hosts", "inside": false, "access": "read", "class": "plain", "problem": null},
]

test_commands_are_held_to_the_configuration if {
	prompt_input := json.patch(testing.bash([["ls"]]), [{"op": "replace", "path": "/prompt/paths", "value": _paths}])
	sandbox := prompt._limits.sandbox with input as prompt_input
		with data.opencode.config.sandbox.write as {".": true}
		with data.opencode.config.sandbox.read as {"~/.gitconfig": true}
	sandbox.network == true
	sandbox.write == {".": true}
	sandbox.create == ["/tmp/x"]
	sandbox.read == {"~/.gitconfig": true, "/etc/hosts": true}
	sandbox.hide["~/.ssh"] == true
	sandbox.deny_exec.curl == "curl"
	sandbox.require == []
}

test_without_the_network_if_anybody_wants_so if {
	sandbox := prompt.decision.obligations.sandbox with input as testing.bash([["ls"]])
	sandbox.network == true
	by_config := prompt.decision.obligations.sandbox with input as testing.bash([["ls"]])
		with data.opencode.config.sandbox.network as false
	by_config.network == false
	by_the_rules := prompt.decision.obligations.sandbox with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true}
		with data.opencode.config.sandbox.network as false
	by_the_rules.network == false
	by_team := prompt.decision.obligations.sandbox with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.obligations as {"sandbox": {"network": false, "require": ["exec"]}}
	by_team.network == false
	by_team.require == ["exec"]
}

test_required_sandbox_names_every_guarantee if {
	sandbox := prompt.decision.obligations.sandbox with input as testing.bash([["ls"]])
		with data.opencode.config.sandbox.mode as "required"
		with data.opencode.config.sandbox.require as {"exec": true, "write": true, "read": false}
	sandbox.require == ["exec", "write"]
}

test_no_sandbox_when_switched_off if {
	decision := prompt.decision with input as testing.bash([["ls"]]) with data.opencode.config.sandbox.mode as "off"
	not decision.obligations.sandbox
}

test_no_sandbox_for_what_starts_nothing if {
	decision := prompt.decision with input as testing.prompt("read", {}, [])
	not decision.obligations.sandbox
}

test_no_decision_without_what_a_sandbox_needs if {
	not prompt.decision with input as testing.bash([["ls"]]) with data.opencode.config.sandbox as {"mode": "best_effort"}
	not prompt.decision with input as testing.bash([["ls"]]) with data.opencode.config.sandbox as {}
}

test_team_terms_of_a_question if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.obligations as {"ask": {"ttl_seconds": 60, "lease_seconds": 600, "approvers": ["write"]}}
	decision.obligations.ask == {
		"ttl_seconds": 60,
		"on_timeout": "deny",
		"always": ["git push *"],
		"lease_seconds": 600,
		"approvers": ["execute", "write"],
	}
}

test_limits_come_from_config if {
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.opencode.config.limits as {"timeout_seconds": 5, "max_output_bytes": 10}
	decision.obligations.timeout_seconds == 5
	decision.obligations.max_output_bytes == 10
}
