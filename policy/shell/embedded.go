package shell

import "strings"

// starters are the functions of other languages that run a command text or a
// program, which they are given as a string or as the first of a list.
var starters = []string{
	"system", "popen", "exec", "execl", "execlp", "execv", "execvp", "execve", "execSync", "execFile", "execFileSync", "spawn", "spawnSync", "spawnl",
	"spawnlp", "run", "call", "check_call", "check_output", "Popen", "getoutput", "getstatusoutput", "shell_exec", "passthru", "proc_open", "qx",
	"posix_spawn", "create_subprocess_shell", "create_subprocess_exec", "execute", "do shell script",
}

// embedded returns the command texts that a program in a language of its own
// hands to a shell, as far as they are literal. It is no parser: it finds what
// is written plainly, and what is not stays code that nobody has read.
func embedded(code string) []string {
	var out []string
	for i := 0; i < len(code); i++ {
		if code[i] == '`' {
			end := skipTo(code, i+1, '`')
			if end < len(code) {
				out = append(out, code[i+1:end])
			}
			i = end
			continue
		}
		if code[i] == '|' {
			out = append(out, beside(code, i)...)
			continue
		}
		if i > 0 && isWordByte(code[i-1]) || !isWordByte(code[i]) {
			continue
		}
		end := i
		for end < len(code) && isWordByte(code[end]) {
			end++
		}
		for _, name := range starters {
			if code[i:end] == name {
				if text, ok := argument(code[end:]); ok {
					out = append(out, text)
				}
			}
		}
		i = end - 1
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
