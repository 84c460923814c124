// Signing in to providers by the SDK, as clients do: each step is a line.
import { createOpencodeClient } from "@opencode-ai/sdk/v2"

const { BASE_URL: baseUrl, PASSWORD: password, A_KEY: key, CODE: code } = process.env
const client = createOpencodeClient({ baseUrl, headers: { Authorization: `Basic ${btoa(`opencode:${password}`)}` } })
const tell = (step, { data, error, response }) => {
  console.log(JSON.stringify({ step, status: response.status, data: data ?? null, error: error ?? null }))
  return data
}
const connected = async (step) => {
  const { data, error, response } = await client.provider.list()
  tell(step, { data: data?.connected, error, response })
}

await connected("none")
tell("set", await client.auth.set({ providerID: "mistral", auth: { type: "api", key } }))
await connected("mistral")
const methods = (await client.provider.auth()).data.anthropic
tell("methods", { data: methods, response: { status: 200 } })
const method = methods.findIndex((m) => m.type === "oauth" && m.prompts)
const at = { providerID: "anthropic", method }
tell("refused", await client.provider.oauth.authorize(at))
const begun = tell("begun", await client.provider.oauth.authorize({ ...at, inputs: { [methods[method].prompts[0].key]: "yes" } }))
tell("no code", await client.provider.oauth.callback(at))
const state = new URL(begun.url).searchParams.get("state")
tell("done", await client.provider.oauth.callback({ ...at, code: `${code}#${state}` }))
await connected("both")
tell("again", await client.provider.oauth.callback({ ...at, code: `${code}#${state}` }))
tell("remove", await client.auth.remove({ providerID: "mistral" }))
await connected("anthropic")
