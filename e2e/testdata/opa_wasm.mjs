// Decides with @open-policy-agent/opa-wasm. Each line on standard input asks for
// some decisions on one input, each line on standard output is the answer: what
// they took in nanoseconds, and the last decision.
import { readFileSync } from "node:fs"
import { createInterface } from "node:readline"
import opa from "@open-policy-agent/opa-wasm"

const [wasm, data] = process.argv.slice(2)
const policy = await opa.loadPolicy(readFileSync(wasm))
policy.setData(JSON.parse(readFileSync(data, "utf8")))

for await (const line of createInterface({ input: process.stdin })) {
  const { input, entrypoint, count } = JSON.parse(line)
  const took = []
  let result
  for (let i = 0; i < count; i++) {
    const began = process.hrtime.bigint()
    result = policy.evaluate(input, entrypoint)
    took.push(Number(process.hrtime.bigint() - began))
  }
  console.log(JSON.stringify({ took, result: result[0].result }))
}
