package opencode.prompt

import data.opencode.config

# Files: what a tool names, and what the redirections and programs of a command use.

# METADATA
# title: Unresolved
# description: Where the path leads cannot be known.
deny contains {
	"id": "path.unresolved",
	"message": sprintf("the path %s leads nowhere that can be known: %s", [_shown(path), _path_problem(path)]),
} if {
	some path in input.prompt.paths
	not path.problem == null
}

# METADATA
# title: Outside
# description: The file is outside the project.
deny contains {
	"id": "path.outside",
	"message": sprintf("the path %s is outside the project", [_shown(path)]),
} if {
	some path in input.prompt.paths
	not path.inside == true
	not _is_allowed_outside(path)
	not _is_asked_outside(path)
}

# METADATA
# title: Special file
# description: The file is a device, a pipe or a socket.
deny contains {
	"id": "path.special_file",
	"message": sprintf("the path %s is a device, a pipe or a socket", [_shown(path)]),
} if {
	some path in input.prompt.paths
	not _is_ordinary(path)
	not _is_allowed_outside(path)
}

# METADATA
# title: Outside ask
# description: A command uses a temporary file, or reads a file outside that is not one of the system's.
ask_by_rule contains {
	"id": "path.outside_ask",
	"message": sprintf("the path %s is outside the project", [_shown(path)]),
	"always": [],
} if {
	some path in input.prompt.paths
	not path.inside == true
	not _is_allowed_outside(path)
	_is_asked_outside(path)
}

# METADATA
# title: Secret
# description: The file holds a secret (keys, credentials, .env).
ask_by_rule contains {
	"id": "path.secret",
	"message": sprintf("the path %s holds a secret", [_shown(path)]),
	"always": [],
} if {
	some path in input.prompt.paths
	not _is_no_secret(path)
}

# METADATA
# title: Hard link
# description: The file has several names, which may be that of a secret or lie outside the project.
ask_by_rule contains {
	"id": "path.hard_link",
	"message": sprintf("the file %s has other names, which may be outside the project", [_shown(path)]),
	"always": [],
} if {
	some path in input.prompt.paths
	path.inside == true
	path.links > 1
	not _is_linked_by_tools(path)
}

# METADATA
# title: Write protected
# description: The file steers other tools (.git, CI, shell and editor configuration) and is written.
ask_by_rule contains {
	"id": "path.write_protected",
	"message": sprintf("the path %s steers tools that run outside this policy", [_shown(path)]),
	"always": [],
} if {
	some path in input.prompt.paths
	not path.access == "read"
	path.class in {"vcs", "agent-config"}
}

# METADATA
# title: Read inside
# description: Files of the project are read.
allow contains {
	"id": "path.read_inside",
	"message": "the files are inside the project and are only read",
} if {
	input.prompt.tool in {"read", "list", "glob", "grep"}
	count(input.prompt.paths) > 0
	every path in input.prompt.paths {
		path.access == "read"
	}
	count(ask_by_rule) == 0
}

_is_linked_by_tools(path) if {
	some name in split(path.relative, "/")
	config.hard_links[name] == true
}

# A class that is missing or not known may be any.
_is_no_secret(path) if path.class in {"vcs", "agent-config", "plain"}

# A member that is missing makes a call of a built-in undefined, and its
# negation too: what must hold is asked by a rule of its own.
_is_ordinary(path) if path.kind in {"file", "dir", "none"}

_shown(path) := path.raw if {
	is_string(path.raw)
} else := "without a name"

_path_problem(path) := path.problem if {
	is_string(path.problem)
} else := "no reason is known"

# Only commands use files outside: a tool's files are below the project.
_is_allowed_outside(path) if {
	_is_command
	config.outside_allow[path.real] == true
}

_is_allowed_outside(path) if {
	_is_command
	path.access == "read"
	_is_ordinary(path)
	_is_within(path.real, config.outside_read)
}

_is_asked_outside(path) if {
	_is_command
	_is_within(path.real, config.outside_ask)
}

_is_asked_outside(path) if {
	_is_command
	path.access == "read"
	is_string(path.real)
	not _is_closed(path)
}

_is_closed(path) if _is_within(path.real, config.outside_deny)

# The place itself, or one above it.
_is_within(real, places) if {
	parts := split(real, "/")
	some i in numbers.range(2, count(parts))
	places[concat("/", array.slice(parts, 0, i))] == true
}
