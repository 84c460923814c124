package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

_restricted(input_document, restrictions) := object.union(input_document, {"session": {"restrictions": restrictions}})

_rules(input_document) := {rule.id | some rule in decision.rules} if {
	decision := prompt.decision with input as input_document
}

_deny(permission, pattern) := {"permission": permission, "pattern": pattern, "action": "deny"}

test_a_restriction_denies if {
	every restriction in [
		_deny("bash", "*"), _deny("*", "*"), _deny("bash", "ls*"), _deny("bash", "ls -l"), _deny("*", "l?"),
	] {
		_rules(_restricted(testing.bash([["ls", "-l"], ["ls"]]), [restriction])) == {"session.restricted"}
	}
}

test_a_restriction_of_something_else_does_not if {
	every restriction in [_deny("edit", "*"), _deny("bash", "rm *"), _deny("read", "*")] {
		prompt.decision.effect == "allow" with input as _restricted(testing.bash([["ls"]]), [restriction])
	}
}

test_a_restriction_covers_what_cannot_be_known if {
	every facts in [{"dynamic": true}, {"parsed": false}, {"calls": [object.union(testing.call(["ls"]), {"dynamic": true})]}] {
		document := object.union(testing.bash([["ls"]]), {"prompt": {"command": facts}})
		"session.restricted" in _rules(_restricted(document, [_deny("bash", "rm *")]))
	}
}

test_a_restriction_of_files if {
	path := testing.file("a/b.txt", "write")
	document := testing.prompt("write", {"filePath": "a/b.txt"}, [path])
	every restriction in [_deny("edit", "a/*"), _deny("write", "a/b.txt"), _deny("*", "*")] {
		_rules(_restricted(document, [restriction])) == {"session.restricted"}
	}
	_rules(_restricted(document, [_deny("edit", "c/*")])) == {"edit.ask"}
}

test_a_restriction_asks if {
	decision := prompt.decision with input as _restricted(
		testing.bash([["ls"]]),
		[{"permission": "bash", "pattern": "ls*", "action": "ask"}],
	)
	decision.effect == "ask"
	[rule.id | some rule in decision.rules] == ["session.restricted_ask"]
	decision.obligations.ask.always == ["bash ls*"]
}

test_restrictions_that_cannot_be_read if {
	every restrictions in [
		null, "x", [{}], [{"permission": "bash", "pattern": "*", "action": "allow"}],
		[{"permission": 1, "pattern": "*", "action": "deny"}], [{"permission": "x", "pattern": null, "action": "deny"}],
	] {
		"session.malformed" in _rules(_restricted(testing.bash([["ls"]]), restrictions))
	}
	_rules(json.remove(testing.bash([["ls"]]), ["/session/restrictions"])) == {"session.malformed"}
}

test_no_session_has_no_restrictions if {
	prompt.decision.effect == "allow" with input as json.remove(testing.bash([["ls"]]), ["/session"])
}
