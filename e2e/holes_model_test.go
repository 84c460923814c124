package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// startModel starts a model provider, of which a prompt's text says what it
// shall do: "TOOL name {arguments}" calls a tool, one a line, one after the
// other; then it is done. It speaks as much of the chat completions API as the
// original needs.
func startModel(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(answerAsModel))
	t.Cleanup(s.Close)
	return s
}

// modelConfig is an opencode.json with this provider and these permissions.
func modelConfig(t *testing.T, model *httptest.Server, key string, permission map[string]any) string {
	t.Helper()
	config, err := json.Marshal(map[string]any{
		"$schema": "https://opencode.ai/config.json",
		"model":   "scripted/one", "small_model": "scripted/one", "permission": permission, "share": "disabled", "snapshot": false,
		"provider": map[string]any{"scripted": map[string]any{
			"npm": "@ai-sdk/openai-compatible", "name": "Scripted",
			"options": map[string]any{"baseURL": model.URL + "/v1", "apiKey": key},
			"models":  map[string]any{"one": map[string]any{"name": "One", "tool_call": true}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(config)
}

type chatRequest struct {
	Stream   bool
	Tools    []json.RawMessage
	Messages []struct {
		Role    string
		Content json.RawMessage
	}
}

// next returns the call that the last message of the user asks for and that
// was not made yet.
func (r chatRequest) next() (name, arguments string, ok bool) {
	if len(r.Tools) == 0 {
		// The original has titles made without tools.
		return "", "", false
	}
	var text string
	made := 0
	for _, m := range r.Messages {
		switch m.Role {
		case "user":
			text, made = contentText(m.Content), 0
		case "tool":
			made++
		}
	}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(strings.TrimSpace(line), "TOOL ")
		if !found {
			continue
		}
		if made == 0 {
			return strings.Cut(rest, " ")
		}
		made--
	}
	return "", "", false
}

// contentText is the text of a message, which is a string or a list of parts.
func contentText(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var parts []struct{ Text string }
	if json.Unmarshal(content, &parts) != nil {
		return ""
	}
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text + "\n")
	}
	return b.String()
}

func answerAsModel(w http.ResponseWriter, r *http.Request) {
	var request chatRequest
	if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, arguments, calls := request.next()
	delta, reason := map[string]any{"role": "assistant", "content": "done"}, "stop"
	if calls {
		reason = "tool_calls"
		delta = map[string]any{"role": "assistant", "tool_calls": []any{map[string]any{
			"index": 0, "id": fmt.Sprintf("call_%d", len(request.Messages)), "type": "function",
			"function": map[string]any{"name": name, "arguments": arguments},
		}}}
	}
	usage := map[string]any{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
	if !request.Stream {
		w.Header().Set("Content-Type", "application/json")
		writeModelJSON(w, "", map[string]any{
			"id": "chat", "object": "chat.completion", "model": "one", "usage": usage,
			"choices": []any{map[string]any{"index": 0, "message": delta, "finish_reason": reason}},
		})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for _, choice := range []map[string]any{
		{"index": 0, "delta": delta},
		{"index": 0, "delta": map[string]any{}, "finish_reason": reason},
	} {
		writeModelJSON(w, "data: ", map[string]any{
			"id": "chat", "object": "chat.completion.chunk", "model": "one", "usage": usage, "choices": []any{choice},
		})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// writeModelJSON writes to a client that may be gone, which its end tells.
func writeModelJSON(w http.ResponseWriter, prefix string, v any) {
	encoded, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "%s%s\n\n", prefix, encoded)
}
