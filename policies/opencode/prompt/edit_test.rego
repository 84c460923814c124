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
