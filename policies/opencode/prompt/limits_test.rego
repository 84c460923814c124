package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

test_the_strictest_limit_wins if {
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.team.a.obligations as {"timeout_seconds": 60, "max_output_bytes": 1000000}
		with data.team.b.obligations as {"timeout_seconds": 30, "audit": "full"}
	decision.obligations == {"timeout_seconds": 30, "max_output_bytes": 30720, "audit": "full"}
}

test_team_terms_of_a_question if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
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
