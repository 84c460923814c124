package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

test_change_is_asked[tool] if {
	some tool in ["write", "edit", "multiedit", "patch", "delete", "move"]
	decision := prompt.decision with input as testing.prompt(tool, {}, [testing.file("src/a.go", "write")])
	decision.effect == "ask"
	_ids(decision) == {"edit.ask"}
	decision.obligations.ask.always == ["edit src/a.go"]
}

test_change_needs_write if {
	document := object.union(
		testing.prompt("edit", {}, [testing.file("src/a.go", "write")]),
		{"principal": testing.token(["read", "execute"])},
	)
	decision := prompt.decision with input as document
	decision.effect == "deny"
	decision.needs == ["write"]
}

test_what_a_session_changed_can_be_put_back if {
	files := [testing.file("a.txt", "write"), testing.file("b/c.txt", "write")]
	decision := prompt.decision with input as testing.prompt("revert", {}, files)
	decision.effect == "allow"
	[rule.id | some rule in decision.rules] == ["edit.revert"]
	prompt.decision.effect == "allow" with input as testing.prompt("revert", {}, [])
}

test_undo_does_not_touch_what_is_protected if {
	hook := object.union(testing.file(".git/hooks/x", "write"), {"class": "vcs"})
	decision := prompt.decision with input as testing.prompt("revert", {}, [hook])
	decision.effect == "ask"
	outside := object.union(testing.file("../x", "write"), {"inside": false})
	prompt.decision.effect == "deny" with input as testing.prompt("revert", {}, [outside])
}
