package opencode.prompt

import data.opencode.config

# Terminals with an interactive shell: what is typed there is a person's own
# doing, and no rule sees it. Every other terminal is a command as those of bash.

# METADATA
# title: Interactive shell
# description: A terminal with an interactive shell starts, and the configuration denies it.
deny contains {
	"id": "pty.interactive",
	"message": "terminals with an interactive shell are switched off by pty.interactive",
} if {
	_is_interactive_shell
	config.pty.interactive == "deny"
}

# METADATA
# title: Interactive shell
# description: A terminal with an interactive shell starts, and the configuration wants a person to be asked.
ask_by_rule contains {
	"id": "pty.interactive",
	"message": "a terminal with an interactive shell starts, and no rule sees what is typed there",
	"always": ["pty interactive shell"],
} if {
	_is_interactive_shell
	config.pty.interactive == "ask"
}

# METADATA
# title: Interactive shell
# description: A terminal with an interactive shell starts, and the configuration allows it.
allow contains {
	"id": "pty.interactive",
	"message": "the terminal holds an interactive shell, which is for a person to use",
} if {
	_is_interactive_shell
	config.pty.interactive == "allow"
	count(ask_by_rule) == 0
}

# That what will be typed cannot be known is what the configuration decides about.
_is_known_terminal if {
	_is_interactive_shell
	config.pty.interactive in {"allow", "ask"}
}

# The shell alone, without a command, a script or a file of its own to read.
_is_interactive_shell if {
	input.prompt.tool == "pty"
	input.prompt.command.parsed == true
	input.prompt.command.redirects == []
	input.prompt.command.assigns == []
	[call] := input.prompt.command.calls
	call.dynamic == false
	config.pty.shells[call.name] == true
	count(call.argv) > 0
	every word in call.argv {
		is_string(word)
	}
	every word in array.slice(call.argv, 1, count(call.argv)) {
		config.pty.arguments[word] == true
	}
}
