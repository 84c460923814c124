package opencode.prompt_test

import data.opencode.config
import data.opencode.prompt
import data.opencode.testing

_seed_list := [
	"alias", "curl", "curlie", "wget", "axel", "aria2c", "nc", "telnet", "lynx", "w3m", "links", "httpie", "xh",
	"http-prompt", "chrome", "firefox", "safari",
]

_command(facts) := object.union(testing.bash([["ls"]]), {"prompt": {"command": facts}})

test_every_banned_program_is_denied[name] if {
	some name in _seed_list
	decision := prompt.decision with input as testing.bash([["ls"], [name, "x"]])
	decision.effect == "deny"
	decision.rules[0].id == "bash.banned_command"
	contains(decision.rules[0].message, name)
}

test_every_other_name_is_denied[name] if {
	some name, _ in config.banned_commands
	decision := prompt.decision with input as testing.bash([[name]])
	decision.effect == "deny"
}

test_case_does_not_matter if {
	decision := prompt.decision with input as testing.bash([["CURL", "x"]])
	decision.effect == "deny"
}

test_a_mention_is_not_a_call if {
	decision := prompt.decision with input as testing.bash([["grep", "curl", "x"]])
	decision.effect == "allow"
}

test_a_lift_covers_every_name_of_the_program if {
	decision := prompt.decision with input as testing.bash([["nc.openbsd", "x"]])
		with data.opencode.config.banned_commands.nc as false
	decision.effect == "allow"
}

test_a_lift_of_one_name_covers_no_other if {
	decision := prompt.decision with input as testing.bash([["nc", "x"]])
		with data.opencode.config.banned_commands as object.union(config.banned_commands, {"ncat": false})
	decision.effect == "deny"
}

test_command_without_facts_is_denied if {
	document := json.remove(testing.bash([["ls"]]), ["prompt/command"])
	decision := prompt.decision with input as document
	decision.effect == "deny"
	"bash.not_understood" in _ids(decision)
}

test_unparsed_command_is_asked if {
	decision := prompt.decision with input as _command({"parsed": false, "problem": "unclosed quote"})
	decision.effect == "ask"
	_ids(decision) == {"bash.not_parsed"}
	decision.rules[0].message == "the command could not be read as a whole: unclosed quote"
	decision.obligations.ask.always == []
}

test_unparsed_command_without_a_reason_is_asked if {
	decision := prompt.decision with input as _command({"parsed": false})
	_ids(decision) == {"bash.not_parsed"}
	decision.rules[0].message == "the command could not be read as a whole: no reason is known"
}

test_unparsed_command_that_runs_a_banned_program_is_denied if {
	decision := prompt.decision with input as _command({"parsed": false, "calls": [testing.call(["curl"])]})
	decision.effect == "deny"
}

test_dynamic_command_is_asked if {
	decision := prompt.decision with input as _command({"dynamic": true})
	_ids(decision) == {"bash.dynamic"}
	decision.effect == "ask"
}

test_dynamic_redirect_is_asked if {
	decision := prompt.decision with input as _command({"redirects": [{
		"op": ">",
		"target": "$x",
		"access": "write",
		"dynamic": true,
	}]})
	_ids(decision) == {"bash.dynamic_redirect"}
	decision.effect == "ask"
}

test_command_to_ask_about_is_asked if {
	decision := prompt.decision with input as testing.bash([["git", "push", "origin"]])
	decision.effect == "ask"
	_ids(decision) == {"bash.ask_command"}
	decision.obligations.ask.always == ["git push *"]
}

test_command_to_ask_about_can_be_lifted if {
	decision := prompt.decision with input as testing.bash([["git", "push"]])
		with data.opencode.config.ask_commands as {"git push": false}
	decision.effect == "allow"
}

test_nothing_at_all_is_asked if {
	decision := prompt.decision with input as testing.bash([])
	_ids(decision) == {"prompt.no_rule"}
	decision.effect == "ask"
}

test_terminal_with_a_banned_program_is_denied if {
	document := json.patch(testing.bash([["telnet"]]), [{"op": "replace", "path": "/prompt/tool", "value": "pty"}])
	decision := prompt.decision with input as document
	decision.effect == "deny"
}

test_call_without_its_facts_is_denied[name] if {
	some name, calls in {
		"no name": [json.remove(testing.call(["curl"]), ["name"])],
		"no subcommand": [json.remove(testing.call(["sudo"]), ["subcommand"])],
		"no call": [null],
		"second": [testing.call(["ls"]), {}],
	}
	decision := prompt.decision with input as _command({"calls": calls})
	decision.effect == "deny"
	"bash.not_understood" in _ids(decision)
}

test_command_with_facts_of_another_type_is_denied[name] if {
	some name in ["calls", "redirects", "assigns"]
	every value in [null, {}, "x", 1] {
		decision := prompt.decision with input as _command({name: value})
		decision.effect == "deny"
	}
}

test_redirect_without_a_target_is_asked if {
	decision := prompt.decision with input as _command({"redirects": [{}]})
	_ids(decision) == {"bash.dynamic_redirect"}
	decision.effect == "ask"
}

test_variable_that_decides_what_runs_is_asked[name] if {
	some name in ["PATH", "LD_PRELOAD", "BASH_ENV", "GIT_SSH_COMMAND"]
	decision := prompt.decision with input as _command({"assigns": ["x", name]})
	decision.effect == "ask"
	_ids(decision) == {"bash.ask_variable"}
	decision.obligations.ask.always == []
}

