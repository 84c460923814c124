package opencode.request_test

import data.opencode.request
import data.opencode.testing

_ids(decision) := {rule.id | some rule in decision.rules}

_all := ["read", "write", "execute"]

test_empty_input_is_denied if {
	decision := request.decision with input as {}
	decision.effect == "deny"
	_ids(decision) == {
		"request.wrong_kind",
		"request.unauthenticated",
		"request.token_expired",
		"request.unknown_method",
		"request.unknown_route",
		"request.path_not_canonical",
		"request.directory_outside",
	}
}

test_read_is_allowed_with_read if {
	decision := request.decision with input as testing.request("GET", "/config", ["read"])
	decision == {
		"effect": "allow",
		"rules": [{
			"id": "request.permitted",
			"effect": "allow",
			"message": "the principal holds every permission that the request needs",
		}],
		"needs": [],
		"obligations": {"audit": "brief"},
	}
}

test_missing_permission_is_named if {
	decision := request.decision with input as testing.request("GET", "/config", ["write", "execute"])
	decision.effect == "deny"
	decision.needs == ["read"]
	_ids(decision) == {"request.missing_permission"}
	decision.rules[0].message == "the request needs the permission read, which the token lacks"
}

test_each_method_has_its_permission[method] if {
	some method, permission in {
		"GET": "read",
		"HEAD": "read",
		"POST": "write",
		"PUT": "write",
		"PATCH": "write",
		"DELETE": "write",
	}
	needs := request.needs with input as testing.request(method, "/config", [])
	needs == {permission}
}

test_unknown_methods_are_refused[method] if {
	some method in ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Get", "GET ", "", "POST\n"]
	decision := request.decision with input as testing.request(method, "/config", _all)
	decision.effect == "deny"
	"request.unknown_method" in _ids(decision)
}

test_interactive_routes_need_execute[route] if {
	some route in [
		"/session",
		"/session/{sessionID}",
		"/session/{sessionID}/message",
		"/pty",
		"/pty/{ptyID}",
		"/api/session",
		"/api/session/{sessionID}/message",
		"/api/pty/{ptyID}/connect",
	]
	denied := request.decision with input as testing.request("GET", route, ["read", "write"])
	denied.effect == "deny"
	denied.needs == ["execute"]
	allowed := request.decision with input as testing.request("GET", route, ["read", "execute"])
		with data.opencode.loaded.teams as {"a": true}
	allowed.effect == "allow"
}

test_unknown_route_is_refused if {
	decision := request.decision with input as testing.request("GET", "/nowhere", _all)
	_ids(decision) == {"request.unknown_route"}
}

test_no_route_is_refused if {
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/request/route", "value": null}],
	)
	decision := request.decision with input as document
	_ids(decision) == {"request.unknown_route"}
}

test_known_route_with_another_method_is_refused if {
	decision := request.decision with input as testing.request("DELETE", "/path", _all)
	_ids(decision) == {"request.unknown_route"}
}

test_odd_spelling_is_refused if {
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/request/canonical", "value": false}],
	)
	decision := request.decision with input as document
	_ids(decision) == {"request.path_not_canonical"}
}

test_execute_is_needed_wherever_the_segment_stands if {
	document := json.patch(
		testing.request("GET", "/config", ["read"]),
		[{"op": "replace", "path": "/request/segments", "value": ["x", "y", "pty"]}],
	)
	needs := request.needs with input as document
	needs == {"execute"}
}

test_expired_token_is_refused if {
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/principal/expired", "value": true}],
	)
	decision := request.decision with input as document
	_ids(decision) == {"request.token_expired"}
}

test_token_of_unknown_expiry_is_refused if {
	document := json.remove(testing.request("GET", "/config", _all), ["principal/expired"])
	decision := request.decision with input as document
	_ids(decision) == {"request.token_expired"}
}

test_anonymous_is_refused if {
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/principal/kind", "value": "anonymous"}],
	)
	decision := request.decision with input as document
	_ids(decision) == {"request.unauthenticated"}
}

test_health_is_public if {
	document := json.patch(testing.request("GET", "/global/health", []), [
		{"op": "replace", "path": "/principal/kind", "value": "anonymous"},
	])
	decision := request.decision with input as document
	decision.effect == "allow"
	_ids(decision) == {"request.public"}
}

test_local_principal_is_authenticated if {
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/principal/kind", "value": "local"}],
	)
	decision := request.decision with input as document with data.opencode.loaded.teams as {"a": true}
	decision.effect == "allow"
}

test_directory_inside_is_allowed if {
	document := json.patch(testing.request("GET", "/config", _all), [{
		"op": "replace",
		"path": "/request/directory",
		"value": {"raw": "/p", "real": "/p", "inside": true},
	}])
	decision := request.decision with input as document
	decision.effect == "allow"
}

test_directory_outside_is_refused if {
	document := json.patch(testing.request("GET", "/config", _all), [{
		"op": "replace",
		"path": "/request/directory",
		"value": {"raw": "/etc", "real": "/etc", "inside": false},
	}])
	decision := request.decision with input as document
	_ids(decision) == {"request.directory_outside"}
}

test_team_denial_is_final if {
	decision := request.decision with input as testing.request("GET", "/config", _all)
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.deny as {{"id": "a.no", "message": "no"}}
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "deny"
	_ids(decision) == {"a.no"}
}

test_team_cannot_ask_about_a_request if {
	decision := request.decision with input as testing.request("GET", "/config", _all)
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.ask as {{"id": "a.maybe", "message": "maybe"}}
	decision.effect == "deny"
}

test_team_permission_lifts_no_denial if {
	decision := request.decision with input as testing.request("GET", "/config", [])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.b.allow as {{"id": "b.yes", "message": "yes"}}
	decision.effect == "deny"
}

test_team_can_want_a_full_audit if {
	decision := request.decision with input as testing.request("GET", "/config", ["read"])
		with data.opencode.loaded.teams as {"a": true, "b": true}
		with data.team.a.obligations as {"audit": "full"}
	decision.obligations == {"audit": "full"}
}

test_request_without_segments_is_denied[name] if {
	some name, segments in {"null": null, "object": {}, "string": "config", "of another type": [1]}
	document := json.patch(
		testing.request("GET", "/config", _all),
		[{"op": "replace", "path": "/request/segments", "value": segments}],
	)
	decision := request.decision with input as document
	_ids(decision) == {"request.wrong_kind"}
}

test_interactive_route_needs_execute_whatever_its_segments if {
	document := json.patch(
		testing.request("GET", "/session", ["read"]),
		[{"op": "replace", "path": "/request/segments", "value": []}],
	)
	decision := request.decision with input as document
	decision.needs == ["execute"]
}

test_denial_that_cannot_be_built_is_no_permission if {
	not request.decision with input as {} with data.opencode.config.audit as {}
}
