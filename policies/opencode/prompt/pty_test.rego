package opencode.prompt_test

import data.opencode.config
import data.opencode.prompt
import data.opencode.testing

# As the facts about a shell that waits for input are: what it runs cannot be known.
_terminal(argv) := object.union(testing.bash([argv]), {"prompt": {
	"tool": "pty",
	"command": {"dynamic": true},
}})

_known(argv) := object.union(testing.bash([argv]), {"prompt": {"tool": "pty"}})

test_interactive_shell_is_allowed[name] if {
	some name, argv in {
		"bash": ["bash"],
		"login": ["bash", "-l"],
		"both": ["zsh", "-i", "-l"],
		"fish": ["fish"],
		"sh": ["sh"],
	}
	decision := prompt.decision with input as _terminal(argv)
	decision.effect == "allow"
	_ids(decision) == {"pty.interactive"}
}

test_terminal_has_a_long_life if {
	decision := prompt.decision with input as _terminal(["bash"])
	decision.obligations.timeout_seconds == 86400
	shorter := prompt.decision with input as _terminal(["bash"])
		with data.opencode.loaded.teams as {"a": true}
		with data.team.a.obligations as {"timeout_seconds": 60}
	shorter.obligations.timeout_seconds == 60
}

test_interactive_shell_can_be_asked if {
	decision := prompt.decision with input as _terminal(["bash", "-l"])
		with data.opencode.config.pty as object.union(config.pty, {"interactive": "ask"})
	decision.effect == "ask"
	_ids(decision) == {"pty.interactive"}
	decision.obligations.ask.always == ["pty interactive shell"]
}

test_interactive_shell_can_be_denied if {
	decision := prompt.decision with input as _terminal(["bash", "-l"])
		with data.opencode.config.pty as object.union(config.pty, {"interactive": "deny"})
	decision.effect == "deny"
	_ids(decision) == {"pty.interactive"}
}

test_setting_that_is_not_known_allows_nothing[name] if {
	some name, settings in {"missing": {"shells": config.pty.shells, "timeout_seconds": 1}, "other": {
		"shells": config.pty.shells,
		"arguments": {},
		"interactive": "yes",
		"timeout_seconds": 1,
	}}
	decision := prompt.decision with input as _terminal(["bash"]) with data.opencode.config.pty as settings
	decision.effect == "ask"
	_ids(decision) == {"bash.dynamic"}
}

test_interactive_shell_needs_execute if {
	document := object.union(_terminal(["bash"]), {"principal": testing.token(["read", "write"])})
	decision := prompt.decision with input as document
	decision.effect == "deny"
	decision.needs == ["execute"]
}

test_shell_that_reads_a_file_is_no_interactive_one[name] if {
	some name, argv in {
		"rcfile": ["bash", "--rcfile", "x"],
		"stdin": ["bash", "-s"],
		"script": ["bash", "x.sh"],
		"command": ["bash", "-c", "ls"],
		"login command": ["bash", "-l", "-c", "ls"],
	}
	decision := prompt.decision with input as _terminal(argv)
	decision.effect == "ask"
	_ids(decision) == {"bash.dynamic"}
}

test_shell_behind_another_program_is_no_interactive_one if {
	document := object.union(_terminal(["env"]), {"prompt": {"command": {"calls": [
		testing.call(["env", "bash"]),
		testing.call(["bash"]),
	]}}})
	decision := prompt.decision with input as document
	_ids(decision) == {"bash.dynamic"}
}

test_shell_without_all_its_facts_is_no_interactive_one[name] if {
	some name, path in {
		"argv": "/prompt/command/calls/0/argv",
		"dynamic": "/prompt/command/calls/0/dynamic",
		"parsed": "/prompt/command/parsed",
		"redirects": "/prompt/command/redirects",
		"assigns": "/prompt/command/assigns",
		"calls": "/prompt/command/calls",
	}
	decision := prompt.decision with input as json.remove(_terminal(["bash"]), [path])
	decision.effect != "allow"
}

test_shell_with_odd_arguments_is_no_interactive_one[name] if {
	some name, argv in {"none": [], "wrapped": [["bash", "-c", "x"]], "null": ["bash", null], "object": {}, "string": "bash"}
	document := json.patch(_terminal(["bash"]), [{"op": "replace", "path": "/prompt/command/calls/0/argv", "value": argv}])
	decision := prompt.decision with input as document
	_ids(decision) == {"bash.dynamic"}
}

test_shell_of_tool_bash_is_no_terminal if {
	document := object.union(testing.bash([["bash"]]), {"prompt": {"command": {"dynamic": true}}})
	decision := prompt.decision with input as document
	_ids(decision) == {"bash.dynamic"}
}

test_terminal_outside_the_project_is_denied if {
	outside := object.union(testing.file("x", "read"), {"inside": false, "real": "/etc", "kind": "dir"})
	document := object.union(_terminal(["bash"]), {"prompt": {"paths": [outside]}})
	decision := prompt.decision with input as document
	decision.effect == "deny"
	"path.outside" in _ids(decision)
}

test_other_terminal_is_a_command if {
	understood := prompt.decision with input as _known(["vim", "x"])
	understood.effect == "allow"
	_ids(understood) == {"bash.understood"}
	pushed := prompt.decision with input as _known(["git", "push"])
	_ids(pushed) == {"bash.ask_command"}
	banned := prompt.decision with input as _known(["curl"])
	banned.effect == "deny"
}

test_team_still_decides_about_terminals if {
	denied := prompt.decision with input as _terminal(["bash"])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.deny as {{"id": "a.no", "message": "no"}}
	denied.effect == "deny"
	asked := prompt.decision with input as _terminal(["bash"])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.ask as {{"id": "a.maybe", "message": "maybe"}}
	_ids(asked) == {"a.maybe"}
}
