package shell

import "strings"

// parallel follows GNU parallel: a template for a command text, or the
// arguments themselves as command texts.
func (a *analysis) parallel(rest []arg, s scope) {
	split := len(rest)
	for i, g := range rest {
		if strings.HasPrefix(g.text, ":::") {
			split = i
			break
		}
	}
	template, inputs := rest[:split], rest[split:]
	if len(template) > 0 {
		text := join(template)
		filled, found := placeholders(text.text)
		if !found {
			filled += ` "` + unknown + `"`
		}
		a.evaluate(arg{text: filled, lit: text.lit}, a.child(s))
		return
	}
	if len(inputs) == 0 || strings.HasPrefix(inputs[0].text, "::::") {
		a.dynamic() // the commands come from a file or a pipe
		return
	}
	for _, g := range inputs {
		if g.lit && strings.HasPrefix(g.text, "::::") {
			a.dynamic()
			return
		}
		if g.lit && strings.HasPrefix(g.text, ":::") {
			continue
		}
		a.evaluate(g, a.child(s))
	}
}

// placeholders replaces what parallel fills in, such as {}, {.} and {1/}, by
// unknown text, quoted because parallel quotes it.
func placeholders(text string) (string, bool) {
	var b strings.Builder
	found := false
	for i := 0; i < len(text); {
		if text[i] == '{' {
			end := i + 1
			for end < len(text) && strings.IndexByte("./#%+-0123456789", text[end]) >= 0 {
				end++
			}
			if end < len(text) && text[end] == '}' {
				b.WriteString(`"` + unknown + `"`)
				found = true
				i = end + 1
				continue
			}
		}
		b.WriteByte(text[i])
		i++
	}
	return b.String(), found
}
