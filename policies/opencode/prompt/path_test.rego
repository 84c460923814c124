package opencode.prompt_test

import data.opencode.prompt
import data.opencode.testing

_file(facts) := object.union(testing.file("a.txt", "read"), facts)

_outside := _file({"raw": "../x", "real": "/home/u/x", "relative": "", "inside": false})

test_read_inside_is_allowed[tool] if {
	some tool in ["read", "list", "glob", "grep"]
	decision := prompt.decision with input as testing.prompt(tool, {}, [testing.file("a.txt", "read")])
		with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
	_ids(decision) == {"path.read_inside"}
}

test_read_of_nothing_is_asked if {
	decision := prompt.decision with input as testing.prompt("read", {}, [])
	decision.effect == "ask"
}

test_outside_is_denied[tool] if {
	some tool in ["read", "list", "glob", "grep", "write", "edit", "multiedit", "patch", "delete", "move", "teleport"]
	decision := prompt.decision with input as testing.prompt(tool, {}, [_outside])
	decision.effect == "deny"
	"path.outside" in _ids(decision)
}

_command_with(path) := object.union(testing.bash([["ls"]]), {"prompt": {"paths": [object.union(_outside, path)]}})

test_command_may_write_nothing_outside if {
	decision := prompt.decision with input as _command_with({"access": "write"})
	decision.effect == "deny"
	_ids(decision) == {"path.outside"}
}

test_command_asks_for_what_it_reads_outside if {
	decision := prompt.decision with input as _command_with({})
	decision.effect == "ask"
	_ids(decision) == {"path.outside_ask"}
}

test_command_may_read_the_system[real] if {
	some real in ["/usr", "/usr/include/stdio.h", "/etc/hosts", "/proc/cpuinfo"]
	decision := prompt.decision with input as _command_with({"real": real})
	decision.effect == "allow"
}

test_command_may_not_read_the_rest_of_the_system[real] if {
	some real in ["/etc", "/etc/passwd", "/proc/1/status", "/dev/tcp/h/1"]
	decision := prompt.decision with input as _command_with({"real": real})
	decision.effect == "deny"
	_ids(decision) == {"path.outside"}
}

test_command_may_not_write_the_system if {
	decision := prompt.decision with input as _command_with({"real": "/etc/hosts", "access": "write"})
	decision.effect == "deny"
}

test_command_asks_for_a_secret_of_the_system if {
	decision := prompt.decision with input as _command_with({"real": "/usr/x.key", "class": "secret"})
	decision.effect == "ask"
	_ids(decision) == {"path.secret"}
}

test_command_reads_no_device if {
	decision := prompt.decision with input as _command_with({"real": "/usr/x", "kind": "device"})
	decision.effect == "deny"
	_ids(decision) == {"path.special_file"}
}

test_path_of_unknown_place_is_denied if {
	decision := prompt.decision with input as testing.prompt("read", {}, [json.remove(_file({}), ["inside"])])
	decision.effect == "deny"
}

test_path_with_a_problem_is_denied if {
	decision := prompt.decision with input as testing.prompt("read", {}, [_file({"problem": "link loop"})])
	decision.effect == "deny"
	decision.rules[0].id == "path.unresolved"
	decision.rules[0].message == "the path a.txt leads nowhere that can be known: link loop"
}

test_path_without_word_of_a_problem_is_denied if {
	decision := prompt.decision with input as testing.prompt("read", {}, [json.remove(_file({}), ["problem"])])
	"path.unresolved" in _ids(decision)
}

test_special_file_is_denied if {
	decision := prompt.decision with input as testing.prompt("read", {}, [_file({"kind": "fifo"})])
	_ids(decision) == {"path.special_file"}
}

_null := _file({"raw": "/dev/null", "real": "/dev/null", "inside": false, "kind": "device", "access": "write"})

test_command_may_write_to_null if {
	document := object.union(testing.bash([["ls"]]), {"prompt": {"paths": [_null]}})
	decision := prompt.decision with input as document
	decision.effect == "allow"
}

test_tool_may_not_write_to_null if {
	decision := prompt.decision with input as testing.prompt("write", {}, [_null])
	_ids(decision) == {"path.outside", "path.special_file"}
}

_temporary := _file({"raw": "/tmp/x", "real": "/tmp/x", "inside": false})

test_command_asks_for_temporary_files if {
	document := object.union(testing.bash([["ls"]]), {"prompt": {"paths": [_temporary]}})
	decision := prompt.decision with input as document
	decision.effect == "ask"
	_ids(decision) == {"path.outside_ask"}
}

test_tool_has_no_temporary_files if {
	decision := prompt.decision with input as testing.prompt("read", {}, [_temporary])
	decision.effect == "deny"
}

test_like_temporary_is_not_temporary if {
	path := object.union(_temporary, {"real": "/tmp-evil/x", "access": "write"})
	document := object.union(testing.bash([["ls"]]), {"prompt": {"paths": [path]}})
	decision := prompt.decision with input as document
	decision.effect == "deny"
}

test_secret_is_asked if {
	decision := prompt.decision with input as testing.prompt("read", {}, [_file({"class": "secret"})])
	decision.effect == "ask"
	_ids(decision) == {"path.secret"}
	decision.obligations.ask.always == []
}

test_steering_file_is_asked_when_written[class] if {
	some class in ["vcs", "agent-config"]
	path := _file({"class": class, "access": "write"})
	document := object.union(testing.bash([["ls"]]), {"prompt": {"paths": [path]}})
	decision := prompt.decision with input as document
	decision.effect == "ask"
	_ids(decision) == {"path.write_protected"}
}

test_steering_file_may_be_read if {
	decision := prompt.decision with input as testing.prompt("read", {}, [_file({"class": "vcs"})])
	decision.effect == "allow"
}

test_path_without_facts_is_denied[tool] if {
	some tool in ["read", "write", "bash", "pty", "teleport"]
	document := object.union(testing.bash([["ls"]]), {"prompt": {"tool": tool, "paths": [{}]}})
	decision := prompt.decision with input as document
	decision.effect == "deny"
	{"path.unresolved", "path.outside", "path.special_file"} == _ids(decision)
}

test_path_of_unknown_class_is_asked if {
	missing := prompt.decision with input as testing.prompt("read", {}, [json.remove(_file({}), ["class"])])
	missing.effect == "ask"
	_ids(missing) == {"path.secret"}
	unknown := prompt.decision with input as testing.prompt("read", {}, [_file({"class": ""})])
	unknown.effect == "ask"
}

test_file_with_other_names_is_asked[tool] if {
	some tool in ["read", "grep"]
	decision := prompt.decision with input as testing.prompt(tool, {}, [_file({"links": 2})])
	decision.effect == "ask"
	_ids(decision) == {"path.hard_link"}
}

test_file_with_other_names_is_asked_in_commands if {
	document := object.union(testing.bash([["cat", "a"]]), {"prompt": {"paths": [_file({"links": 2})]}})
	decision := prompt.decision with input as document
	_ids(decision) == {"path.hard_link"}
}

test_file_that_tools_link_is_not_asked if {
	path := _file({"links": 9, "relative": "web/node_modules/x/index.js"})
	decision := prompt.decision with input as testing.prompt("read", {}, [path])
	decision.effect == "allow"
	asked := prompt.decision with input as testing.prompt("read", {}, [path])
		with data.opencode.config.hard_links as {"node_modules": false}
	asked.effect == "ask"
}
