# METADATA
# title: Protected paths
# description: Files that decide how the project is built and released are changed by people alone.
package team.paths

import data.team.paths.config

deny contains {
	"id": "paths.protected",
	"message": sprintf("%s is protected: propose the change to a person", [path.relative]),
} if {
	some path in input.prompt.paths
	not path.access == "read"
	some folder, true in config.protected
	_is_below(path.relative, folder)
}

_is_below(relative, folder) if lower(relative) == folder

_is_below(relative, folder) if startswith(lower(relative), concat("", [folder, "/"]))
