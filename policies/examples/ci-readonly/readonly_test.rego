package team.readonly_test

import data.opencode.prompt
import data.opencode.request
import data.opencode.testing

_ids(decision) := {rule.id | some rule in decision.rules}

_ci(document) := object.union(document, {"principal": {"attributes": {"role": "ci"}}})

_all := ["read", "write", "execute"]

test_reading_is_allowed[route] if {
	some route in ["/session", "/session/{sessionID}/message", "/file/content"]
	decision := request.decision with input as _ci(testing.request("GET", route, ["read", "execute"]))
	decision.effect == "allow"
}

test_writing_is_denied_whatever_the_permissions[method] if {
	some method in ["POST", "PUT", "PATCH", "DELETE"]
	decision := request.decision with input as _ci(testing.request(method, "/session", _all))
	decision.effect == "deny"
	"readonly.request" in _ids(decision)
}

test_terminal_is_denied_although_it_is_a_get if {
	decision := request.decision with input as _ci(testing.request("GET", "/pty/{ptyID}/connect", _all))
	_ids(decision) == {"readonly.request"}
}

test_web_socket_is_denied if {
	document := object.union(_ci(testing.request("GET", "/event", _all)), {"request": {"websocket": true}})
	decision := request.decision with input as document
	_ids(decision) == {"readonly.request"}
}

test_tools_are_denied if {
	decision := prompt.decision with input as _ci(testing.bash([["ls"]]))
	_ids(decision) == {"readonly.prompt"}
}

test_company_network_is_known if {
	document := object.union(_ci(testing.request("GET", "/path", ["read"])), {"request": {"remote": {"ip": "10.20.3.4"}}})
	decision := request.decision with input as document
	decision.effect == "allow"
}

test_other_network_is_denied if {
	document := object.union(_ci(testing.request("GET", "/path", ["read"])), {"request": {"remote": {"ip": "192.0.2.1"}}})
	decision := request.decision with input as document
	_ids(decision) == {"readonly.remote"}
}

test_other_tokens_are_not_concerned if {
	decision := request.decision with input as testing.request("POST", "/session", _all)
	decision.effect == "allow"
}

test_other_tokens_come_from_anywhere if {
	document := object.union(testing.request("GET", "/path", ["read"]), {"request": {"remote": {"ip": "192.0.2.1"}}})
	decision := request.decision with input as document
	decision.effect == "allow"
}

test_other_tokens_run_tools if {
	decision := prompt.decision with input as testing.bash([["ls"]])
	decision.effect == "allow"
}

test_head_reads_as_well if {
	decision := request.decision with input as _ci(testing.request("HEAD", "/path", ["read"]))
	decision.effect == "allow"
}
