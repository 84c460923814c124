package server

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"opencode/agent"
	"opencode/agent/git"
)

// route is one entry of the HTTP surface, with what its documentation says.
type route struct {
	method, pattern string
	handler         handler
	doc             op
}

// op documents a route: the OpenAPI document is made of these.
type op struct {
	id      string  // operationId, as published where it is published
	summary string  // a sentence without a full stop
	query   []param // beside those that every route takes
	body    any     // a value of the type of the request's body, nil for none
	// bodyOptional says that the body may be left out.
	bodyOptional bool
	result       any    // a value of the type of the answer, nil for none
	status       int    // of success; 0 is 200
	media        string // of the answer; "" is application/json
}

// param documents a query parameter.
type param struct{ name, kind, about string }

// table is the whole HTTP surface. Every request has passed the gate before it
// is routed, so that a route cannot be forgotten by it: which routes are
// public, and what the others need, is for the policy to say.
func (s *Server) table() []route {
	const (
		get    = http.MethodGet
		post   = http.MethodPost
		put    = http.MethodPut
		patch  = http.MethodPatch
		remove = http.MethodDelete
	)
	return []route{
		// Public in the default policy.
		{get, "/global/health", s.getHealth, op{id: "global.health", summary: "Tell that the server works", result: healthBody{}}},

		// What clients ask for at their start.
		{get, "/path", s.getPath, op{id: "path.get", summary: "Tell the directories", result: pathBody{}}},
		{get, "/project", s.listProjects, op{id: "project.list", summary: "List the projects of this server", result: []projectBody{}}},
		{get, "/project/current", s.getProject, op{id: "project.current", summary: "Return the project of a directory", result: projectBody{}}},
		{get, "/project/{projectID}/directories", s.listProjectDirectories, op{
			id: "project.directories", summary: "List the directories of a project", result: []projectDirectory{},
		}},
		{get, "/config", s.getConfig, op{id: "config.get", summary: "Return the user's settings, without anything secret", result: configBody{}}},
		{get, "/global/config", s.getConfig, op{id: "global.config.get", summary: "Return the user's settings, without anything secret", result: configBody{}}},
		{get, "/config/providers", s.getConfigProviders, op{
			id: "config.providers", summary: "List the connected providers and their models", result: configProvidersBody{},
		}},
		{get, "/provider", s.getProviders, op{id: "provider.list", summary: "List all providers, and which are connected", result: providersBody{}}},
		{get, "/provider/auth", s.listAuthMethods, op{
			id: "provider.auth", summary: "List the ways in which clients can sign in", result: map[string][]authMethod{},
		}},
		{post, "/provider/{providerID}/oauth/authorize", s.authorize, op{
			id: "provider.oauth.authorize", summary: "Begin a sign-in", body: authorizeBody{}, result: authorizationBody{},
		}},
		{post, "/provider/{providerID}/oauth/callback", s.callback, op{
			id: "provider.oauth.callback", summary: "End a sign-in and keep its credential", body: callbackBody{}, result: true,
		}},
		{put, "/auth/{providerID}", s.putAuth, op{id: "auth.set", summary: "Keep a credential, which is never shown", body: authBody{}, result: true}},
		{remove, "/auth/{providerID}", s.deleteAuth, op{id: "auth.remove", summary: "Forget a credential", result: true}},
		{get, "/agent", s.listAgents, op{id: "app.agents", summary: "List the agents", result: []agentBody{}}},
		{get, "/command", s.listCommands, op{id: "command.list", summary: "List the configured commands", result: []commandBody{}}},
		{get, "/skill", s.constant([]nothing{}), op{id: "app.skills", summary: "List the skills, which are none", result: []nothing{}}},
		{get, "/lsp", s.constant([]nothing{}), op{id: "lsp.status", summary: "List the language servers, which are none", result: []nothing{}}},
		{get, "/mcp", s.constant(nothing{}), op{id: "mcp.status", summary: "List the MCP servers that run, which are none", result: nothing{}}},
		{get, "/formatter", s.constant([]nothing{}), op{id: "formatter.status", summary: "List the formatters, which are none", result: []nothing{}}},
		{get, "/question", s.constant([]nothing{}), op{id: "question.list", summary: "List the questions of tools, which are none", result: []nothing{}}},
		{post, "/question/{requestID}/reply", s.questionNotFound, op{id: "question.reply", summary: "Answer a question of a tool", result: true}},
		{post, "/question/{requestID}/reject", s.questionNotFound, op{id: "question.reject", summary: "Reject a question of a tool", result: true}},
		{post, "/log", s.postLog, op{id: "app.log", summary: "Write a line to the server's log", body: logBody{}, result: true}},
		{get, "/experimental/capabilities", s.constant(capabilitiesBody{}), op{
			id: "experimental.capabilities.get", summary: "Tell what is experimental and there", result: capabilitiesBody{},
		}},
		{get, "/experimental/console", s.constant(consoleBody{ConsoleManagedProviders: []string{}}), op{
			id: "experimental.console.get", summary: "Tell of the console, which there is none of", result: consoleBody{},
		}},
		{get, "/experimental/resource", s.constant(nothing{}), op{
			id: "experimental.resource.list", summary: "List the resources of MCP servers, which are none", result: nothing{},
		}},
		{get, "/experimental/workspace", s.constant([]nothing{}), op{
			id: "experimental.workspace.list", summary: "List the workspaces, which are none", result: []nothing{},
		}},
		{get, "/experimental/workspace/status", s.constant([]nothing{}), op{
			id: "experimental.workspace.status", summary: "List the states of workspaces, which are none", result: []nothing{},
		}},

		// The same in the second form of the published API.
		{get, "/api/health", s.constant(apiHealthBody{true}), op{id: "v2.health.get", summary: "Tell that the server works", result: apiHealthBody{}}},
		{get, "/api/location", s.getLocation, op{id: "v2.location.get", summary: "Tell the directory and its project", result: locationBody{}}},
		{get, "/api/agent", s.listAPIAgents, op{id: "v2.agent.list", summary: "List the agents", result: locatedBody[apiAgentBody]{}}},
		{get, "/api/command", s.listAPICommands, op{id: "v2.command.list", summary: "List the configured commands", result: locatedBody[apiCommandBody]{}}},
		{get, "/api/provider", s.listAPIProviders, op{id: "v2.provider.list", summary: "List the connected providers", result: locatedBody[apiProviderBody]{}}},
		{get, "/api/model", s.listAPIModels, op{id: "v2.model.list", summary: "List the models of the connected providers", result: locatedBody[apiModelBody]{}}},
		{get, "/api/integration", s.noneHere, op{
			id: "v2.integration.list", summary: "List what clients can connect, which is none", result: locatedBody[nothing]{},
		}},
		{get, "/api/reference", s.noneHere, op{id: "v2.reference.list", summary: "List the references, which are none", result: locatedBody[nothing]{}}},
		{get, "/api/skill", s.noneHere, op{id: "v2.skill.list", summary: "List the skills, which are none", result: locatedBody[nothing]{}}},

		// Sessions.
		{get, "/session", s.listSessions, op{
			id: "session.list", summary: "List sessions, the last updated first", result: []agent.SessionBody{},
			query: []param{
				{"roots", "boolean", "only sessions without a parent"},
				{"search", "string", "a part of the title, in any case"},
				{"start", "integer", "only sessions updated since, in milliseconds"},
				{"limit", "integer", "the most to return"},
				{"scope", "string", "project for the sessions of all directories"},
				{"path", "string", "only sessions in this directory below the project"},
			},
		}},
		{get, "/session/status", s.sessionStatus, op{
			id: "session.status", summary: "Return the sessions that run something", result: map[string]statusBody{},
		}},
		{post, "/session", s.createSession, op{
			id: "session.create", summary: "Start a session", body: createSessionBody{}, bodyOptional: true, result: agent.SessionBody{},
		}},
		{get, "/session/{sessionID}", s.getSession, op{id: "session.get", summary: "Return a session", result: agent.SessionBody{}}},
		{patch, "/session/{sessionID}", s.patchSession, op{
			id: "session.update", summary: "Change the title, the metadata or the archive time of a session", body: patchSessionBody{}, result: agent.SessionBody{},
		}},
		{remove, "/session/{sessionID}", s.deleteSession, op{id: "session.delete", summary: "Remove a session and its sub-sessions", result: true}},
		{get, "/session/{sessionID}/children", s.listChildren, op{id: "session.children", summary: "List the sub-sessions of a session", result: []agent.SessionBody{}}},
		{get, "/session/{sessionID}/todo", s.listTodos, op{id: "session.todo", summary: "List what a model has noted to do", result: []todoBody{}}},
		{get, "/session/{sessionID}/diff", s.sessionDiff, op{
			id: "session.diff", summary: "Return what a session has changed and what is not undone", result: []git.FileDiff{},
			query: []param{{"messageID", "string", "only what this message and the answers to it changed"}},
		}},
		{post, "/session/{sessionID}/fork", s.forkSession, op{
			id: "session.fork", summary: "Copy a session, up to a message if one is given", body: forkBody{}, bodyOptional: true, result: agent.SessionBody{},
		}},
		{post, "/session/{sessionID}/revert", s.postRevert, op{
			id: "session.revert", summary: "Undo a message and all after it, with the files that they changed", body: revertBody{}, result: agent.SessionBody{},
		}},
		{post, "/session/{sessionID}/unrevert", s.postUnrevert, op{id: "session.unrevert", summary: "Take back what was undone", result: agent.SessionBody{}}},
		{post, "/session/{sessionID}/summarize", s.postSummarize, op{id: "session.summarize", summary: "Have a model summarize a session", body: useModelBody{}, result: true}},
		{post, "/session/{sessionID}/init", s.postSummarize, op{id: "session.init", summary: "Have a model look at the project", body: useModelBody{}, result: true}},
		{post, "/session/{sessionID}/command", s.postCommand, op{id: "session.command", summary: "Have a model carry out a command", body: runCommandBody{}, result: messageBody{}}},
		{post, "/session/{sessionID}/message", s.postMessage, op{id: "session.prompt", summary: "Send a message to a model and return its answer", body: promptBody{}, result: messageBody{}}},
		{post, "/session/{sessionID}/prompt_async", s.postPromptAsync, op{
			id: "session.prompt_async", summary: "Send a message to a model, whose answer comes with the events", body: promptBody{}, status: http.StatusNoContent,
		}},
		{get, "/session/{sessionID}/message/{messageID}", s.getMessage, op{id: "session.message", summary: "Return a message", result: messageBody{}}},
		{remove, "/session/{sessionID}/message/{messageID}", s.deleteMessage, op{id: "session.deleteMessage", summary: "Remove a message; what it changed stays", result: true}},
		{get, "/session/{sessionID}/message", s.listMessages, op{
			id: "session.messages", summary: "List the messages of a session, oldest first", result: []messageBody{},
			query: []param{
				{"limit", "integer", "the most to return, counted from the last"},
				{"before", "string", "only messages before the one with this id"},
			},
		}},
		{post, "/session/{sessionID}/shell", s.postShell, op{
			id: "session.shell", summary: "Run a command and return the message that holds its outcome", body: shellBody{}, result: messageBody{},
		}},
		{post, "/session/{sessionID}/abort", s.postAbort, op{id: "session.abort", summary: "End what a session runs", result: true}},

		// Terminals.
		{get, "/pty", s.listPTYs, op{id: "pty.list", summary: "List the terminals", result: []agent.PTY{}}},
		{post, "/pty", s.createPTY, op{
			id: "pty.create", summary: "Start a command on a terminal, by default the user's shell", body: createPTYBody{}, bodyOptional: true, result: agent.PTY{},
		}},
		{get, "/pty/shells", s.listShells, op{id: "pty.shells", summary: "List the shells of the machine", result: []shellInfo{}}},
		{get, "/pty/{ptyID}", s.getPTY, op{id: "pty.get", summary: "Return a terminal", result: agent.PTY{}}},
		{put, "/pty/{ptyID}", s.putPTY, op{id: "pty.update", summary: "Change the title or the size of a terminal", body: putPTYBody{}, result: agent.PTY{}}},
		{remove, "/pty/{ptyID}", s.deletePTY, op{id: "pty.remove", summary: "End a terminal with all that it started", result: true}},
		{post, "/pty/{ptyID}/connect-token", s.postPTYTicket, op{
			id: "pty.connectToken", summary: "Return a ticket that is good for one connection to a terminal", result: ticketBody{},
		}},
		{get, "/pty/{ptyID}/connect", s.connectPTY, op{
			id: "pty.connect", summary: "Connect to a terminal by WebSocket", status: http.StatusSwitchingProtocols,
			query: []param{
				{"cursor", "integer", "where to go on, in UTF-16 code units since the start; -1 is now"},
				{"ticket", "string", "a ticket, in place of a token"},
			},
		}},

		// Questions that wait for a person.
		{get, "/permission", s.listPermissions, op{id: "permission.list", summary: "List the questions that wait for an answer", result: []agent.Permission{}}},
		{post, "/permission/{requestID}/reply", s.replyPermission, op{id: "permission.reply", summary: "Answer a question", body: replyBody{}, result: true}},
		{post, "/session/{sessionID}/permissions/{permissionID}", s.respondPermission, op{
			id: "permission.respond", summary: "Answer a question of a session", body: respondBody{}, result: true,
		}},

		// What git knows.
		{get, "/vcs", s.getVCS, op{id: "vcs.get", summary: "Return the branch of the project", result: vcsBody{}}},
		{get, "/file/status", s.fileStatus, op{id: "file.status", summary: "List what differs from the last commit", result: []git.FileStatus{}}},

		// Policy.
		{get, "/policy", s.getPolicy, op{id: "policy.get", summary: "Describe the policy in force", result: policyBody{}}},
		{get, "/policy/decision", s.listDecisions, op{
			id: "policy.decisions", summary: "List recent decisions, the last first", result: []decisionBody{},
			query: []param{
				{"kind", "string", "request or prompt"},
				{"effect", "string", "allow, ask or deny"},
				{"rule", "string", "the id of a rule that took part"},
				{"principal", "string", "the id of a token, or local"},
				{"sessionID", "string", "the id of a session"},
				{"subject", "string", "a method and route, or a tool"},
				{"since", "integer", "milliseconds since 1970"},
				{"limit", "integer", "the most to return, 100 unless it is said, at most 1000"},
			},
		}},
		{get, "/doc", s.getDoc, op{id: "doc", summary: "Return this document"}},

		// Files of a project.
		{get, "/file", s.listFiles, op{
			id: "file.list", summary: "List a directory, the directories in it first", result: []fileNodeBody{},
			query: []param{{"path", "string", "the directory, relative to the project directory or absolute; required"}},
		}},
		{get, "/file/content", s.getFileContent, op{
			id: "file.read", summary: "Return what a file holds, binary data in base64", result: fileContentBody{},
			query: []param{{"path", "string", "the file, relative to the project directory or absolute; required"}},
		}},
		{get, "/find", s.findText, op{
			id: "find.text", summary: "Find the first lines that match", result: []textMatchBody{},
			query: []param{{"pattern", "string", "a regular expression in the syntax of RE2; required"}},
		}},
		{get, "/find/file", s.findFiles, op{
			id: "find.files", summary: "Find the files and directories whose paths fit best", result: []string{},
			query: []param{
				{"query", "string", "letters of the path in their order; empty fits all; required"},
				{"dirs", "boolean", "false leaves directories out"},
				{"type", "string", "file or directory, for these alone"},
				{"limit", "integer", "the most to return, 1 to 200; 10 if it is left out"},
			},
		}},
		{get, "/find/symbol", s.findSymbols, op{
			id: "find.symbols", summary: "Find symbols; there are none without a language server", result: []nothing{},
			query: []param{{"query", "string", "a part of the name"}},
		}},
		{get, "/api/fs/find", s.findEntries, op{
			id: "v2.fs.find", summary: "Find the files and directories whose paths fit best", result: locatedBody[entryBody]{},
			query: []param{
				{"query", "string", "letters of the path in their order; empty fits all; required"},
				{"type", "string", "file or directory, for these alone"},
				{"limit", "integer", "the most to return, up to 200; 50 if it is left out"},
			},
		}},
		{get, "/api/fs/list", s.listEntries, op{
			id: "v2.fs.list", summary: "List a directory, the directories in it first", result: locatedBody[entryBody]{},
			query: []param{{"path", "string", "the directory; the project directory if it is left out"}},
		}},
		{get, "/api/fs/read/*", s.getFileData, op{id: "v2.fs.read", summary: "Return what a file holds as it is", media: "application/octet-stream"}},

		// Events.
		{get, "/event", s.getEvents, op{id: "event.subscribe", summary: "Stream the events of a directory", result: agent.Event{}, media: eventStream}},
		{get, "/global/event", s.getGlobalEvents, op{id: "global.event", summary: "Stream the events of all directories", result: globalEvent{}, media: eventStream}},
	}
}

// eventStream is the media type of server-sent events.
const eventStream = "text/event-stream"

// routeKey names a route.
type routeKey struct{ method, pattern string }

// routes makes the router, and returns the handlers of its routes beside it.
func (s *Server) routes() (*chi.Mux, map[routeKey]http.HandlerFunc) {
	r := chi.NewRouter()
	handlers := map[routeKey]http.HandlerFunc{}
	add := func(method, pattern string, h handler) {
		handle := s.handle(h)
		r.Method(method, pattern, handle)
		handlers[routeKey{method, pattern}] = handle
		// HEAD is answered wherever GET is.
		if method == http.MethodGet {
			r.Head(pattern, handle)
			handlers[routeKey{http.MethodHead, pattern}] = handle
		}
	}
	for _, route := range s.table() {
		add(route.method, route.pattern, route.handler)
	}
	// The rest of the published API: known to the router and to policy, so
	// that it is refused to whoever may not use it, and not offered to others.
	for _, route := range published {
		add(route.method, route.pattern, s.notOffered)
	}
	return r, handlers
}
