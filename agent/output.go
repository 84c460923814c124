package agent

import (
	"opencode/agent/tool"
	"opencode/sanitize"
)

// keepOutput returns the output of a call as it is kept and shown, and how many
// credentials were taken out of it. What the tool gives is redacted already; but
// a sequence or an invisible character in the middle of a credential hides it,
// and whoever sanitises the text would put it together. Such output is kept
// sanitised.
func (a *Agent) keepOutput(output string) (string, int) {
	if !sanitize.Needed(output) {
		return output, 0
	}
	clean, n := a.cfg.Redactor.Count(sanitize.String(output))
	if n == 0 {
		return output, 0
	}
	return clean, n
}

// describeOutput keeps the output of a call that has ended, and tells clients
// what it is: "redacted" is how many credentials were taken out, "raw" that it
// must be sanitised before a person sees it.
func (a *Agent) describeOutput(meta map[string]any, r tool.Result) string {
	output, n := a.keepOutput(r.Output)
	if n += r.Redacted; n > 0 {
		meta["redacted"] = n
	}
	if sanitize.Needed(output) {
		meta["raw"] = true
	}
	return output
}
