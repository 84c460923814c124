// What a program does with the published SDK in one sitting, told once for both
// of its entry points. The adapter maps each act to the entry's own calls. The
// story prints one JSON object a line, {"step", ...}, for the Go test to judge:
// here nothing is judged but what the next act needs.

const limit = 30_000

export function tell(step, fields) {
  console.log(JSON.stringify({ step, ...fields }))
}

// data returns what a call answered, and fails with its error.
export function data(step, result) {
  if (result.error !== undefined) {
    throw new Error(`${step}: ${result.response?.status} ${JSON.stringify(result.error)}`)
  }
  return result.data
}

function within(what, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${limit} ms`)), limit)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Watchers wait until what they look at is as they want it.
class Watchers {
  looks = new Set()

  changed() {
    for (const look of this.looks) look()
  }

  // until resolves with what the look returns first that is not undefined.
  until(what, look, signal) {
    let mine
    const found = new Promise((resolve, reject) => {
      mine = () => {
        const value = look()
        if (value !== undefined) resolve(value)
      }
      signal?.addEventListener("abort", () => reject(new Error(`${what}: not waited for any more`)))
      this.looks.add(mine)
      mine()
    })
    return within(what, found).finally(() => this.looks.delete(mine))
  }
}

// Events keeps every event of a stream, and lets others wait for one.
class Events {
  all = []
  watchers = new Watchers()

  constructor(stream) {
    this.ended = this.read(stream)
    // How it ends is looked at once the story has ended it.
    this.ended.catch(() => {})
  }

  async read(stream) {
    for await (const event of stream) {
      this.all.push(event)
      this.watchers.changed()
    }
  }

  // until waits for the first event from the index on that the test takes.
  until(type, from, test, signal) {
    const look = () => this.all.slice(from).find((e) => e.type === type && test(e.properties))
    return this.watchers.until(type, look, signal)
  }

  idle(sessionID, from) {
    return this.until("session.idle", from, (p) => p.sessionID === sessionID)
  }

  of(sessionID, from) {
    return this.all.slice(from).filter(({ properties: p = {} }) =>
      (p.sessionID ?? p.info?.sessionID ?? p.info?.id ?? p.part?.sessionID) === sessionID)
  }
}

// answering runs an act and answers, once, what it is asked about on the way.
// It returns what the act gave, and the question if there was one.
async function answering(events, adapter, response, act) {
  const from = events.all.length
  const over = new AbortController()
  let question, reply
  const asked = events
    .until("permission.asked", from, () => true, over.signal)
    .then(async (e) => {
      question = e.properties
      reply = await adapter.reply(question, response)
    })
    .catch((e) => {
      if (!over.signal.aborted) throw e
    })
  const acted = act()
  // A reply that is refused ends the story, and does not wait for the act.
  await Promise.race([acted, asked.then(() => acted)])
  over.abort()
  await asked
  return { result: await acted, question, reply }
}

// Terminal types into a terminal and reads what it writes.
class Terminal {
  text = ""
  cursor = null
  watchers = new Watchers()

  constructor(socket) {
    this.socket = socket
    socket.binaryType = "arraybuffer"
    socket.addEventListener("message", ({ data: frame }) => {
      if (typeof frame === "string") {
        this.text += frame
      } else {
        const bytes = new Uint8Array(frame)
        if (bytes[0] === 0) this.cursor = JSON.parse(new TextDecoder().decode(bytes.subarray(1))).cursor
      }
      this.watchers.changed()
    })
    const opened = new Promise((resolve, reject) => {
      socket.addEventListener("open", () => resolve())
      socket.addEventListener("error", (e) => reject(new Error(`terminal: ${e.message || "refused"}`)))
    })
    this.opened = within("terminal", opened)
    this.closed = new Promise((resolve) => socket.addEventListener("close", (e) => resolve(e.code)))
  }

  // shows waits for a line with the pattern, and returns what matches. What is
  // typed before the shell is up stands before its prompt, and the output after.
  shows(pattern) {
    const look = () => this.text.split(/\r?\n/).map((line) => line.match(pattern)?.[0]).find((match) => match !== undefined)
    return this.watchers.until(`terminal line ${pattern}`, look)
  }
}

// connect opens a WebSocket, and says what the server answered if it does not.
function connect(baseUrl, path, query) {
  const url = new URL(path, baseUrl.replace(/^http/, "ws"))
  for (const [k, v] of Object.entries(query)) url.searchParams.set(k, v)
  return new Terminal(new WebSocket(url))
}

export async function story(adapter) {
  const { BASE_URL: baseUrl } = process.env
  const stop = new AbortController()
  const events = new Events(await adapter.subscribe(stop.signal))
  await events.until("server.connected", 0, () => true)

  const session = await adapter.create("made by the SDK")
  tell("create", { session })
  tell("get", { session: await adapter.get(session.id) })
  tell("list", { sessions: await adapter.list() })

  // A command that is allowed.
  let from = events.all.length
  const shell = await adapter.shell(session.id, "echo from-the-shell")
  await events.idle(session.id, from)
  tell("shell", { answer: shell, events: events.of(session.id, from) })

  // A command that is asked about: approved, then rejected.
  from = events.all.length
  const pushed = await answering(events, adapter, "once", () => adapter.shellRaw(session.id, "git push origin HEAD:refs/heads/pushed"))
  await events.idle(session.id, from)
  tell("push", {
    question: pushed.question, reply: pushed.reply, answer: pushed.result.data, status: pushed.result.response.status,
    error: pushed.result.error, events: events.of(session.id, from),
  })
  const rejected = await answering(events, adapter, "reject", () => adapter.shellRaw(session.id, "git push origin HEAD:refs/heads/rejected"))
  tell("reject", { question: rejected.question, status: rejected.result.response.status, error: rejected.result.error })

  // Messages.
  const messages = await adapter.messages(session.id)
  tell("messages", { messages })
  tell("message", { message: await adapter.message(session.id, messages[0].info.id) })
  tell("diff", { diff: await adapter.diff(session.id) })
  tell("todo", { todo: await adapter.todo(session.id) })

  // Files.
  tell("file.list", { nodes: await adapter.fileList(".") })
  tell("file.read", { content: await adapter.fileRead("hello.txt") })
  if (!process.env.NO_SEARCH) tell("find.text", { matches: await adapter.findText("needle") })
  if (!process.env.NO_SEARCH) tell("find.files", { files: await adapter.findFiles("hello") })

  // A terminal.
  const opened = await answering(events, adapter, "once", () => adapter.ptyCreate({ command: "/bin/sh", args: [], title: "the terminal" }))
  const pty = opened.result
  tell("pty.create", { pty, question: opened.question })
  const { path, query } = await adapter.ptyConnect(pty.id)
  const terminal = connect(baseUrl, path, query)
  await terminal.opened
  terminal.socket.send("echo $((6*7))\n")
  const sum = await terminal.shows(/\b42$/)
  tell("pty.size", { pty: await adapter.ptyResize(pty.id, { rows: 41, cols: 113 }) })
  terminal.socket.send("stty size\n")
  tell("pty.type", { sum, size: await terminal.shows(/\b\d+ \d+$/), cursor: terminal.cursor })
  tell("pty.list", { ptys: await adapter.ptyList() })
  tell("pty.remove", { removed: await adapter.ptyRemove(pty.id), left: await adapter.ptyList() })
  await within("the terminal closes", terminal.closed)
  await events.until("pty.deleted", 0, (p) => p.id === pty.id)
  if (adapter.refused) tell("pty.refused", { status: await adapter.refused(pty.id) })

  // The rest of a session's life.
  const fork = await adapter.fork(session.id)
  tell("fork", { session: fork, messages: await adapter.messages(fork.id) })
  const child = await adapter.createChild(session.id, "a child")
  tell("children", { child, children: await adapter.children(session.id) })
  tell("revert", { session: await adapter.revert(session.id, messages.at(-1).info.id) })
  tell("unrevert", { session: await adapter.unrevert(session.id) })
  from = events.all.length
  tell("update", { session: await adapter.update(session.id, "renamed by the SDK") })
  const updated = await events.until("session.updated", from, (p) => p.info.title === "renamed by the SDK")
  tell("updated", { info: updated.properties.info })

  // A command that is aborted while it runs.
  from = events.all.length
  const running = adapter.shellRaw(session.id, "echo started; sleep 60")
  await events.until("message.part.updated", from, ({ part }) => part.state?.status === "running" && part.sessionID === session.id)
  const aborted = await adapter.abort(session.id)
  const ended = await within("the aborted command", running)
  tell("abort", { aborted, status: ended.response.status, answer: ended.data, error: ended.error })

  tell("delete", { deleted: await adapter.remove(session.id), left: (await adapter.list()).map((s) => s.id) })
  stop.abort()
  await within("the end of the stream", events.ended.catch(() => {}))
  tell("end", { events: events.all.length })
}
