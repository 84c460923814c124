# METADATA
# title: Releases
# description: A push is approved by a person within two minutes; nobody rewrites what is published.
package team.release

import data.team.release.config

ask contains {
	"id": "release.push",
	"message": "git push publishes commits, which a person must approve",
	"always": ["git push *"],
} if {
	some call in _pushes
}

deny contains {
	"id": "release.force_push",
	"message": sprintf("git push %s rewrites what others have pulled", [word]),
} if {
	some call in _pushes
	some word in call.argv
	_is_force(word)
}

deny contains {
	"id": "release.protected_branch",
	"message": sprintf("the branch %s takes changes through review alone", [branch]),
} if {
	some call in _pushes
	some word in call.argv
	branch := regex.replace(word, `^\+?([^:]*:)?(refs/heads/)?`, "")
	config.protected_branches[branch] == true
}

obligations := {"ask": {"ttl_seconds": 120}} if count(_pushes) > 0

_pushes contains call if {
	some call in input.prompt.command.calls
	call.name == "git"
	call.subcommand == "push"
}

# A plus before a branch forces as well as the options do.
_is_force(word) if startswith(word, "--force")

_is_force(word) if word in {"-f", "--mirror", "--delete", "-d"}

_is_force(word) if startswith(word, "+")
