// The story by the second entry of the SDK.
import { createOpencodeClient } from "@opencode-ai/sdk/v2"
import { data, story } from "./sdk_story.mjs"

const { BASE_URL: baseUrl, PASSWORD: password, DIRECTORY: directory } = process.env
const client = createOpencodeClient({ baseUrl, directory, headers: { Authorization: `Basic ${btoa(`opencode:${password}`)}` } })
let spent

await story({
  subscribe: async (signal) => (await client.event.subscribe({}, { signal, sseMaxRetryAttempts: 1 })).stream,
  create: async (title) => data("create", await client.session.create({ title })),
  createChild: async (parentID, title) => data("create", await client.session.create({ parentID, title })),
  get: async (sessionID) => data("get", await client.session.get({ sessionID })),
  list: async () => data("list", await client.session.list()),
  update: async (sessionID, title) => data("update", await client.session.update({ sessionID, title })),
  remove: async (sessionID) => data("delete", await client.session.delete({ sessionID })),
  children: async (sessionID) => data("children", await client.session.children({ sessionID })),
  fork: async (sessionID) => data("fork", await client.session.fork({ sessionID })),
  messages: async (sessionID) => data("messages", await client.session.messages({ sessionID })),
  message: async (sessionID, messageID) => data("message", await client.session.message({ sessionID, messageID })),
  diff: async (sessionID) => data("diff", await client.session.diff({ sessionID })),
  todo: async (sessionID) => data("todo", await client.session.todo({ sessionID })),
  abort: async (sessionID) => data("abort", await client.session.abort({ sessionID })),
  revert: async (sessionID, messageID) => data("revert", await client.session.revert({ sessionID, messageID })),
  unrevert: async (sessionID) => data("unrevert", await client.session.unrevert({ sessionID })),
  shellRaw: (sessionID, command) => client.session.shell({ sessionID, agent: "build", command }),
  shell: async (sessionID, command) => data("shell", await client.session.shell({ sessionID, agent: "build", command })),
  reply: async (question, reply) => data("reply", await client.permission.reply({ requestID: question.id, reply })),
  fileList: async (path) => data("file.list", await client.file.list({ path })),
  fileRead: async (path) => data("file.read", await client.file.read({ path })),
  findText: async (pattern) => data("find.text", await client.find.text({ pattern })),
  findFiles: async (query) => data("find.files", await client.find.files({ query })),
  ptyCreate: async (body) => data("pty.create", await client.pty.create(body)),
  ptyList: async () => data("pty.list", await client.pty.list()),
  ptyResize: async (ptyID, size) => data("pty.update", await client.pty.update({ ptyID, size })),
  ptyRemove: async (ptyID) => data("pty.remove", await client.pty.remove({ ptyID })),
  // A ticket stands in for the credential, which a browser cannot send.
  ptyConnect: async (ptyID) => {
    const { ticket } = data("pty.connectToken", await client.pty.connectToken({ ptyID }, { headers: { "x-opencode-ticket": "1" } }))
    spent = ticket
    return { path: `/pty/${ptyID}/connect`, query: { ticket, directory, cursor: "0" } }
  },
  // The ticket was spent, and with it nothing more can be had.
  refused: async (ptyID) => {
    const url = new URL(`/pty/${ptyID}/connect`, baseUrl)
    url.search = new URLSearchParams({ ticket: spent, directory })
    return (await fetch(url)).status
  },
})
