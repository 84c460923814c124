package team.attributes_test

import data.opencode.prompt
import data.opencode.request
import data.opencode.testing
import data.team.attributes

_ids(decision) := {rule.id | some rule in decision.rules}

_with(document, attributes) := object.union(document, {"principal": {"attributes": attributes}})

_edit(path) := testing.prompt("edit", {}, [testing.file(path, "write")])

test_token_without_attributes_is_not_concerned if {
	decision := prompt.decision with input as testing.bash([["ls"]])
	decision.effect == "allow"
}

test_own_folder_is_asked_as_usual if {
	decision := prompt.decision with input as _with(_edit("web/a.ts"), {"team": "web"})
	decision.effect == "ask"
}

test_folder_of_others_is_denied if {
	decision := prompt.decision with input as _with(_edit("api/a.go"), {"team": "web"})
	_ids(decision) == {"attributes.folder"}
}

test_folder_of_others_may_be_read if {
	document := testing.prompt("read", {}, [testing.file("api/a.go", "read")])
	decision := prompt.decision with input as _with(document, {"team": "web"})
	decision.effect == "allow"
}

test_unknown_team_is_denied if {
	decision := request.decision with input as _with(testing.request("GET", "/path", ["read"]), {"team": "nobody"})
	_ids(decision) == {"attributes.team_unknown"}
}

test_contractor_runs_the_usual_commands if {
	decision := prompt.decision with input as _with(testing.bash([["go", "test"]]), {"kind": "contractor"})
	decision.effect == "allow"
	decision.obligations.timeout_seconds == 60
}

test_contractor_is_asked_about_other_commands if {
	decision := prompt.decision with input as _with(testing.bash([["docker", "ps"]]), {"kind": "contractor"})
	decision.effect == "ask"
	_ids(decision) == {"attributes.contractor_command"}
	decision.obligations.ask.approvers == ["execute", "write"]
	decision.obligations.ask.always == ["docker *"]
}

test_contractor_works_by_day[name] if {
	some name, when in {"night": {"hour": 22}, "early": {"hour": 7}, "weekend": {"weekday": "sunday"}}
	document := object.union(testing.bash([["ls"]]), {"time": when})
	decision := prompt.decision with input as _with(document, {"kind": "contractor"})
	_ids(decision) == {"attributes.hours"}
}

test_trusted_token_edits_without_a_question if {
	decision := prompt.decision with input as _with(_edit("web/a.ts"), {"trust": "edit"})
	decision.effect == "allow"
	"attributes.trusted_edit" in _ids(decision)
}

test_trust_does_not_reach_what_steers_tools if {
	document := testing.prompt("edit", {}, [object.union(testing.file(".github/workflows/ci.yml", "write"), {"class": "agent-config"})])
	decision := prompt.decision with input as _with(document, {"trust": "edit"})
	decision.effect == "ask"
}

test_unknown_team_gets_one_denial if {
	decision := prompt.decision with input as _with(_edit("web/a.ts"), {"team": "nobody"})
	_ids(decision) == {"attributes.team_unknown"}
}

test_others_work_at_any_time if {
	document := object.union(testing.bash([["ls"]]), {"time": {"hour": 22, "weekday": "sunday"}})
	decision := prompt.decision with input as _with(document, {"kind": "employee"})
	decision.effect == "allow"
}

test_contractor_works_from_the_first_to_the_last_hour[name] if {
	some name, row in {"first": [8, "allow"], "last": [17, "allow"], "after": [18, "deny"]}
	document := object.union(testing.bash([["ls"]]), {"time": {"hour": row[0]}})
	decision := prompt.decision with input as _with(document, {"kind": "contractor"})
	decision.effect == row[1]
}

test_others_run_any_command if {
	decision := prompt.decision with input as _with(testing.bash([["docker", "ps"]]), {"kind": "employee"})
	decision.effect == "allow"
	decision.obligations.timeout_seconds > 60
}

test_trust_reaches_the_tools_that_edit[tool] if {
	some tool in ["write", "edit", "multiedit"]
	document := testing.prompt(tool, {}, [testing.file("web/a.ts", "write")])
	decision := prompt.decision with input as _with(document, {"trust": "edit"})
	decision.effect == "allow"
}

test_trust_does_not_reach_other_tools if {
	document := testing.prompt("delete", {}, [testing.file("web/a.ts", "write")])
	decision := prompt.decision with input as _with(document, {"trust": "edit"})
	decision.effect == "ask"
}

test_trust_does_not_reach_what_names_no_file if {
	decision := prompt.decision with input as _with(testing.prompt("edit", {}, []), {"trust": "edit"})
	decision.effect == "ask"
}

test_trust_does_not_reach_outside if {
	path := object.union(testing.file("web/a.ts", "write"), {"inside": false})
	rules := attributes.allow with input as _with(testing.prompt("edit", {}, [path]), {"trust": "edit"})
	count(rules) == 0
}
