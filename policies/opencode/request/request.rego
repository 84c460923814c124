# METADATA
# title: Requests
# description: >-
#   Decides each HTTP request. The method asks for read or write, an
#   interactive route asks for execute as well, and whatever is not known is
#   refused.
package opencode.request

import data.opencode.config
import data.opencode.loaded
import data.opencode.team

# METADATA
# title: Request decision
# description: The decision on an HTTP request. It denies unless everything that must hold does.
# entrypoint: true
decision := {
	# What most requests are, in one body: every rule that is asked costs as much
	# as ten such lines. The branches below say the same of all others.
	"effect": "allow",
	"rules": [{
		"id": "request.permitted",
		"effect": "allow",
		"message": "the principal holds every permission that the request needs",
	}],
	"needs": [],
	"obligations": {"audit": settings.audit.request},
} if {
	input.version == 1
	input.kind == "request"
	input.request.canonical == true
	input.request.directory == null
	input.principal.expired == false
	input.principal.kind in {"token", "local"}
	"execute" in input.principal.permissions
	settings := config
	settings.routes[input.request.route][input.request.method] == true
	settings.methods[input.request.method] in input.principal.permissions
	object.get(settings.public_routes, input.request.route, null) == null
	[segment | some segment in input.request.segments; is_string(segment)] == input.request.segments
	loaded.teams == {}
} else := {
	"effect": "allow",
	"rules": [object.union(rule, {"effect": "allow"}) | some rule in allow],
	"needs": [],
	"obligations": {"audit": _audit},
} if {
	_is_permitted
} else := {
	"effect": "deny",
	"rules": [object.union(rule, {"effect": "deny"}) | some rule in deny],
	"needs": [permission | some permission in needs],
	"obligations": {"audit": _audit},
}

# A request passes if each of these is proven. The denials below say which of
# them is not.
_is_permitted if {
	_is_request
	_is_welcome
	_is_fresh
	_method_permission
	is_known_route
	_is_canonical
	_is_directory_inside
	_may_method
	_may_execute
	count(team.deny) == 0
	count(team.ask) == 0
}

# METADATA
# title: Denials
# description: Each rule that refuses the request, by id and message.
# scope: document

# METADATA
# title: Wrong kind
# description: The input is not a request of version 1.
deny contains {
	"id": "request.wrong_kind",
	"message": "the input does not describe a request of version 1",
} if {
	not _is_request
}

# METADATA
# title: Unauthenticated
# description: No credential, and the route is not public.
deny contains {
	"id": "request.unauthenticated",
	"message": "no valid credential was shown; make a token with `opencode auth token create`",
} if {
	not _is_welcome
}

# METADATA
# title: Token expired
# description: The token has expired.
deny contains {
	"id": "request.token_expired",
	"message": "the token has expired; make a new one with `opencode auth token create`",
} if {
	not _is_fresh
}

# METADATA
# title: Unknown method
# description: The method has no permission assigned.
deny contains {
	"id": "request.unknown_method",
	"message": "the method is not one that the policy knows",
} if {
	not _method_permission
}

# METADATA
# title: Unknown route
# description: The path matches no known route with this method.
deny contains {
	"id": "request.unknown_route",
	"message": "the path is not a route that the policy knows with this method",
} if {
	not is_known_route
}

# METADATA
# title: Path not canonical
# description: The path is spelled in another than its one plain way.
deny contains {
	"id": "request.path_not_canonical",
	"message": "the path is not spelled in its one plain way",
} if {
	not _is_canonical
}

# METADATA
# title: Directory outside
# description: The directory that it names is in no project.
deny contains {
	"id": "request.directory_outside",
	"message": "the directory is not in a project that this server was started for",
} if {
	not _is_directory_inside
}

# METADATA
# title: Missing permission
# description: The principal lacks what method or route need.
deny contains {
	"id": "request.missing_permission",
	"message": sprintf("the request needs the permission %s, which the token lacks", [concat(", ", needs)]),
} if {
	count(needs) > 0
}

deny contains rule if some rule in team.deny

# A request cannot wait for a person: what a team asks about is refused.
deny contains rule if some rule in team.ask

# METADATA
# title: Permissions
# description: The rules that let a request pass which nothing denies.
# scope: document

# METADATA
# title: Public
# description: Nothing denies, and the route is public.
allow contains {
	"id": "request.public",
	"message": "the route is public",
} if {
	is_public
}

# METADATA
# title: Permitted
# description: Nothing denies.
allow contains {
	"id": "request.permitted",
	"message": "the principal holds every permission that the request needs",
} if {
	not is_public
}

# METADATA
# title: Missing permissions
# description: The permissions that the request needs and the principal lacks.
needs contains _method_permission if not _may_method

needs contains "execute" if not _may_execute

# METADATA
# title: Known route
# description: Holds if the route with this method is one that the policy knows.
is_known_route if config.routes[input.request.route][input.request.method] == true

# METADATA
# title: Public route
# description: Holds for the routes that need no credential.
is_public if config.public_routes[input.request.route][input.request.method] == true

_is_request if {
	input.version == 1
	input.kind == "request"
	_are_segments_known
}

_are_segments_known if {
	is_array(input.request.segments)
	every segment in input.request.segments {
		is_string(segment)
	}
}

_is_welcome if input.principal.kind in {"token", "local"}

_is_welcome if is_public

_is_fresh if input.principal.expired == false

_is_canonical if input.request.canonical == true

# A public route needs no permission of its method.
_may_method if config.methods[input.request.method] in input.principal.permissions

_may_method if is_public

_may_execute if "execute" in input.principal.permissions

_may_execute if not _needs_execute

# An interactive route needs execute wherever in the path its segment stands,
# and so does one whose pattern says so, whatever the segments are.
_needs_execute if {
	some segment in input.request.segments
	config.execute_segments[segment] == true
}

_needs_execute if {
	is_string(input.request.route)
	some segment in split(input.request.route, "/")
	config.execute_segments[segment] == true
}

_method_permission := config.methods[input.request.method]

# A request that names no directory concerns the server's own first project.
_is_directory_inside if input.request.directory == null

_is_directory_inside if input.request.directory.inside == true

_audit := "full" if team.audit == "full"

else := config.audit.request
