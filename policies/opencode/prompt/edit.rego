package opencode.prompt

# Changes to files through the file tools.

# METADATA
# title: Ask
# description: A file tool changes files.
ask_by_rule contains {
	"id": "edit.ask",
	"message": sprintf("%s changes files", [input.prompt.tool]),
	"always": [concat(" ", ["edit", path.relative]) |
		some path in input.prompt.paths
		path.access == "write"
	],
} if {
	input.prompt.tool in {"write", "edit", "multiedit", "patch", "delete", "move"}
}

# METADATA
# title: Undo
# description: What a session changed inside the project is put back.
allow contains {
	"id": "edit.revert",
	"message": "files of the project become again what they were",
} if {
	input.prompt.tool == "revert"
	every path in input.prompt.paths {
		path.inside == true
	}
}
