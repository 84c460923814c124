package opencode.request_test

import data.opencode.request
import data.opencode.testing

# The short way, which asks no rule. Each condition of it has a request here that
# fails it alone: that one must be asked of the rules.

_plain := testing.request("GET", "/session/status", _all)

# A denial that no team is loaded for is known to the rules alone.
_is_decided_at_once(document) if {
	decision := request.decision with input as document
		with data.opencode.team.deny as {{"id": "a.no", "message": "the rules were asked"}}
	decision.effect == "allow"
}

_by_the_rules(document) := decision if {
	decision := request.decision with input as document with data.opencode.loaded.teams as {"a": true}
}

test_most_requests_are_decided_at_once[name] if {
	some name, document in {
		"token": _plain,
		"local": object.union(_plain, {"principal": {"kind": "local"}}),
		"other method": testing.request("POST", "/session", _all),
		"no segments": object.union(_plain, {"request": {"segments": []}}),
	}
	_is_decided_at_once(document)
	decision := request.decision with input as document
	decision == _by_the_rules(document)
}

test_all_other_requests_are_asked_of_the_rules[name] if {
	some name, facts in {
		"version": {"version": 2},
		"kind": {"kind": "prompt"},
		"spelling": {"request": {"canonical": false}},
		"directory inside": {"request": {"directory": {"raw": "/p", "real": "/p", "inside": true}}},
		"directory outside": {"request": {"directory": {"raw": "/etc", "real": "/etc", "inside": false}}},
		"expired": {"principal": {"expired": true}},
		"anonymous": {"principal": {"kind": "anonymous"}},
		"without execute": {"principal": {"permissions": ["read", "write"]}},
		"without read": {"principal": {"permissions": ["write", "execute"]}},
		"no route": {"request": {"route": null}},
		"unknown route": {"request": {"route": "/nowhere"}},
		"unknown method": {"request": {"method": "BREW"}},
		"method of other routes": {"request": {"method": "DELETE"}},
		"public": {"request": {"route": "/global/health"}},
		"segment of another type": {"request": {"segments": ["session", 1]}},
		"segments of another type": {"request": {"segments": {"a": "session"}}},
	}
	document := object.union(_plain, facts)
	not _is_decided_at_once(document)
	decision := request.decision with input as document
	decision == _by_the_rules(document)
}

test_requests_are_asked_of_the_rules_of_teams if {
	not _is_decided_at_once(_plain) with data.opencode.loaded.teams as {"a": true}
}
