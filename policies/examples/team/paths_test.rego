package team.paths_test

import data.opencode.prompt
import data.opencode.testing

test_protected_path_is_denied[path] if {
	some path in [".github/workflows/ci.yml", "deploy", "deploy/prod.yaml", "Migrations/0001.sql"]
	decision := prompt.decision with input as testing.prompt("edit", {}, [testing.file(path, "write")])
	decision.effect == "deny"
	decision.rules[0].id == "paths.protected"
}

test_protected_path_may_be_read if {
	decision := prompt.decision with input as testing.prompt("read", {}, [testing.file("deploy/prod.yaml", "read")])
	decision.effect == "allow"
}

test_command_that_writes_there_is_denied if {
	document := object.union(
		testing.bash([["echo", "x"]]),
		{"prompt": {"paths": [testing.file("deploy/prod.yaml", "write")]}},
	)
	decision := prompt.decision with input as document
	decision.effect == "deny"
}

test_other_path_is_asked[path] if {
	some path in ["src/a.go", "deployment.md", "docs/deploy/x.md"]
	decision := prompt.decision with input as testing.prompt("edit", {}, [testing.file(path, "write")])
	decision.effect == "ask"
}
