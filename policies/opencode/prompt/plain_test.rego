package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

# What is decided at once is what every rule says: the same document without
# the short way, which a team that says nothing closes.
test_the_short_way_says_what_the_rules_say[name] if {
	some name, document in {
		"command": testing.bash([["ls"], ["go", "test"]]),
		"read": testing.prompt("read", {}, [testing.file("a", "read")]),
		"grep": testing.prompt("grep", {}, [testing.file("a", "read"), testing.file("a", "read")]),
	}
	short := prompt.decision with input as document
	long := prompt.decision with input as document
		with data.opencode.loaded.teams as {"a": true}
	short == long
}

test_all_else_is_asked_of_the_rules[name] if {
	some name, patch in {
		"banned": [{"op": "replace", "path": "/prompt/command/calls/0/name", "value": "CURL"}],
		"banned as it looks": [{"op": "replace", "path": "/prompt/command/calls/0/plain", "value": "curl"}],
		"asked": [{"op": "replace", "path": "/prompt/command/calls/0/name", "value": "sudo"}],
		"effects": [{"op": "replace", "path": "/prompt/command/calls/0/effects", "value": ["code"]}],
		"no effects known": [{"op": "remove", "path": "/prompt/command/calls/0/effects"}],
		"no name": [{"op": "replace", "path": "/prompt/command/calls/0/name", "value": ""}],
		"no calls": [{"op": "replace", "path": "/prompt/command/calls", "value": []}],
		"not parsed": [{"op": "replace", "path": "/prompt/command/parsed", "value": false}],
		"dynamic": [{"op": "replace", "path": "/prompt/command/dynamic", "value": true}],
		"assigns": [{"op": "replace", "path": "/prompt/command/assigns", "value": ["PATH"]}],
		"redirect": [{"op": "replace", "path": "/prompt/command/redirects", "value": [{"dynamic": true}]}],
		"delete": [{"op": "replace", "path": "/prompt/command/files", "value": [{"dynamic": false, "access": "delete"}]}],
		"file": [{"op": "replace", "path": "/prompt/command/files", "value": [{"dynamic": true, "access": "read"}]}],
		"outside": [{"op": "replace", "path": "/prompt/paths", "value": [json.patch(
			testing.file("a", "read"),
			[{"op": "replace", "path": "/inside", "value": false}],
		)]}],
		"secret": [{"op": "replace", "path": "/prompt/paths", "value": [json.patch(
			testing.file("a", "read"),
			[{"op": "replace", "path": "/class", "value": "secret"}],
		)]}],
		"expired": [{"op": "replace", "path": "/principal/expired", "value": true}],
		"anonymous": [{"op": "replace", "path": "/principal/kind", "value": "anonymous"}],
		"without permission": [{"op": "replace", "path": "/principal/permissions", "value": ["read", "write"]}],
		"restricted": [{"op": "replace", "path": "/session/restrictions", "value": [{}]}],
		"other version": [{"op": "replace", "path": "/version", "value": 2}],
		"other tool": [{"op": "replace", "path": "/prompt/tool", "value": "pty"}],
	}
	document := json.patch(testing.bash([["ls"]]), patch)
	short := prompt.decision with input as document
	long := prompt.decision with input as document
		with data.opencode.loaded.teams as {"a": true}
	short == long
}
