package opencode.prompt_test

import data.opencode.config
import data.opencode.prompt
import data.opencode.testing

# Each test here fails if one condition of the rules on files, on sessions or on
# prompts as a whole is lost. Where a team is loaded that says nothing, it is so
# that the rules are asked.

_using(facts) := object.union(testing.bash([["cat", "x"]]), {"prompt": {"paths": [object.union(testing.file("x", "read"), facts)]}})

_tool_on(tool, facts) := testing.prompt(tool, {}, [object.union(testing.file("x", "read"), facts)])

test_always_names_what_is_written if {
	document := testing.prompt("edit", {}, [testing.file("a.go", "write"), testing.file("b.go", "read")])
	decision := prompt.decision with input as document
	decision.obligations.ask.always == ["edit a.go"]
}

test_nothing_outside_is_put_back_by_a_rule if {
	rules := prompt.allow with input as _tool_on("revert", {"inside": false, "access": "write"})
	count(rules) == 0
}

test_file_inside_is_used_without_a_question if {
	decision := prompt.decision with input as _using({})
	decision.effect == "allow"
}

test_file_outside_that_is_denied_is_not_asked_about_as_well if {
	rules := prompt.ask_by_rule with input as _using({"inside": false, "real": "/etc/x", "access": "write"})
	count({rule | some rule in rules; rule.id == "path.outside_ask"}) == 0
}

test_other_tools_are_not_allowed_for_reading if {
	decision := prompt.decision with input as _tool_on("other", {})
	_fired(decision) == {"prompt.no_rule"}
}

test_reading_tool_that_would_write_is_asked if {
	decision := prompt.decision with input as _tool_on("read", {"access": "write"})
	decision.effect == "ask"
}

test_reading_a_secret_is_allowed_by_no_rule if {
	rules := prompt.allow with input as _tool_on("read", {"class": "secret"})
	count(rules) == 0
}

test_ordinary_kinds_are_no_special_files[kind] if {
	some kind in ["file", "dir", "none"]
	decision := prompt.decision with input as _tool_on("read", {"kind": kind})
		with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
}

test_message_names_the_path[name] if {
	some name, row in {
		"outside": [{"inside": false}, "the path x is outside the project"],
		"outside without a name": [{"raw": null, "inside": false}, "the path without a name is outside the project"],
		"unresolved": [{"problem": "loop"}, "the path x leads nowhere that can be known: loop"],
		"unresolved without a reason": [{"problem": 1}, "the path x leads nowhere that can be known: no reason is known"],
	}
	decision := prompt.decision with input as _tool_on("edit", row[0])
	row[1] in _said(decision)
}

test_files_outside_are_for_commands_alone[real] if {
	some real in ["/dev/null", "/tmp/x", "/usr/share/x"]
	decision := prompt.decision with input as _tool_on("read", {"inside": false, "real": real})
	"path.outside" in _fired(decision)
}

test_command_writes_a_temporary_file_after_a_question if {
	decision := prompt.decision with input as _using({"inside": false, "real": "/tmp/x", "access": "write"})
	decision.effect == "ask"
	"path.outside_ask" in _fired(decision)
}

test_file_of_the_system_may_have_other_names if {
	decision := prompt.decision with input as _using({"inside": false, "real": "/usr/share/x", "links": 2})
	decision.effect == "allow"
}

test_sandbox_opens_no_place_without_a_name if {
	decision := prompt.decision with input as _using({"inside": false, "real": ""})
	decision.effect == "ask"
	decision.obligations.sandbox.read == config.sandbox.read
}

test_place_that_is_not_known_is_denied if {
	path := object.remove(object.union(testing.file("x", "read"), {"inside": false}), ["real"])
	decision := prompt.decision with input as object.union(testing.bash([["cat", "x"]]), {"prompt": {"paths": [path]}})
	"path.outside" in _fired(decision)
}

test_prompt_that_is_none_is_denied[name] if {
	some name, facts in {
		"version": {"version": 2},
		"kind": {"kind": "request"},
		"tool": {"prompt": {"tool": 1}},
		"paths": {"prompt": {"paths": {}}},
	}
	decision := prompt.decision with input as object.union(testing.bash([["ls"]]), facts)
	"prompt.wrong_kind" in _fired(decision)
}

test_those_who_are_known_are_authenticated[kind] if {
	some kind in ["token", "local"]
	decision := prompt.decision with input as object.union(testing.bash([["ls"]]), {"principal": {"kind": kind}})
		with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
}

test_team_wants_a_full_record if {
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true}
		with data.opencode.config.audit as object.union(config.audit, {"prompt": "brief"})
		with data.team.a.obligations as {"audit": "full"}
	decision.obligations.audit == "full"
}

_limited(document, restriction) := object.union(document, {"session": {"restrictions": [restriction]}})

test_restriction_that_denies_asks_nothing if {
	restriction := {"permission": "bash", "pattern": "*", "action": "deny"}
	rules := prompt.ask_by_rule with input as _limited(testing.bash([["ls"]]), restriction)
	count(rules) == 0
}

test_restriction_of_something_else_asks_nothing if {
	restriction := {"permission": "webfetch", "pattern": "*", "action": "ask"}
	decision := prompt.decision with input as _limited(testing.bash([["ls"]]), restriction)
	decision.effect == "allow"
}

test_restrictions_that_are_no_list_deny if {
	good := {"a": {"permission": "webfetch", "pattern": "*", "action": "ask"}}
	document := object.union(testing.bash([["ls"]]), {"session": {"restrictions": good}})
	decision := prompt.decision with input as document
	_fired(decision) == {"session.malformed"}
}

test_restriction_of_edits_means_every_tool_that_edits[tool] if {
	some tool in ["write", "edit", "multiedit", "patch", "delete", "move", "revert"]
	restriction := {"permission": "edit", "pattern": "*", "action": "deny"}
	document := testing.prompt(tool, {}, [testing.file("x", "write")])
	decision := prompt.decision with input as _limited(document, restriction)
	_fired(decision) == {"session.restricted"}
}

test_restriction_of_everything_means_what_names_nothing if {
	restriction := {"permission": "*", "pattern": "*", "action": "deny"}
	decision := prompt.decision with input as _limited(testing.prompt("other", {}, []), restriction)
	_fired(decision) == {"session.restricted"}
}

test_restriction_is_about_the_whole_command if {
	restriction := {"permission": "bash", "pattern": "ls; make", "action": "deny"}
	decision := prompt.decision with input as _limited(testing.bash([["ls"], ["make"]]), restriction)
	_fired(decision) == {"session.restricted"}
}
