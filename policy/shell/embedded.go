package shell

import (
	"slices"
	"strings"
)

// starters are the functions of other languages that run a command text or a
// program, which they are given as a string or as the first of a list.
var starters = []string{
	"system", "popen", "exec", "execl", "execlp", "execv", "execvp", "execve", "execSync", "execFile", "execFileSync", "spawn", "spawnSync", "spawnl",
	"spawnlp", "run", "call", "check_call", "check_output", "Popen", "getoutput", "getstatusoutput", "shell_exec", "passthru", "proc_open", "qx",
	"posix_spawn", "create_subprocess_shell", "create_subprocess_exec", "execute", "cmd", "command", "Command", "process", "script", "shell", "popen2", "popen3",
}

// lineStarters begin a line of a debugger, an editor or a client that is handed
// to a shell, or a command of Tcl that runs a program.
var lineStarters = []string{"!", `\!`, "shell ", ".shell ", ".system ", "system ", "exec ", "spawn ", "platform shell "}

// embedded returns the command texts that a program in a language of its own
// hands to a shell, as far as they are literal. It is no parser: it finds what
// is written plainly, and what is not stays code that nobody has read.
func embedded(code string) []string {
	out := escapedLines(code)
	computed := false
	for i := 0; i < len(code); i++ {
		c := code[i]
		switch {
		case c == '`':
			end := skipTo(code, i+1, '`')
			if end < len(code) {
				out = append(out, code[i+1:end])
			}
			i = end
			continue
		case c == '|':
			out = append(out, beside(code, i)...)
			continue
		case c == '[' && strings.HasPrefix(code[i:], "[exec "):
			text, _, _ := strings.Cut(code[i+len("[exec "):], "]")
			out = append(out, text)
			continue
		case c == '%' && strings.HasPrefix(code[i:], "%x"):
			if text, ok := delimited(code[i+len("%x"):]); ok {
				out = append(out, text)
			}
			continue
		case (c == '"' || c == '\'') && (i == 0 || !isWordByte(code[i-1])):
			end := skipTo(code, i+1, c)
			if end >= len(code) {
				continue
			}
			text := code[i+1 : end]
			if startsItself(code[end+1:]) {
				out = append(out, text)
			}
			if bar := strings.TrimSuffix(strings.TrimPrefix(text, "|"), "|"); bar != text && bar != "" {
				out = append(out, bar)
			}
			continue
		}
		if i > 0 && isWordByte(code[i-1]) || !isWordByte(c) {
			continue
		}
		end := i
		for end < len(code) && isWordByte(code[end]) {
			end++
		}
		switch word := code[i:end]; {
		case word == "qx" || word == "syscmd" || word == "esyscmd":
			if text, ok := delimited(code[end:]); ok {
				out = append(out, strings.Trim(text, "`'"))
			}
		case slices.Contains(starters, word):
			if text, ok := argument(code[end:]); ok {
				out = append(out, text)
			} else {
				computed = true
			}
		}
		i = end - 1
	}
	if computed || strings.Contains(code, "getline") {
		out = append(out, sentences(code)...)
	}
	return out
}

// escapedLines returns what stands on lines that leave the language.
func escapedLines(code string) []string {
	var out []string
	for line := range strings.Lines(code) {
		line = strings.TrimSpace(line)
		for _, start := range lineStarters {
			if text, ok := strings.CutPrefix(line, start); ok {
				out = append(out, text)
			}
		}
	}
	return out
}

// startsItself reports whether what follows a string runs it, as in Groovy and
// Scala.
func startsItself(after string) bool {
	for _, method := range []string{".execute", ".!", ".lazyLines", ".run"} {
		if strings.HasPrefix(after, method) {
			return true
		}
	}
	return false
}

// delimited returns the text between a delimiter and its counterpart.
func delimited(text string) (string, bool) {
	if text == "" || isWordByte(text[0]) || text[0] == ' ' {
		return "", false
	}
	shut := text[0]
	if i := strings.IndexByte("([{<", shut); i >= 0 {
		shut = ")]}>"[i]
	}
	end := skipTo(text, 1, shut)
	if end >= len(text) {
		return "", false
	}
	return text[1:end], true
}

// maxSentences bounds the strings that are taken for command texts although
// something else is run.
const maxSentences = 32

// sentences returns the strings of a program that runs what it has put
// together: one of them may be the command.
func sentences(code string) []string {
	var out []string
	for i := 0; i < len(code) && len(out) < maxSentences; i++ {
		if code[i] != '"' && code[i] != '\'' {
			continue
		}
		end := skipTo(code, i+1, code[i])
		if end >= len(code) {
			break
		}
		if text := code[i+1 : end]; text != "" {
			out = append(out, text)
		}
		i = end
	}
	return out
}

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// maxWordsOfList bounds the strings of a list that are read.
const maxWordsOfList = 16

// argument returns the string that the text starts with, behind what opens a
// call and a list. A list of strings is a command text too.
func argument(text string) (string, bool) {
	text = strings.TrimLeft(text, " \t(")
	isList := strings.HasPrefix(text, "[")
	text = strings.TrimLeft(text, " \t[{")
	var words []string
	for len(words) < maxWordsOfList && text != "" && (text[0] == '"' || text[0] == '\'') {
		end := skipTo(text, 1, text[0])
		if end >= len(text) {
			break
		}
		words = append(words, text[1:end])
		text = strings.TrimLeft(text[end+1:], " \t")
		if next := strings.TrimLeft(text, "+.~<> \t"); !isList && next != "" && (next[0] == '"' || next[0] == '\'') {
			if end := skipTo(next, 1, next[0]); end < len(next) {
				words[0] += next[1:end] // strings that are put together
			}
		}
		if !isList || !strings.HasPrefix(text, ",") {
			break
		}
		text = strings.TrimLeft(text[1:], " \t")
	}
	switch {
	case len(words) == 0:
		return "", false
	case !isList || len(words) == 1:
		return words[0], true
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return strings.Join(words, " "), true
}

// beside returns the strings on both sides of a bar, as awk reads and writes
// commands.
func beside(code string, bar int) []string {
	var out []string
	after := strings.TrimLeft(code[bar+1:], " \t&")
	if strings.HasPrefix(after, `"`) {
		if end := skipTo(after, 1, '"'); end < len(after) {
			out = append(out, after[1:end])
		}
	}
	before := strings.TrimRight(code[:bar], " \t")
	if strings.HasSuffix(before, `"`) && strings.HasPrefix(after, "getline") {
		if start := strings.LastIndexByte(before[:len(before)-1], '"'); start >= 0 {
			out = append(out, before[start+1:len(before)-1])
		}
	}
	return out
}
