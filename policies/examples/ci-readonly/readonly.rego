# METADATA
# title: Read-only CI
# description: >-
#   A token with the attribute role=ci reads sessions and files, and does
#   nothing else, whatever permissions it was made with. Reading a session
#   needs execute, so such a token is made with
#   `--permissions read,execute --attribute role=ci`.
package team.readonly

import data.team.readonly.config

deny contains {
	"id": "readonly.request",
	"message": "a CI token only reads",
} if {
	_is_ci
	input.kind == "request"
	not _is_reading
}

deny contains {
	"id": "readonly.remote",
	"message": sprintf("CI tokens are not accepted from %s", [input.request.remote.ip]),
} if {
	_is_ci
	input.kind == "request" # mutate: equivalent drop because the message names what only a request has
	not _is_from_known_network
}

deny contains {
	"id": "readonly.prompt",
	"message": "a CI token runs no tool",
} if {
	_is_ci
	input.kind == "prompt"
}

# Only a token that says what it is gets away without being one of CI's.
_is_ci if input.principal.attributes.role == "ci"

_is_reading if {
	input.request.method in {"GET", "HEAD"}
	input.request.websocket == false
	config.routes[input.request.route] == true
}

_is_from_known_network if {
	some network, true in config.networks
	net.cidr_contains(network, input.request.remote.ip)
}
