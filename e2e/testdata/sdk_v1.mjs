// The story by the first entry of the SDK.
import { createOpencodeClient } from "@opencode-ai/sdk"
import { data, story } from "./sdk_story.mjs"

const { BASE_URL: baseUrl, PASSWORD: password, DIRECTORY: directory } = process.env
const credential = btoa(`opencode:${password}`)
const client = createOpencodeClient({ baseUrl, directory, headers: { Authorization: `Basic ${credential}` } })
const of = (id) => ({ path: { id } })

await story({
  subscribe: async (signal) => (await client.event.subscribe({ signal, sseMaxRetryAttempts: 1 })).stream,
  create: async (title) => data("create", await client.session.create({ body: { title } })),
  createChild: async (parentID, title) => data("create", await client.session.create({ body: { parentID, title } })),
  get: async (id) => data("get", await client.session.get(of(id))),
  list: async () => data("list", await client.session.list()),
  update: async (id, title) => data("update", await client.session.update({ ...of(id), body: { title } })),
  remove: async (id) => data("delete", await client.session.delete(of(id))),
  children: async (id) => data("children", await client.session.children(of(id))),
  fork: async (id) => data("fork", await client.session.fork({ ...of(id), body: {} })),
  messages: async (id) => data("messages", await client.session.messages(of(id))),
  message: async (id, messageID) => data("message", await client.session.message({ path: { id, messageID } })),
  diff: async (id) => data("diff", await client.session.diff(of(id))),
  todo: async (id) => data("todo", await client.session.todo(of(id))),
  abort: async (id) => data("abort", await client.session.abort(of(id))),
  revert: async (id, messageID) => data("revert", await client.session.revert({ ...of(id), body: { messageID } })),
  unrevert: async (id) => data("unrevert", await client.session.unrevert(of(id))),
  shellRaw: (id, command) => client.session.shell({ ...of(id), body: { agent: "build", command } }),
  shell: async (id, command) => data("shell", await client.session.shell({ ...of(id), body: { agent: "build", command } })),
  reply: async (question, response) =>
    data("reply", await client.postSessionIdPermissionsPermissionId({
      path: { id: question.sessionID, permissionID: question.id }, body: { response },
    })),
  fileList: async (path) => data("file.list", await client.file.list({ query: { path } })),
  fileRead: async (path) => data("file.read", await client.file.read({ query: { path } })),
  findText: async (pattern) => data("find.text", await client.find.text({ query: { pattern } })),
  findFiles: async (query) => data("find.files", await client.find.files({ query: { query } })),
  ptyCreate: async (body) => data("pty.create", await client.pty.create({ body })),
  ptyList: async () => data("pty.list", await client.pty.list()),
  ptyResize: async (id, size) => data("pty.update", await client.pty.update({ ...of(id), body: { size } })),
  ptyRemove: async (id) => data("pty.remove", await client.pty.remove(of(id))),
  // This entry knows no tickets: the credential goes into the query.
  ptyConnect: async (id) => ({ path: `/pty/${id}/connect`, query: { auth_token: credential, directory, cursor: "0" } }),
})
