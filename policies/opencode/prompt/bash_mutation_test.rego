package opencode.prompt_test

import data.opencode.config
import data.opencode.prompt
import data.opencode.testing

# Each test here fails if one condition of the rules on commands is lost. Where
# a team is loaded that says nothing, it is so that the rules are asked.

_fired(decision) := {rule.id | some rule in decision.rules}

_said(decision) := {rule.message | some rule in decision.rules}

_running(facts) := object.union(testing.bash([["ls"]]), {"prompt": {"command": facts}})

_called(facts) := _running({"calls": [object.union(testing.call(["ls"]), facts)]})

_filed(facts) := _running({"files": [object.union(
	{"path": "src/x", "access": "read", "by": "cp", "home": false, "glob": false, "recursive": false, "dynamic": false},
	facts,
)]})

test_lifted_program_is_not_banned if {
	decision := prompt.decision with input as testing.bash([["curl", "x"]])
		with data.opencode.loaded.teams as {"a": true}
		with data.opencode.config.banned_commands as {"curl": false}
	decision.effect == "allow"
}

test_name_that_is_known_is_no_pattern if {
	decision := prompt.decision with input as _called({"name": "cur?", "plain": "cur?"})
		with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
}

test_plain_name_is_banned_once if {
	decision := prompt.decision with input as _called({"name": "", "plain": "curl"})
	_fired(decision) == {"bash.banned_command"}
	count(decision.rules) == 1
}

test_pattern_is_banned_for_what_it_matches_alone if {
	banned := {"curl": "curl", "wget": "wget"}
	decision := prompt.decision with input as _called({"name": "", "plain": "cur?"})
		with data.opencode.config.banned_commands as banned
	_said(decision) == {"curl is banned, and cur? may be it"}
	other := prompt.decision with input as _called({"name": "", "plain": "zzz*"})
		with data.opencode.config.banned_commands as banned
	other.effect != "deny"
}

test_pattern_of_a_lifted_program_is_not_banned[name] if {
	some name, banned in {
		"itself": {"curl": false, "wget": "wget"},
		"its other name": {"curlie": "curl", "curl": false},
	}
	decision := prompt.decision with input as _called({"name": "", "plain": "cur*"})
		with data.opencode.config.banned_commands as banned
	decision.effect != "deny"
}

test_redirect_to_a_known_file_is_no_question if {
	document := _running({"redirects": [{"op": ">", "target": "out", "access": "write", "dynamic": false}]})
	decision := prompt.decision with input as document with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
}

test_what_always_covers[name] if {
	some name, row in {
		"fetches": ["fetches", {"name": "npx", "subcommand": ""}, ["npx*"], "npx runs what it fetches"],
		"fetches with sub-command": [
			"fetches", {"name": "npm", "subcommand": "install"},
			["npm install*"], "npm install runs what it fetches",
		],
		"network": ["network", {"name": "ssh", "subcommand": ""}, ["ssh*"], "ssh reaches another machine"],
		"network with sub-command": [
			"network", {"name": "git", "subcommand": "clone"},
			["git clone*"], "git clone reaches another machine",
		],
	}
	decision := prompt.decision with input as _called(object.union(row[1], {"effects": [row[0]]}))
		with data.opencode.config.ask_commands as {}
	decision.obligations.ask.always == [concat(" ", [trim_suffix(pattern, "*"), "*"]) | some pattern in row[2]]
	_said(decision) == {row[3]}
}

test_file_that_is_only_used_is_not_deleted[access] if {
	some access in ["read", "write", "execute", "unknown"]
	decision := prompt.decision with input as _filed({"access": access, "glob": true, "recursive": true})
		with data.opencode.loaded.teams as {"a": true}
	not "bash.deletes" in _fired(decision)
}

test_lifted_family_of_variables_is_no_question if {
	decision := prompt.decision with input as _running({"assigns": ["GIT_DIR"]})
		with data.opencode.config.ask_variables as {"GIT_*": false}
	decision.effect == "allow"
}

test_tool_that_runs_no_command_is_not_understood_as_one if {
	decision := prompt.decision with input as object.union(testing.bash([["ls"]]), {"prompt": {"tool": "other"}})
	_fired(decision) == {"prompt.no_rule"}
}

test_variable_without_a_name_is_denied if {
	decision := prompt.decision with input as _running({"assigns": ["A", 1]})
	"bash.not_understood" in _fired(decision)
}

test_message_names_the_user_and_the_file[name] if {
	some name, row in {
		"both": [{"by": "cp", "path": "a"}, "cp uses a file whose name cannot be known: a"],
		"no user": [{"by": null, "path": "a"}, "a program uses a file whose name cannot be known: a"],
		"no path": [{"by": "cp", "path": null}, "cp uses a file whose name cannot be known: without a name"],
	}
	decision := prompt.decision with input as _filed(object.union(row[0], {"dynamic": true}))
	row[1] in _said(decision)
}

test_message_names_the_target[name] if {
	some name, row in {"text": ["$x", "$x"], "none": [null, "without a name"]}
	document := _running({"redirects": [{"op": ">", "target": row[0], "access": "write", "dynamic": true}]})
	decision := prompt.decision with input as document
	concat(" ", ["the command opens a file whose name cannot be known:", row[1]]) in _said(decision)
}

test_terminal_switch_concerns_terminals_alone[setting] if {
	some setting in ["deny", "ask"]
	decision := prompt.decision with input as testing.bash([["ls"]])
		with data.opencode.loaded.teams as {"a": true}
		with data.opencode.config.pty as object.union(config.pty, {"interactive": setting})
	decision.effect == "allow"
}

_opened := object.union(testing.bash([["bash"]]), {"prompt": {"tool": "pty", "command": {"dynamic": true}}})

test_terminal_that_is_denied_is_allowed_by_no_rule if {
	document := object.union(testing.bash([["bash"]]), {"prompt": {"tool": "pty"}})
	rules := prompt.allow with input as document
		with data.opencode.config.pty as object.union(config.pty, {"interactive": "deny"})
	count(rules) == 0
}

test_terminal_that_is_asked_about_is_allowed_by_no_rule if {
	rules := prompt.allow with input as object.union(
		_opened,
		{"session": {"restrictions": [{"permission": "*", "pattern": "*", "action": "ask"}]}},
	)
	count(rules) == 0
}

test_terminal_is_interactive_if_nothing_else_runs[name] if {
	some name, facts in {
		"not parsed": {"parsed": false},
		"redirect": {"redirects": [{"op": ">", "target": "out", "access": "write", "dynamic": false}]},
		"variable": {"assigns": ["A"]},
		"no shell": {"calls": [testing.call(["vim"])]},
	}
	decision := prompt.decision with input as object.union(_opened, {"prompt": {"command": facts}})
		with data.opencode.config.pty as object.union(config.pty, {"interactive": "deny"})
	not "pty.interactive" in _fired(decision)
	plain := prompt.decision with input as _opened
		with data.opencode.config.pty as object.union(config.pty, {"interactive": "deny"})
	_fired(plain) == {"pty.interactive"}
}
