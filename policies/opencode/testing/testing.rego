# METADATA
# title: Inputs for tests
# description: >-
#   Builds input documents for the tests of policies, so that a test says only
#   what it is about. Serving never loads this package.
package opencode.testing

# METADATA
# title: Principal
# description: A token with the given permissions.
token(permissions) := {
	"kind": "token",
	"id": "tok_test",
	"name": "test",
	"permissions": permissions,
	"expired": false,
	"expires_in_days": 30,
	"attributes": {},
}

# METADATA
# title: Request
# description: A request for a route, spelled like its path, with the given permissions.
request(method, route, permissions) := {
	"version": 1,
	"kind": "request",
	"time": {"unix": 1795188300, "weekday": "friday", "hour": 15},
	"principal": token(permissions),
	"request": {
		"method": method,
		"path": route,
		"route": route,
		"segments": [segment | some segment in split(route, "/"); segment != ""],
		"canonical": true,
		"query": {},
		"host": "127.0.0.1:4096",
		"origin": null,
		"websocket": false,
		"remote": {"ip": "127.0.0.1", "loopback": true},
		"bytes": 0,
		"directory": null,
	},
}

# METADATA
# title: Prompt
# description: A call of a tool that names the given files, by a token with all permissions.
prompt(tool, args, paths) := {
	"version": 1,
	"kind": "prompt",
	"time": {"unix": 1795188300, "weekday": "friday", "hour": 15},
	"principal": token(["read", "write", "execute"]),
	"prompt": {"tool": tool, "args": args, "paths": paths},
	"session": {
		"id": "ses_test",
		"parent": null,
		"depth": 0,
		"agent": "build",
		"directory": "/p",
		"interactive": true,
		"approvals": [],
		"restrictions": [],
	},
}

# METADATA
# title: Command
# description: A command that runs programs with the given argument vectors, one after the other.
bash(argvs) := object.union(document, {"prompt": {"command": {
	"calls": [call(argv) | some argv in argvs],
	"redirects": [],
	"files": [],
	"assigns": [],
	"dynamic": false,
	"parsed": true,
	"problem": null,
}}}) if {
	document := prompt("bash", {"command": concat("; ", [concat(" ", argv) | some argv in argvs])}, [])
}

# METADATA
# title: Call
# description: The facts about one program that a command runs. The second word is its sub-command.
call(argv) := {
	"name": argv[0],
	"argv": argv,
	"path": "",
	"subcommand": _second(argv),
	"operand": "",
	"plain": argv[0],
	"effects": [],
	"code": null,
	"dynamic": false,
	"via": [],
	"text": concat(" ", argv),
}

_second(argv) := argv[1] if count(argv) > 1

else := ""

# METADATA
# title: File
# description: The facts about a file inside the project that is read or written.
file(path, access) := {
	"raw": path,
	"real": concat("/", ["/p", path]),
	"relative": path,
	"inside": true,
	"access": access,
	"exists": true,
	"link": false,
	"kind": "file",
	"links": 1,
	"class": "plain",
	"problem": null,
}
