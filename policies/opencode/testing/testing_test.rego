package opencode.testing_test

import data.opencode.testing

test_request_has_the_shape_of_a_request if {
	document := testing.request("GET", "/session/{sessionID}", ["read"])
	document.request.segments == ["session", "{sessionID}"]
	document.principal.permissions == ["read"]
}

test_command_has_the_shape_of_a_command if {
	document := testing.bash([["git", "push"], ["ls"]])
	document.prompt.args.command == "git push; ls"
	[call.subcommand | some call in document.prompt.command.calls] == ["push", ""]
}
