package team.ticket_test

import data.opencode.prompt
import data.opencode.testing

_ids(decision) := {rule.id | some rule in decision.rules}

test_other_commands_are_not_concerned if {
	decision := prompt.decision with input as testing.bash([["git", "status"]])
	decision.effect == "allow"
}

test_commit_with_a_ticket_is_allowed[message] if {
	some message in ["WEB-7: close the door", "close the door (OPS-12)", "WEB-7\n\nlong text"]
	decision := prompt.decision with input as testing.bash([["git", "commit", "-am", message]])
	decision.effect == "allow"
}

test_commit_without_a_ticket_is_denied[message] if {
	some message in ["close the door", "NEW-7: of no project", "close\n\nWEB-7"]
	decision := prompt.decision with input as testing.bash([["git", "commit", "-m", message]])
	decision.effect == "deny"
	_ids(decision) == {"ticket.missing"}
}

test_commit_with_an_unknown_message_is_denied[name] if {
	some name, argv in {
		"editor": ["git", "commit"],
		"file": ["git", "commit", "-F", "message.txt"],
	}
	decision := prompt.decision with input as testing.bash([argv])
	decision.effect == "deny"
	_ids(decision) == {"ticket.unknown_message"}
}

# What the policy makes of an answer needs no module.
test_each_ticket_counts if {
	answer := {"problem": "", "tickets": [{"project": "NEW", "number": "1"}, {"project": "OPS", "number": "2"}]}
	decision := prompt.decision with input as testing.bash([["git", "commit", "-m", "x"]])
		with ext.ticket.commit as answer
	decision.effect == "allow"
}
