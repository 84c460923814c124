package opencode.request_test

import data.opencode.config
import data.opencode.request
import data.opencode.testing

# Each test here fails if one condition of the rules on requests is lost.

_fired(decision) := {rule.id | some rule in decision.rules}

test_request_that_is_none_is_denied[name] if {
	some name, facts in {"version": {"version": 2}, "kind": {"kind": "prompt"}}
	decision := request.decision with input as object.union(testing.request("GET", "/path", ["read"]), facts)
	_fired(decision) == {"request.wrong_kind"}
}

test_public_route_needs_a_known_method if {
	routes := {"/x": {"BREW": true}}
	decision := request.decision with input as testing.request("BREW", "/x", ["read"])
		with data.opencode.config as object.union(config, {"routes": routes, "public_routes": routes})
	_fired(decision) == {"request.unknown_method"}
}

test_request_without_a_route_needs_no_execute if {
	document := object.union(testing.request("GET", "/config", ["read"]), {"request": {"route": null}})
	decision := request.decision with input as document
	_fired(decision) == {"request.unknown_route"}
	decision.needs == []
}
