package team.release_test

import data.opencode.prompt
import data.opencode.testing

_ids(decision) := {rule.id | some rule in decision.rules}

test_other_commands_are_not_concerned[name] if {
	some name, argv in {
		"ls": ["ls"],
		"status": ["git", "status"],
		"pull": ["git", "pull"],
		"mention": ["echo", "git", "push", "--force"],
	}
	decision := prompt.decision with input as testing.bash([argv])
	decision.effect == "allow"
}

test_push_is_asked if {
	decision := prompt.decision with input as testing.bash([["git", "push", "origin", "feature"]])
	decision.effect == "ask"
	"release.push" in _ids(decision)
	decision.obligations.ask.ttl_seconds == 120
	decision.obligations.ask.always == ["git push *"]
}

test_push_among_other_commands_is_asked if {
	decision := prompt.decision with input as testing.bash([["make"], ["git", "push"]])
	decision.effect == "ask"
}

test_force_push_is_denied[word] if {
	some word in ["--force", "-f", "--force-with-lease", "--force-with-lease=feature", "--mirror", "--delete", "-d", "+feature"]
	decision := prompt.decision with input as testing.bash([["git", "push", "origin", word]])
	decision.effect == "deny"
	_ids(decision) == {"release.force_push"}
}

test_push_to_a_protected_branch_is_denied[word] if {
	some word in ["main", "master", "HEAD:main", "feature:refs/heads/main", "refs/heads/master"]
	decision := prompt.decision with input as testing.bash([["git", "push", "origin", word]])
	decision.effect == "deny"
	_ids(decision) == {"release.protected_branch"}
}

test_branch_with_a_like_name_is_asked if {
	decision := prompt.decision with input as testing.bash([["git", "push", "origin", "maintenance"]])
	decision.effect == "ask"
}

test_push_of_another_program_is_not_one_of_git if {
	decision := prompt.decision with input as testing.bash([["docker", "push", "--force", "main"]])
	not "release.push" in _ids(decision)
	decision.effect != "deny"
}

test_other_questions_have_their_usual_time if {
	decision := prompt.decision with input as testing.prompt("edit", {}, [testing.file("a.go", "write")])
	decision.effect == "ask"
	decision.obligations.ask.ttl_seconds > 120
}