test_other_variables_are_allowed if {
	decision := prompt.decision with input as _command({"assigns": ["CGO_ENABLED", "x"]})
	decision.effect == "allow"
}

test_variable_to_ask_about_can_be_lifted if {
	decision := prompt.decision with input as _command({"assigns": ["PATH"]})
		with data.opencode.config.ask_variables as {"PATH": false}
	decision.effect == "allow"
}

# Facts of one call besides what its name says.
_call(facts) := _command({"calls": [object.union(testing.call(["x", "y"]), facts)]})

test_effect_is_asked[effect] if {
	some effect, id in {
		"code": "bash.interpreter",
		"fetches": "bash.fetches",
		"network": "bash.network",
		"destroys": "bash.destructive",
		"persists": "bash.persists",
		"reveals": "bash.reveals",
		"lookalike": "bash.lookalike",
	}
	decision := prompt.decision with input as _call({"effects": [effect], "plain": "x"})
	decision.effect == "ask"
	_ids(decision) == {id}
}

test_effect_of_a_program_without_a_subcommand_is_asked[effect] if {
	some effect in ["fetches", "network", "destroys", "persists", "reveals"]
	decision := prompt.decision with input as _call({"effects": [effect], "subcommand": ""})
	decision.effect == "ask"
	startswith(decision.rules[0].message, "x ")
}

test_effect_can_be_lifted[command] if {
	some command in ["x", "x y", "x y z"]
	decision := prompt.decision with input as _call({"effects": ["network", "code"], "operand": "z"})
		with data.opencode.config.ask_commands as {command: false}
	decision.effect == "allow"
}

test_effect_that_is_not_known_is_nothing if {
	decision := prompt.decision with input as _call({"effects": ["rejoices"]})
	decision.effect == "allow"
}

test_command_with_what_it_works_on_is_asked if {
	decision := prompt.decision with input as _call({"name": "uv", "subcommand": "pip", "operand": "sync"})
		with data.opencode.config.ask_commands as {"uv pip sync": "installs"}
	decision.effect == "ask"
	decision.obligations.ask.always == ["uv pip sync *"]
}

test_part_of_a_command_to_ask_about_can_be_lifted if {
	config_of := {"docker compose": "runs containers", "docker compose ps": false}
	ps := prompt.decision with input as _call({"name": "docker", "subcommand": "compose", "operand": "ps"})
		with data.opencode.config.ask_commands as config_of
	ps.effect == "allow"
	up := prompt.decision with input as _call({"name": "docker", "subcommand": "compose", "operand": "up"})
		with data.opencode.config.ask_commands as config_of
	up.effect == "ask"
}

test_name_that_looks_like_a_banned_one_is_denied if {
	decision := prompt.decision with input as _call({"name": "ｃｕｒｌ", "plain": "curl", "effects": ["lookalike"]})
	decision.effect == "deny"
	_ids(decision) == {"bash.banned_command"}
}

test_pattern_that_may_match_a_banned_program_is_denied[pattern] if {
	some pattern in ["c?rl", "cu*l", "[cx]url", "w*"]
	decision := prompt.decision with input as _call({"name": "", "subcommand": "", "plain": pattern, "dynamic": true})
	decision.effect == "deny"
	_ids(decision) == {"bash.banned_command"}
}

_files(facts) := _command({"files": [object.union(
	{
		"path": "src",
		"access": "delete",
		"by": "rm",
		"home": false,
		"glob": false,
		"recursive": false,
		"dynamic": false,
	},
	facts,
)]})

test_one_file_may_be_deleted if {
	decision := prompt.decision with input as _files({})
	decision.effect == "allow"
}

test_deleting_much_is_asked[fact] if {
	some fact in ["recursive", "glob"]
	decision := prompt.decision with input as _files({fact: true})
	decision.effect == "ask"
	_ids(decision) == {"bash.deletes"}
	decision.rules[0].message == "rm deletes src with all below or all that it matches"
}

test_products_of_a_build_may_be_deleted[path] if {
	some path in ["dist", "./node_modules", "a/build/b"]
	decision := prompt.decision with input as _files({"recursive": true, "path": path})
	decision.effect == "allow"
}

test_like_a_product_of_a_build_is_asked[name] if {
	some name, facts in {
		"back": {"path": "dist/../src"},
		"home": {"path": "~/dist", "home": true},
		"not known": {"path": "dist", "dynamic": true},
		"another": {"path": "distance"},
	}
	decision := prompt.decision with input as _files(object.union({"recursive": true}, facts))
	decision.effect == "ask"
	"bash.deletes" in _ids(decision)
}

test_file_that_is_not_known_is_asked[access] if {
	some access in ["read", "write", "execute"]
	decision := prompt.decision with input as _files({"access": access, "dynamic": true})
	decision.effect == "ask"
	_ids(decision) == {"bash.dynamic_file"}
}

test_file_without_facts_is_asked if {
	decision := prompt.decision with input as _command({"files": [{}]})
	decision.effect == "ask"
	_ids(decision) == {"bash.dynamic_file", "bash.deletes"}
}

test_variables_of_a_family_are_asked[name] if {
	some name in ["LD_DEBUG_OUTPUT", "GIT_INDEX_FILE", "npm_config_registry"]
	decision := prompt.decision with input as _command({"assigns": [name]})
	decision.effect == "ask"
	_ids(decision) == {"bash.ask_variable"}
}

test_variable_of_a_family_can_be_lifted if {
	decision := prompt.decision with input as _command({"assigns": ["GIT_AUTHOR_NAME"]})
	decision.effect == "allow"
}
