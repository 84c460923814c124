package opencode.prompt

# Restrictions come with a session: its client, or the session above it, wanted
# it to do less than policy lets it. They only ever narrow.

# METADATA
# title: Restricted
# description: The session was made with a restriction that denies this.
deny contains {
	"id": "session.restricted",
	"message": sprintf("the session was made with a restriction that denies %s %s", [restriction.permission, restriction.pattern]),
} if {
	some restriction in input.session.restrictions
	restriction.action == "deny"
	_restricts(restriction)
}

# METADATA
# title: Restrictions malformed
# description: The restrictions of the session are not what they must be.
deny contains {
	"id": "session.malformed",
	"message": "the restrictions of the session cannot be read",
} if {
	input.session
	not _are_restrictions_known
}

# METADATA
# title: Restricted to questions
# description: The session was made with a restriction that wants a person to be asked.
ask_by_rule contains {
	"id": "session.restricted_ask",
	"message": sprintf("the session was made with a restriction that asks about %s %s", [restriction.permission, restriction.pattern]),
	"always": [concat(" ", [restriction.permission, restriction.pattern])],
} if {
	some restriction in input.session.restrictions
	restriction.action == "ask"
	_restricts(restriction)
}

_are_restrictions_known if {
	is_array(input.session.restrictions)
	every restriction in input.session.restrictions {
		is_string(restriction.permission)
		is_string(restriction.pattern)
		restriction.action in {"deny", "ask"}
	}
}

_restricts(restriction) if {
	restriction.permission in _names_of_tool
	_is_about(restriction.pattern)
}

# The names under which clients know the tool.
_names_of_tool := {"*", input.prompt.tool} | _edit_name

# The tool edit has this name of its own.
_edit_name := {"edit"} if {
	input.prompt.tool in {"write", "multiedit", "patch", "delete", "move", "revert"}
} else := set()

_is_about(pattern) if {
	some subject in _subjects
	glob.match(pattern, null, subject)
}

# What cannot be known could be what the pattern means.
_is_about(_) if not _is_command_known

_is_command_known if not input.prompt.command

_is_command_known if {
	input.prompt.command.parsed == true
	input.prompt.command.dynamic == false
	every call in input.prompt.command.calls {
		call.dynamic == false
	}
}

_subjects contains "*"

_subjects contains input.prompt.args.command

_subjects contains concat(" ", call.argv) if some call in input.prompt.command.calls

_subjects contains path.raw if some path in input.prompt.paths

_subjects contains path.relative if some path in input.prompt.paths
