package opencode.prompt_test

import data.opencode.config
import data.opencode.prompt
import data.opencode.testing

# The short ways, which ask no rule. Each condition of theirs has a prompt here
# that fails it alone: that one must be asked of the rules.

_ls := testing.bash([["ls"]])

_read := testing.prompt("read", {}, [testing.file("a", "read")])

# A denial that no team is loaded for is known to the rules alone.
_is_decided_at_once(document) if {
	decision := prompt.decision with input as document
		with data.opencode.team.deny as {{"id": "a.no", "message": "the rules were asked"}}
	decision.effect == "allow"
}

_by_the_rules(document) := decision if {
	decision := prompt.decision with input as document with data.opencode.loaded.teams as {"a": true}
}

_with_path(document, facts) := object.union(
	document,
	{"prompt": {"paths": [testing.file("b", "read"), object.union(testing.file("a", "read"), facts)]}},
)

_with_call(facts) := object.union(
	testing.bash([["ls"]]),
	{"prompt": {"command": {"calls": [testing.call(["ls"]), object.union(testing.call(["make"]), facts)]}}},
)

_with_file(facts) := object.union(_ls, {"prompt": {"command": {"files": [object.union(
	{"path": "a", "access": "read", "by": "cat", "home": false, "glob": false, "recursive": false, "dynamic": false},
	facts,
)]}}})

_with_redirect(dynamic) := object.union(_ls, {"prompt": {"command": {"redirects": [
	{"op": ">", "target": "a", "access": "write", "dynamic": dynamic},
]}}})

test_most_prompts_are_decided_at_once[name] if {
	some name, document in {
		"command": testing.bash([["ls"], ["go", "test"]]),
		"command of a local principal": object.union(_ls, {"principal": {"kind": "local"}}),
		"redirect": _with_redirect(false),
		"file that is read": _with_file({"access": "read"}),
		"file that is written": _with_file({"access": "write"}),
		"file that is run": _with_file({"access": "execute"}),
		"path": _with_path(_ls, {"access": "write"}),
		"path of a directory": _with_path(_ls, {"kind": "dir"}),
		"path of nothing": _with_path(_ls, {"kind": "none", "links": 0}),
		"read": _read,
		"list": testing.prompt("list", {}, [testing.file("a", "read")]),
		"glob": testing.prompt("glob", {}, [testing.file("a", "read")]),
		"grep": testing.prompt("grep", {}, [testing.file("a", "read"), testing.file("a", "read")]),
		"read of a local principal": object.union(_read, {"principal": {"kind": "local"}}),
		"read of a directory": _with_path(_read, {"kind": "dir"}),
		"read of nothing": _with_path(_read, {"kind": "none", "links": 0}),
	}
	_is_decided_at_once(document)
	decision := prompt.decision with input as document
	decision == _by_the_rules(document)
}

test_all_other_prompts_are_asked_of_the_rules[name] if {
	some name, facts in {
		"version": {"version": 2},
		"kind": {"kind": "request"},
		"expired": {"principal": {"expired": true}},
		"anonymous": {"principal": {"kind": "anonymous"}},
		"without permission": {"principal": {"permissions": ["write"]}},
		"restricted": {"session": {"restrictions": [{}]}},
	}
	every document in [object.union(_ls, facts), object.union(_read, facts)] {
		not _is_decided_at_once(document)
		decision := prompt.decision with input as document
		decision == _by_the_rules(document)
	}
}

test_all_other_commands_are_asked_of_the_rules[name] if {
	some name, document in {
		"tool": object.union(_ls, {"prompt": {"tool": "pty"}}),
		"not parsed": object.union(_ls, {"prompt": {"command": {"parsed": false}}}),
		"dynamic": object.union(_ls, {"prompt": {"command": {"dynamic": true}}}),
		"variable": object.union(_ls, {"prompt": {"command": {"assigns": ["A"]}}}),
		"no calls": object.union(_ls, {"prompt": {"command": {"calls": []}}}),
		"banned": _with_call({"name": "CURL"}),
		"banned as it looks": _with_call({"plain": "curl"}),
		"asked": _with_call({"name": "sudo"}),
		"asked with its sub-command": _with_call({"name": "git", "subcommand": "push"}),
		"effects": _with_call({"effects": ["code"]}),
		"effects of another type": _with_call({"effects": null}),
		"no name": _with_call({"name": ""}),
		"sub-command of another type": _with_call({"subcommand": 1}),
		"operand of another type": _with_call({"name": "curl", "operand": 1}),
		"redirect": _with_redirect(true),
		"dynamic file": _with_file({"dynamic": true}),
		"file that is deleted": _with_file({"access": "delete"}),
		"path that is deleted": _with_path(_ls, {"access": "delete"}),
	}
	not _is_decided_at_once(document)
	decision := prompt.decision with input as document
	decision == _by_the_rules(document)
}

test_command_that_is_asked_with_its_operand_is_asked_of_the_rules if {
	document := _with_call({"name": "make", "subcommand": "-C", "operand": "x"})
	_is_decided_at_once(document)
	not _is_decided_at_once(document) with data.opencode.config.ask_commands as {"make -C x": "of the operand"}
}

test_call_without_facts_is_asked_of_the_rules[member] if {
	some member in ["effects", "name", "plain", "subcommand"]
	call := object.remove(testing.call(["ls"]), [member])
	not _is_decided_at_once(object.union(_ls, {"prompt": {"command": {"calls": [call]}}}))
}

test_all_other_paths_are_asked_of_the_rules[name] if {
	some name, facts in {
		"outside": {"inside": false},
		"problem": {"problem": "link loop"},
		"secret": {"class": "secret"},
		"device": {"kind": "device"},
		"other names": {"links": 2},
	}
	every document in [_with_path(_ls, facts), _with_path(_read, facts)] {
		not _is_decided_at_once(document)
		decision := prompt.decision with input as document
		decision == _by_the_rules(document)
	}
}

test_all_other_reading_is_asked_of_the_rules[name] if {
	some name, document in {
		"tool": testing.prompt("revert", {}, [testing.file("a", "read")]),
		"command": object.union(_read, {"prompt": {"command": {"calls": [testing.call(["curl"])]}}}),
		"no paths": testing.prompt("read", {}, []),
		"write": _with_path(_read, {"access": "write"}),
	}
	not _is_decided_at_once(document)
	decision := prompt.decision with input as document
	decision == _by_the_rules(document)
}

test_prompts_are_asked_of_the_rules_of_teams if {
	every document in [_ls, _read] {
		not _is_decided_at_once(document) with data.opencode.loaded.teams as {"a": true}
	}
}

test_commands_are_asked_of_the_rules_in_another_sandbox[name] if {
	some name, facts in {"off": {"mode": "off"}, "required": {"mode": "required"}, "network": {"network": null}}
	settings := object.union(config, {"sandbox": facts})
	not _is_decided_at_once(_ls) with data.opencode.config as settings
	decision := prompt.decision with input as _ls with data.opencode.config as settings
	decision == _by_the_rules(_ls) with data.opencode.config as settings
}
