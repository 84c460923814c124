# METADATA
# title: Rules by attribute
# description: >-
#   What a token may do depends on the attributes that it was made with, for
#   example `opencode auth token create --attribute kind=contractor --attribute team=web`.
package team.attributes

import data.team.attributes.config

deny contains {
	"id": "attributes.team_unknown",
	"message": "the token names a team that is not known",
} if {
	input.principal.attributes.team
	not _team
}

deny contains {
	"id": "attributes.folder",
	"message": sprintf("%s does not belong to the team %s", [path.relative, input.principal.attributes.team]),
} if {
	input.kind == "prompt" # mutate: equivalent drop because a request has no paths
	some path in input.prompt.paths
	not path.access == "read"
	_team
	not _is_own(path)
}

deny contains {
	"id": "attributes.hours",
	"message": "contractors work from 8 to 18 on working days",
} if {
	_is_contractor
	not _is_working_time
}

ask contains {
	"id": "attributes.contractor_command",
	"message": sprintf("a contractor runs %s", [call.name]),
	"always": [concat(" ", [call.name, "*"])],
} if {
	_is_contractor
	some call in input.prompt.command.calls
	not _is_usual(call)
}

# Trusted tokens are spared the question before each edit, inside the project
# and outside of what steers other tools.
allow contains {
	"id": "attributes.trusted_edit",
	"message": "the token is trusted to edit plain files",
} if {
	input.principal.attributes.trust == "edit"
	input.prompt.tool in {"write", "edit", "multiedit"}
	count(input.prompt.paths) > 0
	every path in input.prompt.paths {
		path.inside == true
		path.class == "plain"
	}
}

obligations := {"timeout_seconds": 60, "ask": {"approvers": ["execute", "write"]}} if _is_contractor

_is_contractor if input.principal.attributes.kind == "contractor"

_is_usual(call) if config.contractor_commands[call.name] == true

_team := config.teams[input.principal.attributes.team]

_is_own(path) if {
	some folder, true in _team.folders
	startswith(path.relative, concat("", [folder, "/"]))
}

_is_working_time if {
	config.working_days[input.time.weekday] == true
	input.time.hour >= 8
	input.time.hour < 18
}
