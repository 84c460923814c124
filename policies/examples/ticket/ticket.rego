# METADATA
# title: Tickets
# description: >-
#   A commit names a ticket of a project that the team has. What a command would
#   commit is found out by the extension ticket, which is written in Go.
package team.ticket

import data.team.ticket.config

deny contains {"id": "ticket.unknown_message", "message": commit.problem} if {
	some commit in _commits
	not commit.problem == ""
}

deny contains {
	"id": "ticket.missing",
	"message": sprintf("the first line of a commit names a ticket of %s, such as %s-7", [concat(", ", _projects), _projects[0]]),
} if {
	some commit in _commits
	commit.problem == ""
	not _is_named(commit)
}

_commits contains ext.ticket.commit(call.argv) if {
	some call in input.prompt.command.calls
	call.name == "git"
	call.subcommand == "commit"
}

_is_named(commit) if {
	some ticket in commit.tickets
	config.projects[ticket.project] == true
}

_projects := sort({project | config.projects[project] == true})
